//! Limits on what a run may use: `memory.peak > 4GiB`.

use std::fmt;

use super::{RunReport, TOTAL_METRICS, figure_of};
use crate::metric::{self, Kind, Unit};
use crate::process::Absence;
use crate::report::{Column, Figure, Form, Mark, Report, Value};
use crate::similar;

/// A condition that a run must not fulfil.
#[derive(Clone, Debug)]
pub struct Limit {
    text: String,
    column: Column,
    /// What is added to the column.
    more: Vec<Column>,
    operator: Operator,
    pub(super) bound: f64,
}

/// What holds between a figure and the bound where the limit is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    More,
    MoreOrEqual,
    Less,
    LessOrEqual,
    Equal,
}

/// Longer ones first, so that `>=` is not read as `>`.
const OPERATORS: [(&str, Operator); 5] = [
    (">=", Operator::MoreOrEqual),
    ("<=", Operator::LessOrEqual),
    ("==", Operator::Equal),
    (">", Operator::More),
    ("<", Operator::Less),
];

/// Whether a limit was kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Judgement {
    /// It was.
    Kept(Figure),
    /// It was not.
    Broken(Figure),
    /// As far as is known it was: the figure is a lower bound, and the truth may be beyond.
    KeptAsFarAsKnown(Figure),
    /// Nobody knows: there is no figure.
    Unknown(Absence),
}

/// Why a text is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitError {
    what: String,
    hint: String,
}

impl LimitError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for LimitError {}

impl Limit {
    /// Reads `METRIC OPERATOR VALUE`. Metrics of one unit may be added up:
    /// `cpu.user + cpu.system > 2s`.
    ///
    /// ```
    /// use mpp_accounting::run::Limit;
    ///
    /// assert!(Limit::parse("memory.peak > 4GiB").is_ok());
    /// assert!(Limit::parse("io_counters.write_bytes_per_sec >= 20MB").is_ok());
    /// assert!(Limit::parse("memory.peek > 4GiB").is_err());
    /// ```
    ///
    /// # Errors
    /// A metric that a run does not have, an operator or a value that is none.
    pub fn parse(text: &str) -> Result<Self, LimitError> {
        let found = OPERATORS.iter().filter_map(|row| Some((text.find(row.0)?, row)));
        // The first in the text; of two that begin there the longer one, which comes first.
        let Some((at, (sign, operator))) = found.min_by_key(|(at, _)| *at) else {
            return Err(LimitError {
                what: format!(
                    "expected `METRIC OPERATOR VALUE`, but found no operator in `{}`",
                    text.escape_debug()
                ),
                hint: "a limit looks like `memory.peak > 4GiB`; operators are > >= < <= ==".into(),
            });
        };
        let mut names = text[..at].split('+');
        let column = column(names.next().unwrap_or_default().trim())?;
        let more = names.map(|name| summand(name.trim(), &column)).collect::<Result<_, _>>()?;
        let bound = bound(text[at + sign.len()..].trim(), &column)?;
        Ok(Limit { text: text.trim().to_owned(), column, more, operator: *operator, bound })
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it limits; of several that are added up the first.
    #[must_use]
    pub fn column(&self) -> &Column {
        &self.column
    }

    /// Whether a run kept it.
    #[must_use]
    pub fn judge(&self, report: &RunReport) -> Judgement {
        self.judge_total(&report.total)
    }

    /// Whether it was kept by what a table says whose columns are those of [`TOTAL_METRICS`].
    #[must_use]
    pub fn judge_total(&self, total: &Report) -> Judgement {
        let figure = self.figure(total);
        let (value, mark) = match figure {
            Figure::Absent(why) => return Judgement::Unknown(why),
            Figure::Known { value, mark } => (value.as_float(), mark),
        };
        let is_met = match self.operator {
            Operator::More => value > self.bound,
            Operator::MoreOrEqual => value >= self.bound,
            Operator::Less => value < self.bound,
            Operator::LessOrEqual => value <= self.bound,
            Operator::Equal => value.total_cmp(&self.bound).is_eq(),
        };
        let is_upward = matches!(self.operator, Operator::More | Operator::MoreOrEqual);
        match (is_met, mark == Mark::LowerBound) {
            (true, true) if is_upward => Judgement::Broken(figure),
            (false, true) if self.is_beyond(value) => Judgement::Kept(figure),
            (_, true) => Judgement::KeptAsFarAsKnown(figure),
            (true, false) => Judgement::Broken(figure),
            (false, false) => Judgement::Kept(figure),
        }
    }

    /// The sum of what is limited.
    fn figure(&self, total: &Report) -> Figure {
        let figure_of =
            |column| figure_of(total, column).unwrap_or(Figure::Absent(Absence::Unsupported));
        self.more.iter().fold(figure_of(&self.column), |sum, column| {
            match (sum, figure_of(column)) {
                (Figure::Known { value, mark }, Figure::Known { value: other, mark: others }) => {
                    Figure::Known { value: plus(value, other), mark: mark.and(others) }
                }
                (absent @ Figure::Absent(_), _) | (_, absent) => absent,
            }
        })
    }

    /// Whether a value that may be larger cannot meet the condition all the same.
    fn is_beyond(&self, value: f64) -> bool {
        match self.operator {
            Operator::Less => value >= self.bound,
            Operator::LessOrEqual | Operator::Equal => value > self.bound,
            Operator::More | Operator::MoreOrEqual => false,
        }
    }
}

fn plus(one: Value, other: Value) -> Value {
    match (one, other) {
        (Value::Integer(one), Value::Integer(other)) => Value::Integer(one.saturating_add(other)),
        _ => Value::Float(crate::rate::rounded(one.as_float() + other.as_float())),
    }
}

/// The column of a name that is added to another.
fn summand(name: &str, first: &Column) -> Result<Column, LimitError> {
    let other = column(name)?;
    if (other.metric.unit, other.form) == (first.metric.unit, first.form) {
        return Ok(other);
    }
    Err(LimitError {
        what: format!("`{}` and `{}` cannot be added up", first.name(), other.name()),
        hint: "only metrics of one unit can, as `cpu.user + cpu.system > 2s`".to_owned(),
    })
}

/// The column of a name, where a run has it.
fn column(name: &str) -> Result<Column, LimitError> {
    let found = metric::column_by_name(name);
    if let Some(column) = found.filter(|column| TOTAL_METRICS.contains(&column.metric.id)) {
        return Ok(column);
    }
    let mut names: Vec<String> = Vec::new();
    for id in TOTAL_METRICS {
        let metric = id.metric();
        names.push(metric.name.to_owned());
        if metric.kind == Kind::Counter {
            names.push(Column { metric, form: Form::PerSecond }.name().into_owned());
        }
    }
    let hint = match similar::closest(name, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let levels: Vec<&str> = TOTAL_METRICS.iter().map(|id| id.metric().name).collect();
            format!("a run has {}", levels.join(", "))
        }
    };
    let name = name.escape_debug();
    let what = match found {
        Some(_) => format!("a run has no metric `{name}`"),
        None => format!("expected the name of a metric, but found `{name}`"),
    };
    Err(LimitError { what, hint })
}

const BYTES: [(&str, f64); 16] = [
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("TiB", 1_099_511_627_776.0),
    ("kB", 1e3),
    ("KB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
    ("B", 1.0),
    ("K", 1024.0),
    ("k", 1024.0),
    ("M", 1_048_576.0),
    ("G", 1_073_741_824.0),
    ("T", 1_099_511_627_776.0),
    ("", 1.0),
];

const SECONDS: [(&str, f64); 7] = [
    ("ms", 1e-3),
    ("us", 1e-6),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
    ("d", 86_400.0),
    ("", 1.0),
];

const COUNTS: [(&str, f64); 4] = [("k", 1e3), ("M", 1e6), ("G", 1e9), ("", 1.0)];

const PERCENTS: [(&str, f64); 2] = [("%", 1.0), ("", 1.0)];

/// A number with a unit of the metric's kind, in the metric's own unit.
fn bound(text: &str, column: &Column) -> Result<f64, LimitError> {
    let (units, example): (&[(&str, f64)], &str) = match column.metric.unit {
        Unit::Bytes => (&BYTES, "4GiB"),
        Unit::Seconds => (&SECONDS, "90s"),
        Unit::Count => (&COUNTS, "1000"),
        Unit::Percent => (&PERCENTS, "150%"),
    };
    let read = |(unit, scale): &(&str, f64)| {
        let number = text.strip_suffix(unit)?.trim_end();
        let is_plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let value = number.parse::<f64>().ok().filter(|_| is_plain)? * scale;
        value.is_finite().then_some(value)
    };
    units.iter().find_map(read).ok_or_else(|| LimitError {
        what: format!(
            "expected {} such as `{example}`, but found `{}`",
            match column.metric.unit {
                Unit::Bytes => "a size",
                Unit::Seconds => "a time",
                Unit::Count => "a number",
                Unit::Percent => "a share",
            },
            text.escape_debug()
        ),
        hint: format!("a limit looks like `{} > {example}`", column.name()),
    })
}
