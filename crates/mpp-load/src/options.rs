//! The options of a scenario, typed: a table says what there is, what it means and what it is
//! unless given.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// One option: `--name VALUE`.
pub(crate) struct OptionRow {
    /// Without the dashes.
    pub(crate) name: &'static str,
    /// What it is unless given.
    pub(crate) default: &'static str,
    /// What it means.
    pub(crate) help: &'static str,
}

/// A row of an option table.
pub(crate) const fn row(
    name: &'static str,
    default: &'static str,
    help: &'static str,
) -> OptionRow {
    OptionRow { name, default, help }
}

/// What every scenario takes.
pub(crate) const SHARED: &[OptionRow] = &[
    row("directory", "", "where its files go, on a disk; the temporary directory unless given"),
    row("comm", "", "command name of its first process; the scenario's unless given"),
    row("start-after", "", "seconds until it starts; on a line of standard input unless given"),
    row("end-after", "2", "with --start-after: seconds between its last truth and its end"),
];

/// The options of one run.
pub(crate) struct Options(BTreeMap<&'static str, String>);

impl Options {
    /// Reads `--name VALUE` pairs; what is not given has its default.
    pub(crate) fn parse(rows: &[&'static [OptionRow]], arguments: &[String]) -> Result<Self> {
        let rows = || rows.iter().copied().flatten();
        let mut values: BTreeMap<_, _> = rows().map(|r| (r.name, r.default.to_owned())).collect();
        for pair in arguments.chunks(2) {
            let [name, value] = pair else { bail!("option `{}` needs a value", pair.concat()) };
            let row = rows().find(|row| name.strip_prefix("--") == Some(row.name));
            let Some(row) = row else { bail!("unknown option `{name}`") };
            values.insert(row.name, value.clone());
        }
        Ok(Options(values))
    }

    /// The text as it was given.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// The text, or `None` where it is empty.
    pub(crate) fn given(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    /// A whole number.
    pub(crate) fn count(&self, name: &str) -> Result<u64> {
        let text = self.text(name);
        text.parse().with_context(|| format!("`--{name} {text}`: expected a whole number"))
    }

    /// A number of seconds, with a fraction or without.
    pub(crate) fn seconds(&self, name: &str) -> Result<Duration> {
        let text = self.text(name);
        let seconds = text.parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
        seconds.with_context(|| format!("`--{name} {text}`: expected seconds"))
    }

    /// A number of milliseconds.
    pub(crate) fn milliseconds(&self, name: &str) -> Result<Duration> {
        self.count(name).map(Duration::from_millis)
    }

    /// A number of bytes, with `KiB`, `MiB` or `GiB` or without.
    pub(crate) fn bytes(&self, name: &str) -> Result<u64> {
        let text = self.text(name);
        parse_bytes(text)
            .with_context(|| format!("`--{name} {text}`: expected bytes, such as `64KiB`"))
    }
}

fn parse_bytes(text: &str) -> Option<u64> {
    const UNITS: [(&str, u32); 3] = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    for (unit, shift) in UNITS {
        if let Some(number) = text.strip_suffix(unit) {
            return number.parse::<u64>().ok()?.checked_mul(1 << shift);
        }
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &[OptionRow] = &[row("bytes", "1MiB", "bytes"), row("seconds", "1.5", "seconds")];

    fn check(arguments: &[&str], expected: Result<(u64, Duration), &str>) {
        let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
        let read = Options::parse(&[ROWS], &arguments)
            .and_then(|options| Ok((options.bytes("bytes")?, options.seconds("seconds")?)));
        assert_eq!(read.map_err(|error| error.to_string()), expected.map_err(str::to_owned));
    }

    #[test]
    fn options_have_defaults_units_and_errors_that_name_them() {
        let defaults = (1 << 20, Duration::from_millis(1500));
        check(&[], Ok(defaults));
        check(&["--bytes", "2KiB", "--seconds", "3"], Ok((2048, Duration::from_secs(3))));
        check(&["--bytes"], Err("option `--bytes` needs a value"));
        check(&["--color", "red"], Err("unknown option `--color`"));
        check(&["--bytes", "many"], Err("`--bytes many`: expected bytes, such as `64KiB`"));
        check(&["--seconds", "-1"], Err("`--seconds -1`: expected seconds"));
    }
}
