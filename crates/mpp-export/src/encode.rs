//! One file for each machine format.
//!
//! All of them carry what the numbers are worth: the tier, the processes that were
//! lost, the bytes that nobody can be named for and the members that could not be
//! read. A number that is unknown is left out, or `null` with a reason.

pub(crate) mod csv;
pub(crate) mod graphite;
pub(crate) mod influx;
pub(crate) mod json;
pub(crate) mod jsonl;
pub(crate) mod prometheus;

use jiff::Timestamp;
use mpp_accounting::units::WallTime;

/// RFC 3339 in UTC with milliseconds, `2026-11-23T12:03:41.520Z`.
pub(crate) fn rfc_3339(time: WallTime) -> String {
    let timestamp = Timestamp::from_nanosecond(i128::from(milliseconds(time)) * 1_000_000);
    format!("{:.3}", timestamp.unwrap_or_default())
}

/// Whole milliseconds since 1970, rounded down: the same moment in every format.
fn milliseconds(time: WallTime) -> i64 {
    time.unix_ns.div_euclid(1_000_000)
}

/// Whole seconds since 1970, rounded down.
fn seconds(time: WallTime) -> i64 {
    time.unix_ns.div_euclid(1_000_000_000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_moment_has_milliseconds_and_a_z() {
        let time = WallTime { unix_ns: 1_795_435_421_520_999_999 };
        assert_eq!(rfc_3339(time), "2026-11-23T12:03:41.520Z");
        assert_eq!(rfc_3339(WallTime { unix_ns: 0 }), "1970-01-01T00:00:00.000Z");
    }

    proptest! {
        #[test]
        fn any_clock_gives_a_moment(unix_ns in any::<i64>()) {
            let text = rfc_3339(WallTime { unix_ns });
            prop_assert_eq!(text.len(), "2026-11-23T12:03:41.520Z".len());
            let read: Timestamp = text.parse().expect("a moment");
            prop_assert_eq!(read.as_millisecond(), milliseconds(WallTime { unix_ns }));
        }
    }
}
