//! Reports on their way out.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use metrics_per_process::report::Report;
use metrics_per_process::slack::Slack;
use mpp_export::{Encoder, Format, JsonLayout, Options, Origin, TableLayout};

use crate::plan::ShowPlan;
use crate::screen;

/// Writes reports one after another, each at once.
#[derive(Debug)]
pub(crate) struct Printer {
    encoder: Encoder,
    buffer: Vec<u8>,
    slack: Slack,
}

impl Printer {
    /// A printer that has not printed anything yet.
    pub(crate) fn new(plan: &ShowPlan) -> Self {
        let output = &plan.output;
        let mut origin = Origin::of_host(&host_name(&plan.procfs));
        if let Some(prefix) = &output.prefix {
            origin.graphite_prefix.clone_from(prefix);
        }
        let is_for_reading =
            output.format == Format::Json && plan.count == 1 && io::stdout().is_terminal();
        let options = Options {
            json: if is_for_reading { JsonLayout::Pretty } else { JsonLayout::Line },
            csv: output.csv,
            table: TableLayout { units: output.units, width: screen::width_columns() },
        };
        let encoder = Encoder::new(output.format, origin, options);
        Printer { encoder, buffer: Vec::new(), slack: Slack::default() }
    }

    /// Writes a report and passes it on, so that a reader sees each sample when it is taken.
    ///
    /// # Errors
    ///
    /// What the writer says.
    pub(crate) fn print(&mut self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        self.buffer.clear();
        self.encoder.write(report, &mut self.buffer);
        out.write_all(&self.buffer)?;
        self.slack.give_back(&mut self.buffer);
        out.flush()
    }
}

/// The machine's name, from `sys/kernel/hostname` of the procfs; empty where there is none.
pub(crate) fn host_name(procfs: &Path) -> Vec<u8> {
    let mut name = std::fs::read(procfs.join("sys/kernel/hostname")).unwrap_or_default();
    name.truncate(name.trim_ascii_end().len());
    name
}
