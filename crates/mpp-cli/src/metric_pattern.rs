//! Which metrics the regexes of `mpp sensu -m` name.
//!
//! The script hands them to Python's `re.match`: comma-separated, anchored at the
//! start only, look-around included. A limit on backtracking keeps a costly one from
//! hanging the check.

use fancy_regex::{Regex, RegexBuilder};
use metrics_per_process::metric::{METRICS, Metric, MetricId};

/// Steps after which matching one name is given up.
const BACKTRACK_MAX: usize = 100_000;

/// The TCP keys, total first: a match of any of them brings the total along.
fn tcp_keys() -> impl Iterator<Item = &'static str> {
    let is_tcp = |metric: &&Metric| (MetricId::TcpTotal..=MetricId::TcpNone).contains(&metric.id);
    METRICS.iter().filter(is_tcp).map(|metric| metric.name)
}

/// A list of patterns; a name is chosen when any of them matches at its start.
#[derive(Debug)]
pub(crate) struct MetricPatterns(Vec<Regex>);

/// A pattern that is none, or that takes too long.
#[derive(Debug)]
pub(crate) struct PatternError {
    /// The pattern as typed.
    pub(crate) pattern: String,
    /// What the regex engine says about it.
    pub(crate) cause: Box<fancy_regex::Error>,
}

impl MetricPatterns {
    /// The patterns of a comma-separated list.
    ///
    /// # Errors
    ///
    /// The first one that is not a regex.
    pub(crate) fn parse(list: &str) -> Result<Self, PatternError> {
        let compile = |pattern: &str| {
            RegexBuilder::new(pattern)
                .backtrack_limit(BACKTRACK_MAX)
                .build()
                .map_err(|cause| refuse(pattern, cause))
        };
        list.split(',').map(compile).collect::<Result<_, _>>().map(MetricPatterns)
    }

    /// Whether the script would print this metric.
    ///
    /// # Errors
    ///
    /// The pattern that takes too long.
    pub(crate) fn choose(&self, metric: &str) -> Result<bool, PatternError> {
        if metric == MetricId::TcpTotal.metric().name {
            return self.choose_any_tcp();
        }
        self.matches(metric)
    }

    fn choose_any_tcp(&self) -> Result<bool, PatternError> {
        for metric in tcp_keys() {
            if self.matches(metric)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A leftmost match starts at 0 exactly where some match starts at 0.
    fn matches(&self, metric: &str) -> Result<bool, PatternError> {
        for regex in &self.0 {
            let found = regex.find(metric).map_err(|cause| refuse(regex.as_str(), cause))?;
            if found.is_some_and(|found| found.start() == 0) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn refuse(pattern: &str, cause: fancy_regex::Error) -> PatternError {
    PatternError { pattern: pattern.to_owned(), cause: Box::new(cause) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(list: &str, metric: &str, expected: bool) {
        let patterns = MetricPatterns::parse(list).expect("patterns");
        assert_eq!(patterns.choose(metric).expect("a quick match"), expected, "{list} on {metric}");
    }

    #[test]
    fn patterns_are_anchored_at_the_start_only() {
        check("memory", "memory.rss", true);
        check("mem", "memory.rss", true);
        check("rss", "memory.rss", false);
        check(".*rss", "memory.rss", true);
        check("memory.rs$", "memory.rss", false);
        check("", "fds", true);
    }

    #[test]
    fn any_pattern_of_the_list_is_enough() {
        check("cpu,fds", "fds", true);
        check("cpu,fds", "threads", false);
        check("cpu,", "threads", true);
    }

    #[test]
    fn look_around_works_as_in_python() {
        check("(?!conns)", "conns.udp.total", false);
        check("(?!conns)", "fds", true);
        check("(?P<a>f)ds", "fds", true);
    }

    #[test]
    fn any_tcp_key_brings_the_tcp_total_along() {
        check("conns.tcp.listen", "conns.tcp.total", true);
        check("conns.tcp.listen", "conns.tcp.established", false);
        check("conns.udp", "conns.tcp.total", false);
    }

    #[test]
    fn a_pattern_that_is_none_is_named() {
        assert_eq!(MetricPatterns::parse("cpu,(").expect_err("no regex").pattern, "(");
    }

    #[test]
    fn a_pattern_that_takes_too_long_is_given_up() {
        let patterns = MetricPatterns::parse("(?:(?=.).|(?=..)..)*!").expect("patterns");
        assert!(patterns.choose("io_counters.cancelled_write_bytes_per_sec").is_err());
    }
}
