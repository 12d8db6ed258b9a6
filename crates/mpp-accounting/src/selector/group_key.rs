//! What tells the rows of `--by` apart.

use std::fmt;

use super::{Resolution, Selector, SelectorError, program_name, spaced, unit_of};
use crate::process::{Absence, Identity, IdentityNeeds, ProcessSample};
use crate::similar;

/// What of a process names its row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GroupKey {
    /// Its program's name, whole where the kernel cut it.
    Name,
    /// Its effective user.
    User,
    /// Its systemd unit.
    Unit,
    /// Its control group's path.
    Cgroup,
    /// The value of this variable.
    Environment(Box<[u8]>),
    /// Its PID.
    Pid,
    /// What this named group of the selector's command-line expressions captured.
    Capture(Box<str>),
    /// Its systemd unit, or where it has none its program's name.
    UnitOrName,
}

/// The keys that are a word, with it.
const WORDS: [(&str, GroupKey); 6] = [
    ("name", GroupKey::Name),
    ("user", GroupKey::User),
    ("unit", GroupKey::Unit),
    ("cgroup", GroupKey::Cgroup),
    ("pid", GroupKey::Pid),
    ("unit-or-name", GroupKey::UnitOrName),
];

impl GroupKey {
    /// Reads `name`, `user`, `unit`, `cgroup`, `pid`, `unit-or-name`, `env:KEY`, or the name
    /// of a capture group of the selector's command-line expressions, as it is or as
    /// `capture:NAME`.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(text: &str, selector: &Selector) -> Result<Self, SelectorError> {
        if let Some((_, key)) = WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(key.clone());
        }
        if let Some(key) = text.strip_prefix("env:") {
            let is_key = !key.is_empty() && !key.contains(['=', '\0']);
            let error = || SelectorError::new("the name of a variable", key.as_bytes());
            return match is_key {
                true => Ok(GroupKey::Environment(key.as_bytes().into())),
                false => Err(error().of_group_key().at("env:".len())),
            };
        }
        let capture = text.strip_prefix("capture:").unwrap_or(text);
        if selector.capture_names().any(|name| name == capture) {
            return Ok(GroupKey::Capture(capture.into()));
        }
        let words = WORDS.iter().map(|(word, _)| *word).chain(selector.capture_names());
        let expected = "name, user, unit, cgroup, pid, `env:KEY` or a capture of the command line";
        let error = SelectorError::new(expected, text.as_bytes()).of_group_key();
        Err(error.did_you_mean(similar::closest(capture, words)))
    }

    /// The parts of an identity that it looks at.
    #[must_use]
    pub fn identity_needs(&self) -> IdentityNeeds {
        let mut needs = IdentityNeeds::default();
        match self {
            GroupKey::User | GroupKey::Pid => {}
            GroupKey::Name => (needs.executable, needs.cmdline) = (true, true),
            GroupKey::Unit | GroupKey::Cgroup => needs.cgroup = true,
            GroupKey::UnitOrName => {
                (needs.executable, needs.cmdline, needs.cgroup) = (true, true, true);
            }
            GroupKey::Environment(key) => needs.environment_keys.push(key.clone()),
            GroupKey::Capture(_) => needs.cmdline = true,
        }
        needs
    }

    /// Why it cannot be said whether a process has a row of its own; `None` where it can.
    pub(crate) fn doubt(&self, identity: &Identity) -> Option<Absence> {
        match self {
            GroupKey::User | GroupKey::Pid => None,
            GroupKey::Name | GroupKey::Capture(_) => identity.cmdline.absence(),
            GroupKey::Unit | GroupKey::Cgroup => identity.cgroup.absence(),
            GroupKey::UnitOrName => identity.cgroup.absence().or(identity.cmdline.absence()),
            GroupKey::Environment(_) => identity.environment.absence(),
        }
    }

    /// The name of the process's row, or `None` where it has none of its own: no such
    /// variable, no unit, or nothing readable that would tell.
    #[must_use]
    pub fn value_of(
        &self,
        process: &ProcessSample,
        selector: &Selector,
        resolution: &Resolution,
    ) -> Option<Box<[u8]>> {
        let identity = process.identity.as_ref();
        let unit = || unit_of(identity.cgroup.value()?).map(Box::from);
        let name = || program_name(identity).map(Box::from);
        match self {
            GroupKey::Name => name(),
            GroupKey::User => {
                let number = || Box::from(identity.uid.to_string().as_bytes());
                Some(resolution.user_names.get(&identity.uid).cloned().unwrap_or_else(number))
            }
            GroupKey::Unit => unit(),
            GroupKey::Cgroup => identity.cgroup.value().cloned(),
            GroupKey::Environment(key) => {
                let entries = identity.environment.value()?;
                Some(entries.iter().find(|entry| entry.key == *key)?.value.clone())
            }
            GroupKey::Pid => Some(Box::from(process.key.pid.to_string().as_bytes())),
            GroupKey::Capture(capture) => {
                let cmdline = spaced(identity.cmdline.value()?);
                let captured = |pattern: &crate::pattern::Pattern| {
                    pattern.capture(capture, &cmdline).map(Box::from)
                };
                selector.cmdlines.iter().find_map(captured)
            }
            // A unit that cannot be read yet is not the same as none.
            GroupKey::UnitOrName => match identity.cgroup.absence() {
                Some(Absence::NotYetKnown) => None,
                _ => unit().or_else(name),
            },
        }
    }
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GroupKey::Environment(key) => write!(f, "env:{}", String::from_utf8_lossy(key)),
            GroupKey::Capture(name) => write!(f, "capture:{name}"),
            word => {
                let found = WORDS.iter().find(|(_, key)| key == word);
                f.write_str(found.map_or("", |(word, _)| word))
            }
        }
    }
}
