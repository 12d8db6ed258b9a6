//! Durations as people type them: `1s`, `500ms`, `1.5`, `2m`, `0`.

use std::time::Duration;

/// Longer waits are taken for a mistake.
const INTERVAL_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// Shorter waits would measure the clock: CPU time is counted in ticks of milliseconds.
const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// Units, longest names first so that `ms` is not read as `s` after an `m`.
const UNITS: [(&str, f64); 5] =
    [("ms", 1e-3), ("us", 1e-6), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];

/// The duration that a text means; a bare number counts seconds.
///
/// # Errors
///
/// What was expected, where the text is no duration, negative, too short or too long.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let expected = || format!("expected a time such as `1s`, `500ms` or `1.5`, but found `{text}`");
    let (number, scale) = UNITS
        .iter()
        .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, *scale)))
        .unwrap_or((text, 1.0));
    let is_plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if !is_plain || !number.bytes().any(|b| b.is_ascii_digit()) {
        return Err(expected());
    }
    let seconds = number.parse::<f64>().map_err(|_| expected())? * scale;
    let interval = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    if interval > INTERVAL_MAX {
        return Err(format!("expected a time of at most 366 days, but found `{text}`"));
    }
    if seconds > 0.0 && interval < INTERVAL_MIN {
        return Err(format!("expected `0` or a time of at least `1ms`, but found `{text}`"));
    }
    Ok(interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<Duration>) {
        assert_eq!(parse(text).ok(), expected, "{text}");
    }

    #[test]
    fn numbers_count_seconds_and_units_scale_them() {
        check("1s", Some(Duration::from_secs(1)));
        check("500ms", Some(Duration::from_millis(500)));
        check("1.5", Some(Duration::from_millis(1500)));
        check(".5", Some(Duration::from_millis(500)));
        check("2000us", Some(Duration::from_millis(2)));
        check("2m", Some(Duration::from_secs(120)));
        check("24h", Some(Duration::from_secs(86_400)));
        check("0", Some(Duration::ZERO));
        check("0s", Some(Duration::ZERO));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in
            ["", "s", ".", "1x", "-1", "+1", "1e3", "nan", "inf", "1.2.3", "1 s", "1us", "9999h"]
        {
            check(text, None);
        }
    }

    #[test]
    fn a_refusal_says_what_was_expected_and_what_was_found() {
        assert_eq!(
            parse("soon"),
            Err("expected a time such as `1s`, `500ms` or `1.5`, but found `soon`".to_owned())
        );
    }
}
