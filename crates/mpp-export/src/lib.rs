//! Reports as bytes: a table for people, six formats for machines.
//!
//! Everything here is pure: a [`Report`](mpp_accounting::report::Report) goes in, bytes
//! come out, and the same report always gives the same bytes. Names of groups are
//! chosen by processes, so each format has one escaping function in [`escape`], and
//! nothing that a process is called can break a line or reach a terminal.
//!
//! ```
//! # use mpp_accounting::{metric, report::*, units::WallTime};
//! use mpp_export::{Encoder, Format, Options, Origin};
//!
//! # let report = Report {
//! #     wall_time: WallTime { unix_ns: 1_795_435_421_520_000_000 },
//! #     interval: None,
//! #     accuracy: Accuracy { tier: Tier::C, lost: 0, lost_records: 0, lost_records_total: 0, io_bound_bytes: 0, unattributed_io_bytes: 0, unattributed_tcp_bytes: 0, unattributed_cpu_ns: 0, undecided: 0 },
//! #     columns: metric::choose("fds")?.into(),
//! #     groups: vec![GroupReport {
//! #         name: b"nginx".as_slice().into(),
//! #         matched: 1,
//! #         descendants: 0,
//! #         members_mark: Mark::Exact,
//! #         unreadable: 0,
//! #         figures: Box::new([Figure::Known { value: Value::Integer(7), mark: Mark::Exact }]),
//! #     }],
//! #     host: Default::default(),
//! #     trouble: Default::default(),
//! # };
//! let origin = Origin::of_host(b"web-17");
//! let mut encoder = Encoder::new(Format::Graphite, origin, Options::default());
//! let mut bytes = Vec::new();
//! encoder.write(&report, &mut bytes);
//! let text = String::from_utf8_lossy(&bytes);
//! assert!(text.contains("servers.web-17.nginx.fds 7 1795435421\n"));
//! # Ok::<(), mpp_accounting::metric::UnknownMetric>(())
//! ```

#![forbid(unsafe_code)]

mod encode;
pub mod ended;
pub mod escape;
mod figure;
mod format;
pub mod run;
mod table;
mod units;

pub use crate::format::{
    CsvLayout, Encoder, Format, JsonLayout, Options, Origin, TableLayout, UnknownWord,
};
pub use crate::units::Units;

/// The JSON Schema (2020-12) of what [`Format::Json`] writes.
pub const REPORT_SCHEMA: &str = include_str!("../schema/report-1.json");
