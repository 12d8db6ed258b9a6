//! The ledger: what processes did, counted once, their ended children included.
//!
//! This crate is pure. It reads no clock, no file and no environment: snapshots
//! go in, reports come out, and the same snapshots always give the same reports.
//! Past its edge only bytes, seconds and counts exist; ticks, pages and kernel
//! text stay on the other side.
//!
//! A sample takes one path through here:
//!
//! ```text
//! Snapshot -> Ledger::advance -> Movement -> GroupBook::fold -> Report
//! ```

#![forbid(unsafe_code)]

pub mod ended;
pub mod exit;
pub mod group;
mod group_totals;
mod kept;
pub mod ledger;
pub mod metric;
pub mod network;
mod pattern;
pub mod process;
pub mod rate;
pub mod report;
pub mod run;
pub mod selector;
pub mod similar;
pub mod slack;
pub mod snapshot;
mod tally;
mod traffic;
pub mod units;
mod walk;
