//! What a process is called.
//!
//! The kernel keeps 15 bytes of a name, and the process may overwrite them. The
//! executable's path and the first argument know the rest; neither is always readable.

use std::collections::HashSet;
use std::sync::Arc;

use super::error;
use super::{SelectorError, Verdict};
use crate::pattern::{Pattern, is_glob};
use crate::process::{Absence, Identity, Reading};

/// The kernel keeps no more of a command name: `TASK_COMM_LEN` less its NUL.
const COMM_LENGTH_MAX: usize = 15;

/// Names and globs for them. Thousands of plain names cost no more than one.
#[derive(Clone, Debug, Default)]
pub(super) struct NameSet {
    exact: HashSet<Arc<[u8]>>,
    /// The same names, in the order they were given.
    in_order: Vec<Arc<[u8]>>,
    globs: Vec<Pattern>,
}

impl PartialEq for NameSet {
    fn eq(&self, other: &Self) -> bool {
        self.in_order == other.in_order && self.globs == other.globs
    }
}

impl NameSet {
    pub(super) fn add(&mut self, name: &[u8]) -> Result<(), SelectorError> {
        if name.is_empty() {
            return Err(SelectorError::new("the name of a program", name));
        }
        if is_glob(name) {
            self.globs.push(error::glob(name, "a glob for names of programs")?);
            return Ok(());
        }
        let name: Arc<[u8]> = name.into();
        if self.exact.insert(Arc::clone(&name)) {
            self.in_order.push(name);
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.in_order.is_empty() && self.globs.is_empty()
    }

    pub(super) fn glob_count(&self) -> usize {
        self.globs.len()
    }

    /// Plain names first, then globs, as the text form has them.
    pub(super) fn texts(&self) -> impl Iterator<Item = &[u8]> {
        let globs = self.globs.iter().map(|glob| glob.text().as_bytes());
        self.in_order.iter().map(AsRef::as_ref).chain(globs)
    }

    /// The command name alone may say yes; no takes the first argument, and the executable
    /// where it may be read: of other users' processes it often may not, and hardly any
    /// process hides its program behind two other names.
    pub(super) fn judge(&self, identity: &Identity) -> Verdict {
        if self.is_empty() {
            return Verdict::No;
        }
        let comm = &identity.comm;
        if self.exact.contains(&**comm) || self.is_like(comm) {
            return Verdict::Yes;
        }
        let mut doubt: Option<Absence> = None;
        let executable = match executable_name(identity) {
            Reading::Absent(Absence::Denied) => Reading::Value(&[][..]),
            reading => reading,
        };
        for name in [executable, first_argument_name(identity)] {
            match name {
                Reading::Value(name) if self.has_program(name, comm) => return Verdict::Yes,
                Reading::Value(_) => {}
                Reading::Absent(why) => doubt = doubt.or(Some(why)),
            }
        }
        doubt.map_or(Verdict::No, Verdict::Unknown)
    }

    /// A name that the kernel had to cut must begin with what it kept, or any process
    /// could be mistaken that was started by a long path.
    fn has_program(&self, name: &[u8], comm: &[u8]) -> bool {
        if name.is_empty() {
            return false;
        }
        let agrees = name
            .get(..COMM_LENGTH_MAX)
            .is_none_or(|kept| name.len() == COMM_LENGTH_MAX || kept == comm);
        (agrees && self.exact.contains(name)) || self.is_like(name)
    }

    fn is_like(&self, name: &[u8]) -> bool {
        self.globs.iter().any(|glob| glob.is_match(name))
    }
}

/// The name of a program as people know it: the command name, or where the kernel cut
/// that short, the executable's or the first argument's that it begins.
///
/// `None` while what would complete it has not arrived yet.
#[must_use]
pub fn program_name(identity: &Identity) -> Option<&[u8]> {
    let comm = &*identity.comm;
    if comm.len() < COMM_LENGTH_MAX {
        return Some(comm);
    }
    let mut is_complete = true;
    for name in [executable_name(identity), first_argument_name(identity)] {
        match name {
            Reading::Value(name) if name.starts_with(comm) => return Some(name),
            Reading::Absent(Absence::NotYetKnown) => is_complete = false,
            Reading::Value(_) | Reading::Absent(_) => {}
        }
    }
    is_complete.then_some(comm)
}

fn executable_name(identity: &Identity) -> Reading<&[u8]> {
    identity.executable.as_ref().map(|path| last_component(path))
}

fn first_argument_name(identity: &Identity) -> Reading<&[u8]> {
    identity.cmdline.as_ref().map(|cmdline| {
        let end = cmdline.iter().position(|byte| *byte == 0).unwrap_or(cmdline.len());
        last_component(&cmdline[..end])
    })
}

fn last_component(path: &[u8]) -> &[u8] {
    let begin = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    &path[begin..]
}
