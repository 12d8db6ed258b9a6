//! One process as far as it must be looked at to find it by name and user.
//!
//! The name alone is in `comm`, which costs two thirds of `stat`; a frozen tree may lack it, and
//! the owner of its files is whoever unpacked them.

use mpp_accounting::process::Absence;
use mpp_parse::{proc_pid_stat, proc_pid_status};

use crate::error::absence_of;
use crate::measure::is_ending;
use crate::origin::Origin;
use crate::proc_fs::{FileError, Name, Room, status_at};

/// A process that may be wanted. What is not asked for is not read.
#[derive(Debug)]
pub struct Candidate<'a> {
    pid: u32,
    origin: &'a Origin,
    room: &'a mut Room,
    trouble: Option<Absence>,
}

impl<'a> Candidate<'a> {
    pub(super) fn new(pid: u32, origin: &'a Origin, room: &'a mut Room) -> Self {
        Candidate { pid, origin, room, trouble: None }
    }

    /// Whether its command name is as asked for; no where that cannot be read.
    pub fn has_name(&mut self, is_wanted: impl FnOnce(&[u8]) -> bool) -> bool {
        match self.comm() {
            Ok(comm) => is_wanted(comm),
            Err(why) => {
                self.trouble = Some(why);
                false
            }
        }
    }

    /// Its effective user; `None` where that cannot be told.
    pub fn uid(&mut self) -> Option<u32> {
        let owner = if self.origin.is_frozen() { self.owner_by_status() } else { self.owner() };
        self.trouble = self.trouble.or(owner.err());
        owner.ok()
    }

    /// Why something that was asked for could not be read.
    pub(super) fn trouble(&self) -> Option<Absence> {
        self.trouble
    }

    fn comm(&mut self) -> Result<&[u8], Absence> {
        if self.origin.is_frozen() {
            return self.comm_by_stat();
        }
        let name = Name::in_process(self.pid, "comm");
        let text = self.room.read_lines(&self.origin.root, name.as_c_str(), 1);
        let text = text.map_err(FileError::absence)?;
        Ok(text.strip_suffix(b"\n").unwrap_or(text))
    }

    fn owner(&self) -> Result<u32, Absence> {
        let status = status_at(&self.origin.root, Name::of(self.pid).as_c_str());
        status.map(|status| status.st_uid).map_err(absence_of)
    }

    fn owner_by_status(&mut self) -> Result<u32, Absence> {
        let name = Name::in_process(self.pid, "status");
        let text = self.room.read(&self.origin.root, name.as_c_str());
        let text = text.map_err(FileError::absence)?;
        let status = proc_pid_status::parse(text).map_err(|_| Absence::Malformed)?;
        Ok(status.uid.effective)
    }

    fn comm_by_stat(&mut self) -> Result<&[u8], Absence> {
        let name = Name::in_process(self.pid, "stat");
        let text = self.room.read_lines(&self.origin.root, name.as_c_str(), 1);
        let text = text.map_err(FileError::absence)?;
        match proc_pid_stat::parse(text) {
            Ok(stat) if is_ending(&stat) => Err(Absence::Vanished),
            Ok(stat) => Ok(stat.comm),
            Err(_) => Err(Absence::Malformed),
        }
    }
}
