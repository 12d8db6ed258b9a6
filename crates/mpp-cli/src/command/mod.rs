//! One file per command.

pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod exits;
pub(crate) mod find;
pub(crate) mod man;
pub(crate) mod metrics;
pub(crate) mod run;
pub(crate) mod sensu;
pub(crate) mod show;
