//! Which processes: names, users, command lines, environment and the rest, as conditions.
//!
//! Conditions of different kinds must all hold; of several values of one kind any
//! will do, except that environment conditions must hold one and all. A selector
//! without conditions matches every process.
//!
//! What cannot be read decides nothing: a verdict is yes, no, or unknown and why.
//! An unknown process matches no negative condition either, so nobody enters a
//! group by hiding the variable that should keep them out.
//!
//! Everything here is pure. Users and PID files are named by [`Selector::references`]
//! and looked up by the caller, into a [`Resolution`], before processes are matched.

mod error;
mod group_key;
mod names;
mod text;

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub use self::error::SelectorError;
pub use self::group_key::GroupKey;
use self::names::NameSet;
pub use self::names::program_name;
pub use crate::pattern::PatternError;
use crate::pattern::{Pattern, is_glob};
use crate::process::{Absence, Identity, IdentityNeeds, ProcessKey, ProcessSample, Reading};
use crate::snapshot::Snapshot;

/// Of a command line, no more than this is looked at. One that is as long may have been
/// longer, and what it does not say is then unknown.
pub const CMDLINE_BYTES_MAX: usize = 64 * 1024;

/// No selector holds more globs and expressions; plain names are not bounded.
const PATTERNS_MAX: usize = 256;

/// Exclusions within exclusions go no deeper: each level doubles the escapes of its text.
const NESTING_MAX: usize = 4;

/// A choice of processes.
///
/// ```
/// use mpp_accounting::selector::Selector;
///
/// let selector = Selector::parse("name:foo user:max env:TAG=x !env:OTHER")?;
/// assert_eq!(selector.to_string(), "name:foo user:max env:TAG=x !env:OTHER");
/// # Ok::<(), mpp_accounting::selector::SelectorError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selector {
    names: NameSet,
    users: Vec<User>,
    cmdlines: Vec<Pattern>,
    environment: Vec<EnvironmentCondition>,
    pids: Vec<u32>,
    pid_files: Vec<PathBuf>,
    ports: Vec<PortRange>,
    roots: Roots,
    units: Vec<Wanted>,
    cgroups: Vec<Wanted>,
    exclusions: Vec<Selector>,
    descendants: Descendants,
}

/// Whether processes that descend from one that matches are taken along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Descendants {
    /// They belong to the group as well.
    #[default]
    Taken,
    /// Only what matches itself belongs to the group.
    Left,
}

/// What a selector says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It matches.
    Yes,
    /// It does not.
    No,
    /// Something that decides it could not be read.
    Unknown(Absence),
}

/// What a selector names that only the system can look up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Names of users.
    pub user_names: BTreeSet<Box<[u8]>>,
    /// Files that hold a PID.
    pub pid_files: BTreeSet<PathBuf>,
}

impl References {
    /// Takes everything along that `other` names.
    pub fn extend(&mut self, other: References) {
        self.user_names.extend(other.user_names);
        self.pid_files.extend(other.pid_files);
    }
}

/// What the system answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    /// The number of each user name; `None`, or missing, for a user that does not exist.
    pub users: HashMap<Box<[u8]>, Option<u32>>,
    /// The PID in each file; `None`, or missing, where there is none.
    pub pid_files: HashMap<PathBuf, Option<u32>>,
    /// The name of each user number, for grouping by user. A user not in here goes by number.
    pub user_names: HashMap<u32, Box<[u8]>>,
    /// Ourselves: these match by `pid:` only.
    pub own_pids: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum User {
    Name(Box<[u8]>),
    Id(u32),
}

/// A text, or a glob for it.
#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    Exactly(Box<[u8]>),
    Like(Pattern),
}

#[derive(Clone, Debug, PartialEq)]
enum EnvironmentCondition {
    Present(Box<[u8]>),
    Equals(Box<[u8]>, Wanted),
    Absent(Box<[u8]>),
}

/// Ports from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PortRange {
    first: u16,
    last: u16,
}

/// Whose descendants.
#[derive(Clone, Debug, Default, PartialEq)]
struct Roots {
    pids: Vec<u32>,
    names: NameSet,
}

impl Selector {
    /// Reads the text form, see [`Selector`]'s `Display`:
    ///
    /// ```text
    /// selector   = [ condition { whitespace condition } ]
    /// condition  = [ "!" ] kind ":" value
    /// kind       = name | user | cmdline | env | pid | pidfile | port | children-of | unit
    ///            | cgroup | not | children
    /// ```
    ///
    /// A value ends at whitespace. Parts of it may stand in double quotes, where whitespace
    /// is itself and a backslash begins one of `\\`, `\"`, `\n`, `\t` and `\xHH`; outside
    /// quotes a backslash is itself. `user:`, `pid:` and `port:` take lists with commas, `port:`
    /// also ranges, `8000-8010`.
    /// `env:KEY` wants a variable, `env:KEY=GLOB` a value of it, `!env:KEY` its absence;
    /// `!` before any other condition excludes what it matches. `not:"..."` excludes what a
    /// whole selector matches, and `children:no` leaves descendants out.
    ///
    /// # Errors
    /// What is expected, what was found, and at which byte.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        text::parse(text)
    }

    /// Also matches programs of this name: the command name, or the last component of the
    /// executable's path or of the first argument. A glob if it has any of `*?[`.
    ///
    /// # Errors
    /// A malformed glob.
    pub fn name(mut self, name: impl AsRef<[u8]>) -> Result<Self, SelectorError> {
        self.names.add(name.as_ref())?;
        self.within_bounds()
    }

    /// Also matches processes of these effective users: names or numbers, with commas
    /// between them.
    ///
    /// # Errors
    /// An empty name, or a number that no user can have.
    pub fn user(mut self, users: impl AsRef<[u8]>) -> Result<Self, SelectorError> {
        for user in users.as_ref().split(|byte| *byte == b',') {
            self.users.push(User::parse(user)?);
        }
        Ok(self)
    }

    /// Also matches command lines in which this regular expression matches anywhere. The
    /// expression sees one space between arguments.
    ///
    /// # Errors
    /// A malformed or too costly expression.
    pub fn cmdline(mut self, regex: impl AsRef<[u8]>) -> Result<Self, SelectorError> {
        let text = error::as_text(regex.as_ref(), "a regular expression")?;
        let pattern = Pattern::regex(text).map_err(|cause| {
            SelectorError::new("a regular expression", text.as_bytes()).caused_by(cause)
        })?;
        self.cmdlines.push(pattern);
        self.within_bounds()
    }

    /// Requires a variable: `KEY` is present, `KEY=GLOB` has such a value, `!KEY` is absent.
    ///
    /// # Errors
    /// An empty key, or a malformed glob.
    pub fn environment(mut self, condition: impl AsRef<[u8]>) -> Result<Self, SelectorError> {
        self.environment.push(EnvironmentCondition::parse(condition.as_ref())?);
        self.within_bounds()
    }

    /// Also matches these PIDs, with commas between them.
    ///
    /// # Errors
    /// Anything but a PID.
    pub fn pids(mut self, pids: impl AsRef<[u8]>) -> Result<Self, SelectorError> {
        for pid in pids.as_ref().split(|byte| *byte == b',') {
            self.pids.push(parse_pid(pid)?);
        }
        Ok(self)
    }

    /// Also matches the PID that this file holds at each sweep: PIDs and PID files are one kind.
    ///
    /// # Errors
    /// A path that no file can have.
    pub fn pid_file(mut self, path: impl AsRef<Path>) -> Result<Self, SelectorError> {
        let bytes = path.as_ref().as_os_str().as_bytes();
        if bytes.is_empty() || bytes.contains(&0) {
            return Err(SelectorError::new("the path of a PID file", bytes));
        }
        self.pid_files.push(path.as_ref().to_owned());
        Ok(self)
    }

    /// Also matches processes that listen on these ports, with commas between them: a port or
    /// a range, `8000-8010`. Listens who holds a TCP socket that does, or a UDP socket that is
    /// bound and not connected, over version 4 or 6, in any network namespace that may be read.
    /// In a group, who once listened stays until it executes something else.
    ///
    /// # Errors
    /// Anything but ports from 1 to 65535, or a range that ends before it begins.
    pub fn ports(mut self, ports: impl AsRef<[u8]>) -> Result<Self, SelectorError> {
        for range in ports.as_ref().split(|byte| *byte == b',') {
            self.ports.push(PortRange::parse(range)?);
        }
        Ok(self)
    }

    /// Also matches the descendants, at any depth, of this PID or of programs of this name,
    /// but not those themselves.
    ///
    /// # Errors
    /// A number that is no PID, or a malformed glob.
    pub fn children_of(mut self, root: impl AsRef<[u8]>) -> Result<Self, SelectorError> {
        let root = root.as_ref();
        if !root.is_empty() && root.iter().all(u8::is_ascii_digit) {
            self.roots.pids.push(parse_pid(root)?);
        } else {
            self.roots.names.add(root)?;
        }
        self.within_bounds()
    }

    /// Also matches processes of this systemd unit, or glob; `nginx` means `nginx.service`.
    /// A slice matches all that it holds.
    ///
    /// # Errors
    /// An empty name, or a malformed glob.
    pub fn unit(mut self, unit: impl AsRef<[u8]>) -> Result<Self, SelectorError> {
        let unit = unit.as_ref();
        if unit.is_empty() {
            return Err(SelectorError::new("the name of a systemd unit", unit));
        }
        let mut full = unit.to_vec();
        if !is_glob(unit) && !is_unit(unit) {
            full.extend_from_slice(b".service");
        }
        self.units.push(Wanted::parse(&full, "a glob for systemd units")?);
        self.within_bounds()
    }

    /// Also matches processes in this control group, or glob; `/a/*` takes all below `/a`.
    ///
    /// # Errors
    /// An empty path, or a malformed glob.
    pub fn cgroup(mut self, path: impl AsRef<[u8]>) -> Result<Self, SelectorError> {
        let path = path.as_ref();
        if path.is_empty() {
            return Err(SelectorError::new("the path of a control group", path));
        }
        self.cgroups.push(Wanted::parse(path, "a glob for control groups")?);
        self.within_bounds()
    }

    /// Matches nothing that the other selector matches.
    ///
    /// # Errors
    /// An exclusion that would exclude everything, or one within too many others.
    pub fn excluding(mut self, other: Selector) -> Result<Self, SelectorError> {
        if other.is_unconditional() {
            return Err(SelectorError::new("a condition to exclude by", b""));
        }
        if other.nesting() + 1 > NESTING_MAX {
            let expected = format!("exclusions no deeper than {NESTING_MAX}");
            return Err(SelectorError::new(expected, other.to_string().as_bytes()));
        }
        self.exclusions.push(other);
        self.within_bounds()
    }

    /// Says whether descendants are taken along.
    #[must_use]
    pub fn with_descendants(mut self, descendants: Descendants) -> Self {
        self.descendants = descendants;
        self
    }

    /// Whether descendants are taken along. That is for groups to do: [`Selector::matches`]
    /// tells only what a process is by itself.
    #[must_use]
    pub fn descendants(&self) -> Descendants {
        self.descendants
    }

    /// Whether it has no condition, and so matches every process.
    #[must_use]
    pub fn is_unconditional(&self) -> bool {
        let bare = Selector { descendants: self.descendants, ..Selector::default() };
        *self == bare
    }

    /// The parts of an identity that it looks at.
    #[must_use]
    pub fn identity_needs(&self) -> IdentityNeeds {
        let looks_at_names = !self.names.is_empty() || !self.roots.names.is_empty();
        let mut needs = IdentityNeeds {
            executable: looks_at_names,
            cmdline: looks_at_names || !self.cmdlines.is_empty(),
            cgroup: !self.units.is_empty() || !self.cgroups.is_empty(),
            listening_ports: !self.ports.is_empty(),
            environment_keys: Vec::new(),
        };
        for condition in &self.environment {
            let key = condition.key();
            if !needs.environment_keys.iter().any(|known| **known == *key) {
                needs.environment_keys.push(key.into());
            }
        }
        for exclusion in &self.exclusions {
            needs.extend(&exclusion.identity_needs());
        }
        needs
    }

    /// Whether it looks at what a process listens on, by itself or to leave others out: that may
    /// change while the process stays who it is.
    #[must_use]
    pub fn looks_at_ports(&self) -> bool {
        !self.ports.is_empty() || self.exclusions.iter().any(Selector::looks_at_ports)
    }

    /// Whether it looks at users, by itself or to leave others out.
    #[must_use]
    pub fn looks_at_users(&self) -> bool {
        !self.users.is_empty() || self.exclusions.iter().any(Selector::looks_at_users)
    }

    /// Whether it looks at the environment by itself: whom [`Selector::judge_environment`] denies
    /// it never matches.
    #[must_use]
    pub fn looks_at_environment(&self) -> bool {
        !self.environment.is_empty()
    }

    /// What it names that has to be looked up.
    #[must_use]
    pub fn references(&self) -> References {
        let mut references = References::default();
        self.collect_references(&mut references);
        references
    }

    fn collect_references(&self, references: &mut References) {
        for user in &self.users {
            if let User::Name(name) = user {
                references.user_names.insert(name.clone());
            }
        }
        references.pid_files.extend(self.pid_files.iter().cloned());
        for exclusion in &self.exclusions {
            exclusion.collect_references(references);
        }
    }

    /// What it says of a process of this snapshot. Our own processes match only where their
    /// PID is named.
    #[must_use]
    pub fn matches(
        &self,
        process: &ProcessSample,
        snapshot: &Snapshot,
        resolution: &Resolution,
    ) -> Verdict {
        let pid = process.key.pid;
        if resolution.own_pids.contains(&pid) && !self.pids.contains(&pid) {
            return Verdict::No;
        }
        self.judge(process, snapshot, resolution)
    }

    /// Whether an exclusion surely speaks of this process: then it has no part in the
    /// selection, as a descendant of one that matches neither.
    #[must_use]
    pub fn excludes(
        &self,
        process: &ProcessSample,
        snapshot: &Snapshot,
        resolution: &Resolution,
    ) -> bool {
        let verdict = |other: &Selector| other.judge(process, snapshot, resolution);
        self.exclusions.iter().any(|other| verdict(other) == Verdict::Yes)
    }

    /// Whether it looks at more of a process than its PID and identity: its ancestors, or the
    /// ports it listens on.
    #[must_use]
    pub fn looks_beyond_identity(&self) -> bool {
        !self.roots.is_empty()
            || !self.ports.is_empty()
            || self.exclusions.iter().any(Selector::looks_beyond_identity)
    }

    /// As [`Selector::matches`], by the PID and the identity alone; what it looks at beyond
    /// these, see [`Selector::looks_beyond_identity`], is unknown.
    ///
    /// Parts of the identity may be absent: a verdict that stands without them is given.
    #[must_use]
    pub fn matches_identity(
        &self,
        pid: u32,
        identity: &Identity,
        resolution: &Resolution,
    ) -> Verdict {
        if resolution.own_pids.contains(&pid) && !self.pids.contains(&pid) {
            return Verdict::No;
        }
        self.judge_alone(pid, identity, resolution)
    }

    fn judge_alone(&self, pid: u32, identity: &Identity, resolution: &Resolution) -> Verdict {
        let is_more = !self.roots.is_empty() || !self.ports.is_empty();
        let beyond = match is_more {
            true => Verdict::Unknown(Absence::NotRequested),
            false => Verdict::Yes,
        };
        let own = std::iter::once_with(|| self.judge_identity(pid, identity, resolution));
        let others = self.exclusions.iter();
        let others = others.map(|other| other.judge_alone(pid, identity, resolution).not());
        Verdict::all(own.chain([beyond]).chain(others))
    }

    /// Every kind in turn, the cheap ones first, until one says no.
    fn judge(
        &self,
        process: &ProcessSample,
        snapshot: &Snapshot,
        resolution: &Resolution,
    ) -> Verdict {
        let kinds: [&dyn Fn() -> Verdict; 4] = [
            &|| self.judge_identity(process.key.pid, &process.identity, resolution),
            &|| self.judge_ports(process.key, snapshot),
            &|| self.judge_ancestors(process, snapshot),
            &|| self.judge_exclusions(process, snapshot, resolution),
        ];
        Verdict::all(kinds.iter().map(|judge| judge()))
    }

    fn judge_identity(&self, pid: u32, identity: &Identity, resolution: &Resolution) -> Verdict {
        let kinds: [&dyn Fn() -> Verdict; 6] = [
            &|| self.judge_pid(pid, resolution),
            &|| self.judge_user(identity.uid, resolution),
            &|| self.judge_name(identity),
            &|| self.judge_cgroup(identity),
            &|| self.judge_environment(identity),
            &|| self.judge_cmdline(identity),
        ];
        Verdict::all(kinds.iter().map(|judge| judge()))
    }

    fn judge_name(&self, identity: &Identity) -> Verdict {
        if self.names.is_empty() { Verdict::Yes } else { self.names.judge(identity) }
    }

    fn judge_ancestors(&self, process: &ProcessSample, snapshot: &Snapshot) -> Verdict {
        if self.roots.is_empty() { Verdict::Yes } else { self.roots.judge(process, snapshot) }
    }

    fn judge_pid(&self, pid: u32, resolution: &Resolution) -> Verdict {
        if self.pids.is_empty() && self.pid_files.is_empty() {
            return Verdict::Yes;
        }
        let is_in_file =
            |path: &PathBuf| resolution.pid_files.get(path).copied().flatten() == Some(pid);
        let is_one = self.pids.contains(&pid) || self.pid_files.iter().any(is_in_file);
        Verdict::from(is_one)
    }

    fn judge_ports(&self, key: ProcessKey, snapshot: &Snapshot) -> Verdict {
        if self.ports.is_empty() {
            return Verdict::Yes;
        }
        let listening = match &snapshot.network.listening {
            Reading::Value(listening) => listening,
            Reading::Absent(why) => return Verdict::Unknown(*why),
        };
        let is_wanted = |port: u16| self.ports.iter().any(|range| range.holds(port));
        match listening.ports_of(key) {
            Ok(mut ports) => Verdict::from(ports.any(is_wanted)),
            Err(why) => Verdict::Unknown(why),
        }
    }

    fn judge_user(&self, uid: u32, resolution: &Resolution) -> Verdict {
        if self.users.is_empty() {
            return Verdict::Yes;
        }
        let is_one = self.users.iter().any(|user| match user {
            User::Id(id) => *id == uid,
            User::Name(name) => resolution.users.get(name).copied().flatten() == Some(uid),
        });
        Verdict::from(is_one)
    }

    fn judge_cgroup(&self, identity: &Identity) -> Verdict {
        if self.units.is_empty() && self.cgroups.is_empty() {
            return Verdict::Yes;
        }
        let path = match &identity.cgroup {
            Reading::Value(path) => path,
            Reading::Absent(why) => return Verdict::Unknown(*why),
        };
        let is_in_unit =
            self.units.is_empty() || self.units.iter().any(|unit| is_part_of(unit, path));
        let is_in_cgroup =
            self.cgroups.is_empty() || self.cgroups.iter().any(|cgroup| cgroup.is_met_by(path));
        Verdict::from(is_in_unit && is_in_cgroup)
    }

    /// What it says by the environment alone, whatever else it looks at.
    #[must_use]
    pub fn judge_environment(&self, identity: &Identity) -> Verdict {
        if self.environment.is_empty() {
            return Verdict::Yes;
        }
        let entries = match &identity.environment {
            Reading::Value(entries) => entries,
            Reading::Absent(why) => return Verdict::Unknown(*why),
        };
        let value_of =
            |key: &[u8]| entries.iter().find(|entry| *entry.key == *key).map(|entry| &*entry.value);
        let missing = match identity.is_environment_incomplete {
            true => Verdict::Unknown(Absence::Malformed),
            false => Verdict::No,
        };
        let verdict =
            |condition: &EnvironmentCondition| match (condition, value_of(condition.key())) {
                (EnvironmentCondition::Present(_), Some(_)) => Verdict::Yes,
                (EnvironmentCondition::Equals(_, wanted), Some(value)) => {
                    Verdict::from(wanted.is_met_by(value))
                }
                (EnvironmentCondition::Absent(_), Some(_)) => Verdict::No,
                (EnvironmentCondition::Absent(_), None) => missing.not(),
                (_, None) => missing,
            };
        Verdict::all(self.environment.iter().map(verdict))
    }

    fn judge_cmdline(&self, identity: &Identity) -> Verdict {
        if self.cmdlines.is_empty() {
            return Verdict::Yes;
        }
        let cmdline = match &identity.cmdline {
            Reading::Value(cmdline) => cmdline,
            Reading::Absent(why) => return Verdict::Unknown(*why),
        };
        let shown = spaced(cmdline);
        if self.cmdlines.iter().any(|pattern| pattern.is_match(&shown)) {
            Verdict::Yes
        } else if cmdline.len() >= CMDLINE_BYTES_MAX {
            Verdict::Unknown(Absence::TooLarge)
        } else {
            Verdict::No
        }
    }

    fn judge_exclusions(
        &self,
        process: &ProcessSample,
        snapshot: &Snapshot,
        resolution: &Resolution,
    ) -> Verdict {
        let others = self.exclusions.iter();
        Verdict::all(others.map(|other| other.judge(process, snapshot, resolution).not()))
    }

    /// The names that its command-line expressions capture by.
    fn capture_names(&self) -> impl Iterator<Item = &str> {
        self.cmdlines.iter().flat_map(Pattern::capture_names)
    }

    /// How deep exclusions stand in it.
    fn nesting(&self) -> usize {
        self.exclusions.iter().map(|other| other.nesting() + 1).max().unwrap_or(0)
    }

    fn pattern_count(&self) -> usize {
        let globs = |wanted: &[Wanted]| wanted.iter().filter(|one| one.is_glob()).count();
        let in_environment = |condition: &&EnvironmentCondition| matches!(condition, EnvironmentCondition::Equals(_, wanted) if wanted.is_glob());
        self.names.glob_count()
            + self.roots.names.glob_count()
            + self.cmdlines.len()
            + globs(&self.units)
            + globs(&self.cgroups)
            + self.environment.iter().filter(in_environment).count()
            + self.exclusions.iter().map(Selector::pattern_count).sum::<usize>()
    }

    fn within_bounds(self) -> Result<Self, SelectorError> {
        let count = self.pattern_count();
        if count > PATTERNS_MAX {
            let expected = format!("at most {PATTERNS_MAX} globs and regular expressions");
            return Err(SelectorError::new(expected, count.to_string().as_bytes()));
        }
        Ok(self)
    }
}

impl Verdict {
    /// Yes where each says yes; no where any says no; unknown otherwise.
    fn all(verdicts: impl Iterator<Item = Verdict>) -> Verdict {
        let mut all = Verdict::Yes;
        for verdict in verdicts {
            match verdict {
                Verdict::No => return Verdict::No,
                Verdict::Unknown(_) if all == Verdict::Yes => all = verdict,
                Verdict::Yes | Verdict::Unknown(_) => {}
            }
        }
        all
    }

    /// The opposite; unknown stays unknown.
    fn not(self) -> Verdict {
        match self {
            Verdict::Yes => Verdict::No,
            Verdict::No => Verdict::Yes,
            Verdict::Unknown(why) => Verdict::Unknown(why),
        }
    }
}

impl From<bool> for Verdict {
    fn from(is_met: bool) -> Self {
        if is_met { Verdict::Yes } else { Verdict::No }
    }
}

impl User {
    fn parse(text: &[u8]) -> Result<Self, SelectorError> {
        if text.is_empty() {
            return Err(SelectorError::new("the name or number of a user", text));
        }
        if !text.iter().all(u8::is_ascii_digit) {
            return Ok(User::Name(text.into()));
        }
        let number = std::str::from_utf8(text).ok().and_then(|digits| digits.parse().ok());
        number.map(User::Id).ok_or_else(|| {
            SelectorError::new(format!("the number of a user, at most {}", u32::MAX), text)
        })
    }
}

impl Wanted {
    fn parse(text: &[u8], expected: &'static str) -> Result<Self, SelectorError> {
        if !is_glob(text) {
            return Ok(Wanted::Exactly(text.into()));
        }
        error::glob(text, expected).map(Wanted::Like)
    }

    fn is_glob(&self) -> bool {
        matches!(self, Wanted::Like(_))
    }

    fn is_met_by(&self, bytes: &[u8]) -> bool {
        match self {
            Wanted::Exactly(text) => **text == *bytes,
            Wanted::Like(pattern) => pattern.is_match(bytes),
        }
    }

    fn text(&self) -> &[u8] {
        match self {
            Wanted::Exactly(text) => text,
            Wanted::Like(pattern) => pattern.text().as_bytes(),
        }
    }
}

impl EnvironmentCondition {
    fn parse(text: &[u8]) -> Result<Self, SelectorError> {
        if let Some(key) = text.strip_prefix(b"!") {
            return Ok(EnvironmentCondition::Absent(environment_key(key, text)?));
        }
        let Some(equals) = text.iter().position(|byte| *byte == b'=') else {
            return Ok(EnvironmentCondition::Present(environment_key(text, text)?));
        };
        let key = environment_key(&text[..equals], text)?;
        let value = Wanted::parse(&text[equals + 1..], "a glob for the variable's value")?;
        Ok(EnvironmentCondition::Equals(key, value))
    }

    fn key(&self) -> &[u8] {
        match self {
            EnvironmentCondition::Present(key)
            | EnvironmentCondition::Equals(key, _)
            | EnvironmentCondition::Absent(key) => key,
        }
    }
}

impl PortRange {
    fn parse(text: &[u8]) -> Result<Self, SelectorError> {
        let error = || SelectorError::new("a port from 1 to 65535, or a range `8000-8010`", text);
        let port = |digits: &[u8]| {
            let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
            let digits = std::str::from_utf8(digits).ok().filter(|_| is_number)?;
            digits.parse().ok().filter(|port: &u16| *port > 0)
        };
        let range = match text.iter().position(|byte| *byte == b'-') {
            Some(dash) => port(&text[..dash]).zip(port(&text[dash + 1..])),
            None => port(text).zip(port(text)),
        };
        let (first, last) = range.filter(|(first, last)| first <= last).ok_or_else(error)?;
        Ok(PortRange { first, last })
    }

    fn holds(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl std::fmt::Display for PortRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PortRange { first, last } if first == last => write!(f, "{first}"),
            PortRange { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

impl Roots {
    fn is_empty(&self) -> bool {
        self.pids.is_empty() && self.names.is_empty()
    }

    /// Whether any ancestor is a root. Where the line breaks off, the rest is unknown.
    fn judge(&self, process: &ProcessSample, snapshot: &Snapshot) -> Verdict {
        let mut doubt = None;
        let mut child = process;
        for _ in 0..crate::snapshot::ANCESTORS_MAX {
            let forked_by = child.lineage.forked_by().map(|key| key.pid);
            let parent_pids = [Some(child.parent_pid), forked_by];
            if parent_pids.into_iter().flatten().any(|pid| self.pids.contains(&pid)) {
                return Verdict::Yes;
            }
            if child.parent_pid == 0 {
                break;
            }
            let Some(parent) = snapshot.parent_of(child) else {
                let is_there = snapshot.unreadable_pids.binary_search(&child.parent_pid).is_ok();
                let why = if is_there { Absence::Denied } else { Absence::Vanished };
                return Verdict::Unknown(doubt.unwrap_or(why));
            };
            match self.names.judge(&parent.identity) {
                Verdict::Yes => return Verdict::Yes,
                Verdict::Unknown(why) => doubt = doubt.or(Some(why)),
                Verdict::No => {}
            }
            child = parent;
        }
        doubt.map_or(Verdict::No, Verdict::Unknown)
    }
}

fn environment_key(key: &[u8], whole: &[u8]) -> Result<Box<[u8]>, SelectorError> {
    let is_key = !key.is_empty() && !key.starts_with(b"!") && !key.contains(&b'=');
    if !is_key || key.contains(&0) {
        let error = SelectorError::new("`KEY`, `KEY=VALUE` or `!KEY`", whole);
        return Err(match key.contains(&b'=') {
            true => error.with_hint("to leave a value out, exclude `env:KEY=VALUE`"),
            false => error,
        });
    }
    Ok(key.into())
}

fn parse_pid(text: &[u8]) -> Result<u32, SelectorError> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let digits = std::str::from_utf8(text).ok().filter(|_| is_number);
    digits
        .and_then(|digits| digits.parse().ok())
        .filter(|pid| (1..=PID_MAX).contains(pid))
        .ok_or_else(|| SelectorError::new(format!("a PID from 1 to {PID_MAX}"), text))
}

/// The kernel's `pid_t` is signed.
/// `PID_MAX_LIMIT` of `include/linux/threads.h`.
const PID_MAX: u32 = 1 << 22;

/// A command line as an expression sees it: one space between arguments, none at the end.
fn spaced(cmdline: &[u8]) -> Vec<u8> {
    let capped = &cmdline[..cmdline.len().min(CMDLINE_BYTES_MAX)];
    let end = capped.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    capped[..end].iter().map(|byte| if *byte == 0 { b' ' } else { *byte }).collect()
}

/// What systemd ends the names of units with that have processes.
const UNIT_SUFFIXES: [&[u8]; 6] =
    [b".service", b".scope", b".socket", b".mount", b".swap", b".slice"];

fn is_unit(component: &[u8]) -> bool {
    UNIT_SUFFIXES.iter().any(|suffix| component.len() > suffix.len() && component.ends_with(suffix))
}

fn is_slice(component: &[u8]) -> bool {
    component.ends_with(b".slice")
}

/// The components of a control group's path that are units, outermost first. systemd puts
/// `_` before a name that the kernel would mistake for one of its files.
fn units(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    let components = path.split(|byte| *byte == b'/');
    let names = components.map(|component| component.strip_prefix(b"_").unwrap_or(component));
    names.filter(|name| is_unit(name))
}

/// The systemd unit that a control group belongs to: the innermost that is not a slice,
/// else the innermost slice. `None` outside of any unit.
#[must_use]
pub fn unit_of(path: &[u8]) -> Option<&[u8]> {
    units(path).rfind(|unit| !is_slice(unit)).or_else(|| units(path).next_back())
}

/// Whether a control group belongs to a unit, or anywhere into a slice.
fn is_part_of(wanted: &Wanted, path: &[u8]) -> bool {
    let is_own = unit_of(path).is_some_and(|unit| wanted.is_met_by(unit));
    is_own
        || units(path)
            .any(|unit| is_slice(unit) && wanted.is_met_by(unit) && is_slice(wanted.text()))
}

/// A path as bytes, for the text form.
fn path_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// A path from bytes, of the text form.
fn path_of(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests;
