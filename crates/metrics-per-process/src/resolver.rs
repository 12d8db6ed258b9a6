//! Looks up what selectors only name: users and PID files.

use std::collections::{BTreeSet, HashMap};

use mpp_accounting::ended::EndedReport;
use mpp_accounting::selector::{References, Resolution};
use mpp_accounting::snapshot::Snapshot;
use mpp_collect::ProcfsKind;
use mpp_collect::pid_file::read_pid_file;
use mpp_collect::users::{Lookup, UserNames};

use crate::error::Error;

/// Looks up, at each sample anew, what selectors only name.
#[derive(Debug)]
pub(crate) struct Resolver {
    /// `None` for a procfs that is not ours: there users are numbers.
    users: Option<UserNames>,
    pub(crate) resolution: Resolution,
}

impl Resolver {
    /// For the processes of this kind of procfs.
    pub(crate) fn new(procfs: ProcfsKind) -> Self {
        let is_ours = procfs == ProcfsKind::OwnNamespace;
        Resolver { users: is_ours.then(UserNames::default), resolution: Resolution::default() }
    }

    fn uid_of(&mut self, name: &[u8]) -> Lookup<u32> {
        self.users.as_mut().map_or(Lookup::NoSuchUser, |users| users.uid_of(name))
    }

    /// Looks up all that `references` name, once, and refuses what does not exist.
    pub(crate) fn check(&mut self, references: &References) -> Result<(), Error> {
        for name in &references.user_names {
            if self.uid_of(name) == Lookup::NoSuchUser {
                let name = name.clone();
                return Err(match self.users {
                    Some(_) => Error::UnknownUser { name },
                    None => Error::ForeignUser { name },
                });
            }
        }
        for path in &references.pid_files {
            read_pid_file(path)?;
        }
        Ok(())
    }

    /// Looks everything up anew. What has gone since is nobody's.
    pub(crate) fn refresh(&mut self, references: &References, own_pids: Vec<u32>) {
        for name in &references.user_names {
            let uid = match self.uid_of(name) {
                Lookup::Found(uid) => Some(uid),
                Lookup::NoSuchUser | Lookup::Unanswered => None,
            };
            self.resolution.users.insert(name.clone(), uid);
        }
        for path in &references.pid_files {
            self.resolution.pid_files.insert(path.clone(), read_pid_file(path).ok());
        }
        self.resolution.own_pids = own_pids;
    }

    /// Looks up the names of the users of ended processes, each once.
    pub(crate) fn name_users_of(&mut self, ended: &mut EndedReport) {
        let Some(users) = &mut self.users else { return };
        let mut names: HashMap<u32, Option<Box<[u8]>>> = HashMap::new();
        for ended in &mut ended.processes {
            let uid = ended.identity.uid;
            let name = names.entry(uid).or_insert_with(|| match users.name_of(uid) {
                Lookup::Found(name) => Some(name.as_ref().into()),
                Lookup::NoSuchUser | Lookup::Unanswered => None,
            });
            ended.user.clone_from(name);
        }
    }

    /// Looks up the names of all users of a snapshot; one without a name goes by number.
    pub(crate) fn name_users(&mut self, snapshot: &Snapshot) {
        let Some(users) = &mut self.users else { return };
        let uids: BTreeSet<u32> = snapshot.processes.iter().map(|p| p.identity.uid).collect();
        self.resolution.user_names.retain(|uid, _| uids.contains(uid));
        for uid in uids {
            if let Lookup::Found(name) = users.name_of(uid) {
                self.resolution.user_names.insert(uid, name.as_ref().into());
            }
        }
    }
}
