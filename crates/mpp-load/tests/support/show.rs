//! `mpp show` beside a load: what it says is there as soon as it is said.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Nothing is awaited for longer than this.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running `mpp show` that prints a JSON object for each sample. Ended when dropped.
pub(crate) struct Show {
    child: Child,
    lines: Receiver<Value>,
    /// All that was printed so far.
    pub(crate) samples: Vec<Value>,
}

impl Show {
    /// Starts it at most at this tier, with these arguments besides, and waits for its first
    /// sample.
    pub(crate) fn start(tier: &str, interval: &str, arguments: &[&str]) -> Self {
        let mut command = super::mpp();
        command.args(["show", "--tier", tier, "-i", interval, "-c", "1000000", "--json"]);
        Show::start_command(command.args(arguments))
    }

    /// The same of a whole command, which may be somebody else's.
    pub(crate) fn start_command(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // The receiver is gone when the test is over.
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        let mut show = Show { child, lines, samples: Vec::new() };
        show.next();
        show
    }

    /// The PID of the command.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the next sample.
    pub(crate) fn next(&mut self) -> &Value {
        let Ok(sample) = self.lines.recv_timeout(PATIENCE) else {
            panic!("it said nothing more: {}", self.words());
        };
        self.samples.push(sample);
        &self.samples[self.samples.len() - 1]
    }

    /// Waits for a sample of which this holds; the samples of before are kept.
    pub(crate) fn until(&mut self, is_it: impl Fn(&Value) -> bool) -> &Value {
        let end = Instant::now() + PATIENCE;
        while !is_it(self.next()) {
            assert!(Instant::now() < end, "it never came: {}", self.last());
        }
        self.last()
    }

    /// Waits for samples that were begun after this moment. What comes late is in the last.
    pub(crate) fn settle(&mut self) {
        self.samples.extend(self.lines.try_iter());
        // The first of them may have been begun before.
        for _ in 0..4 {
            self.next();
        }
    }

    pub(crate) fn last(&self) -> &Value {
        &self.samples[self.samples.len() - 1]
    }

    /// Ends it as Ctrl-C does; it must have had nothing to complain of.
    pub(crate) fn end(self) -> Vec<Value> {
        let (samples, words) = self.end_with_words();
        assert_eq!(words, "");
        samples
    }

    /// The same of one that may have had something to say on its standard error.
    pub(crate) fn end_with_words(mut self) -> (Vec<Value>, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let code = self.child.wait().unwrap().code();
        let words = self.words();
        assert_eq!(code, Some(0), "{words}");
        while let Ok(sample) = self.lines.recv_timeout(PATIENCE) {
            self.samples.push(sample);
        }
        (std::mem::take(&mut self.samples), words)
    }

    /// What it said on its standard error, once it has ended.
    fn words(&mut self) -> String {
        let mut words = String::new();
        let _ = self.child.kill();
        self.child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
        words
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        // Both fail only where it has ended and was waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A metric of the only group.
pub(crate) fn metric(sample: &Value, name: &str) -> u64 {
    let groups = sample["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 1, "{sample}");
    let value = &groups[0]["metrics"][name];
    value.as_u64().unwrap_or_else(|| panic!("no number `{name}`: {sample}"))
}

/// How often something of this class went wrong.
pub(crate) fn trouble(sample: &Value, class: &str) -> u64 {
    sample["trouble"][class].as_u64().unwrap_or_else(|| panic!("no class `{class}`: {sample}"))
}

/// By how much a total grew since the first sample; it never falls.
pub(crate) fn growth(samples: &[Value], name: &str) -> u64 {
    let totals: Vec<u64> = samples.iter().map(|sample| metric(sample, name)).collect();
    assert!(totals.is_sorted(), "{name} fell: {totals:?}");
    totals[totals.len() - 1] - totals[0]
}
