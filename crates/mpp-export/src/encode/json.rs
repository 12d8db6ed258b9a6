//! JSON: one object for each report, described by `schema/report-1.json`.
//!
//! Within schema 1 fields are only added.

use mpp_accounting::report::{Figure, GroupReport, Report};

use super::rfc_3339;
use crate::escape::push_json;
use crate::figure::{
    NamedColumn, accuracy_numbers, cells, interval_seconds, named_columns, push_float,
    push_integer, push_value, reason, trouble_classes, unattributed_cpu_seconds, visibility_word,
};
use crate::format::{JsonLayout, Origin};

/// The version of the shape.
const SCHEMA: u64 = 1;

pub(crate) fn write(report: &Report, origin: &Origin, layout: JsonLayout, out: &mut Vec<u8>) {
    let columns = named_columns(&report.columns);
    let mut json = Writer::new(layout, out);
    json.open(b'{');
    json.key("schema").integer(SCHEMA);
    json.key("time").string(rfc_3339(report.wall_time).as_bytes());
    json.key("host").string(&origin.host);
    json.key("interval_sec").float(interval_seconds(report));
    json.key("tier").string(report.accuracy.tier.letter().as_bytes());
    for (name, number) in accuracy_numbers(&report.accuracy) {
        json.key(name).integer(number);
    }
    json.key("unattributed_cpu_sec").float(Some(unattributed_cpu_seconds(report)));
    json.key("visibility").string(visibility_word(report.host.visibility).as_bytes());
    json.key("trouble").open(b'{');
    for class in trouble_classes(&report.trouble) {
        json.key(class.name).integer(class.count);
    }
    json.close(b'}');
    json.key("groups").open(b'[');
    for group in &report.groups {
        json.item();
        push_group(&mut json, &columns, group);
    }
    json.close(b']');
    json.close(b'}');
    out.push(b'\n');
}

fn push_group(json: &mut Writer<'_>, columns: &[NamedColumn<'_>], group: &GroupReport) {
    json.open(b'{');
    json.key("name").string(&group.name);
    json.key("metrics").open(b'{');
    push_metrics(json, columns, &group.figures);
    json.close(b'}');
    push_doubts(json, columns, &group.figures);
    json.key("matched").integer(group.matched);
    json.key("descendants").integer(group.descendants);
    json.key("unreadable").integer(group.unreadable);
    json.close(b'}');
}

/// Every metric with its number, or `null`.
pub(crate) fn push_metrics(json: &mut Writer<'_>, columns: &[NamedColumn<'_>], figures: &[Figure]) {
    for (named, figure) in cells(columns, figures) {
        json.key(&named.name);
        match figure {
            Figure::Known { value, .. } => push_value(value, json.out),
            Figure::Absent(_) => json.null(),
        }
    }
}

/// `accuracy` of the numbers that are not exact, and `why` of those that are not known.
pub(crate) fn push_doubts(json: &mut Writer<'_>, columns: &[NamedColumn<'_>], figures: &[Figure]) {
    json.key("accuracy").open(b'{');
    for (named, figure) in cells(columns, figures) {
        if let Figure::Known { mark, .. } = figure
            && let Some(word) = mark.word()
        {
            json.key(&named.name).string(word.as_bytes());
        }
    }
    json.close(b'}');
    json.key("why").open(b'{');
    for (named, figure) in cells(columns, figures) {
        if let Figure::Absent(why) = figure {
            json.key(&named.name).string(reason(named.column, why).as_bytes());
        }
    }
    json.close(b'}');
}

/// Writes commas and indents.
pub(crate) struct Writer<'a> {
    pub(crate) out: &'a mut Vec<u8>,
    layout: JsonLayout,
    depth: usize,
    /// Whether the innermost object or array holds something already.
    is_begun: bool,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(layout: JsonLayout, out: &'a mut Vec<u8>) -> Self {
        Writer { out, layout, depth: 0, is_begun: false }
    }

    pub(crate) fn open(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.depth += 1;
        self.is_begun = false;
    }

    pub(crate) fn close(&mut self, bracket: u8) {
        self.depth -= 1;
        if self.is_begun {
            self.new_line();
        }
        self.out.push(bracket);
        self.is_begun = true;
    }

    /// Begins the next item of an array.
    pub(crate) fn item(&mut self) {
        if self.is_begun {
            self.out.push(b',');
        }
        self.new_line();
        self.is_begun = true;
    }

    /// Begins the next field of an object. Our own keys need no escaping.
    pub(crate) fn key(&mut self, key: &str) -> &mut Self {
        self.item();
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(match self.layout {
            JsonLayout::Line => b"\":".as_slice(),
            JsonLayout::Pretty => b"\": ".as_slice(),
        });
        self
    }

    pub(crate) fn string(&mut self, bytes: &[u8]) {
        push_json(bytes, self.out);
    }

    pub(crate) fn integer(&mut self, number: u64) {
        push_integer(number, self.out);
    }

    pub(crate) fn float(&mut self, number: Option<f64>) {
        match number {
            Some(number) => push_float(number, self.out),
            None => self.null(),
        }
    }

    pub(crate) fn count(&mut self, number: Option<u64>) {
        match number {
            Some(number) => push_integer(number, self.out),
            None => self.null(),
        }
    }

    /// A figure's number, or `null` where there is none.
    pub(crate) fn figure(&mut self, figure: Figure) {
        match figure {
            Figure::Known { value, .. } => push_value(value, self.out),
            Figure::Absent(_) => self.null(),
        }
    }

    /// One of JSON's own words.
    pub(crate) fn word(&mut self, word: &'static str) {
        self.out.extend_from_slice(word.as_bytes());
    }

    /// A string, or `null` where there is none.
    pub(crate) fn text(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.string(bytes),
            None => self.null(),
        }
    }

    pub(crate) fn null(&mut self) {
        self.out.extend_from_slice(b"null");
    }

    fn new_line(&mut self) {
        if self.layout == JsonLayout::Pretty {
            self.out.push(b'\n');
            self.out.resize(self.out.len() + 2 * self.depth, b' ');
        }
    }
}
