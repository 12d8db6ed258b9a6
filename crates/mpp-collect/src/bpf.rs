//! The kernel's own counters of every thread, living or ended, by BPF programs.
//!
//! An iterator tells of all that live, with what each thread itself did; hooks tell of all that
//! end, of each exec, and of who forked whom. Together they are exact: what a thread did is told
//! by the iterator until its exit record tells it for the last time. The programs are in `bpf/`,
//! compiled and committed; the records they write are read by
//! [`bpf_record`](mpp_parse::bpf_record).
//!
//! Nothing is pinned: programs and maps go with the descriptors, however this process ends. The
//! traps: the iterator sees the caller's PID namespace, so only in the initial one it sees
//! everybody; and records wait in rings of bounded size, so what finds no room there is added up
//! for each parent and counted.

mod compiled;
mod files;
mod hooks;
mod refusal;
mod ring;
mod skeleton;
mod survey;
mod syscall;
mod tasks;

#[cfg(test)]
mod live_delays;
#[cfg(test)]
mod live_privileges;
#[cfg(test)]
mod live_tasks;
#[cfg(test)]
mod tests;

#[cfg(test)]
use std::os::fd::BorrowedFd;
use std::time::Instant;

use mpp_parse::bpf_record::{ExecRecord, TaskRecord};
use mpp_parse::bpf_socket_record::SocketRecord;
use rustix::io::Errno;

use self::files::Files;
use self::hooks::Hooks;
use self::skeleton::Failure;
use self::tasks::Tasks;

pub(crate) use self::hooks::{Capture, ExitEvent, Hook, Lost, Spill};
pub use self::refusal::Refusal;
pub(crate) use self::tasks::{Former, Living};

/// Which programs are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Programs {
    /// The hooks, and the iterators that tell of all that live and of their sockets.
    #[default]
    All,
    /// The hooks alone, and of the descendants of this process, from their birth on, for whoever
    /// looks at the living himself: they take less than half the time to load.
    Descendants,
}

/// What is loaded, and how much room there is for what waits to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BpfOptions {
    pub(crate) programs: Programs,
    /// Bytes for exits, some 440 each; made a power of two. Kernel memory.
    pub(crate) exit_ring_bytes: u32,
    /// Bytes for execs, some 150 each and the texts that are captured; likewise.
    pub(crate) exec_ring_bytes: u32,
}

impl Default for BpfOptions {
    /// Room for some 37,000 exits.
    fn default() -> Self {
        BpfOptions { programs: Programs::All, exit_ring_bytes: 16 << 20, exec_ring_bytes: 8 << 20 }
    }
}

/// The programs, loaded and running for as long as this lives.
#[derive(Debug)]
pub(crate) struct Bpf {
    /// `None` where it was not asked for.
    tasks: Option<Tasks>,
    /// `None` where it was not asked for, or the kernel did not take it.
    files: Option<Files>,
    hooks: Hooks,
    programs: Programs,
}

impl Bpf {
    /// Loads the programs, lets them run, and looks whether the iterator finds this very process.
    ///
    /// Costs some 35 ms of CPU time, three quarters of them for checking the programs and finding
    /// the kernel's types by their names, a fifth for clearing the memory of the rings, with the
    /// default options; and 1.7 microseconds for each task that there is, since all are read once.
    /// Where it is the hooks alone, some 7 ms. Needs CAP_BPF and CAP_PERFMON, or root.
    ///
    /// # Errors
    /// Why they cannot be had here. Nothing is left behind then.
    pub(crate) fn open(options: &BpfOptions) -> Result<Self, Refusal> {
        if cfg!(target_endian = "big") {
            return Err(Refusal::BigEndian);
        }
        let is_initial = refusal::is_in_initial_pid_namespace().map_err(|errno| {
            Refusal::Failed { action: "look at the PID namespace", errno: errno.raw_os_error() }
        })?;
        if !is_initial {
            return Err(Refusal::PidNamespace);
        }
        let mut bpf = Bpf::load(options).map_err(Refusal::of)?;
        if bpf.tells_of_living() {
            bpf.find_itself()?;
        }
        Ok(bpf)
    }

    fn load(options: &BpfOptions) -> Result<Self, Failure> {
        let sizes = [
            ("exits", ring_bytes(options.exit_ring_bytes)),
            ("execs", ring_bytes(options.exec_ring_bytes)),
        ];
        let (mut loaded, mut missing) = hooks::load(options.programs, &sizes)?;
        let (tasks, files) = match options.programs {
            Programs::All => {
                let tasks = Tasks::attach(&mut loaded)?;
                (Some(tasks), Files::attach(&mut loaded, &mut missing)?)
            }
            Programs::Descendants => (None, None),
        };
        let hooks = Hooks::attach(loaded, missing, options.programs)?;
        Ok(Bpf { tasks, files, hooks, programs: options.programs })
    }

    /// Whether births are told, and of the descendants of this process alone anything.
    pub(crate) fn tells_of_births(&self) -> bool {
        let lacks_fork = self.missing_hooks().iter().any(|(hook, _)| *hook == Hook::Fork);
        self.programs == Programs::Descendants && !lacks_fork
    }

    /// Whether the iterators were loaded.
    pub(crate) fn tells_of_living(&self) -> bool {
        self.tasks.is_some()
    }

    fn find_itself(&mut self) -> Result<(), Refusal> {
        let own = std::process::id();
        let mut is_found = false;
        self.read_tasks(&mut |task| is_found |= task.process().is_some() && task.tgid() == own)
            .map_err(|errno| Refusal::Failed {
                action: "read the tasks",
                errno: errno.raw_os_error(),
            })?;
        if is_found { Ok(()) } else { Err(Refusal::NotSeen) }
    }

    /// From now on copies these texts at each exec, and no others. At first none.
    ///
    /// # Errors
    /// What bpf(2) says; what is copied stays as it was.
    pub(crate) fn capture(&mut self, what: Capture) -> Result<(), Errno> {
        self.hooks.capture(what)
    }

    /// From now on hands out with each thread for how long it has waited.
    ///
    /// # Errors
    /// What bpf(2) says; then nobody tells it.
    pub(crate) fn tell_delays(&mut self) -> Result<(), Errno> {
        self.hooks.tell_delays()
    }

    /// Hands out every thread of the machine, those of a process after their leader; zombies, the
    /// kernel's own and this one included.
    ///
    /// # Errors
    /// ENOMEM and the like; EBADMSG where a record is not what it should be. Threads that were
    /// handed out until then are right. ENOSYS where the hooks alone were loaded.
    pub(crate) fn read_tasks(
        &mut self,
        each: &mut dyn FnMut(&TaskRecord<'_>),
    ) -> Result<(), Errno> {
        self.tasks.as_mut().ok_or(Errno::NOSYS)?.read(each)
    }

    /// As [`Bpf::read_tasks`], but says of processes that stood still since the last call of this
    /// kind no more than that, where what was told then is remembered and that call succeeded.
    ///
    /// What anybody else changes of such a process is a change, too: another parent or control
    /// group at once, memory, descriptors and limits within sixteen calls. While waits are told,
    /// all is told of everybody.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn read_changes(
        &mut self,
        former: Former,
        each: &mut dyn FnMut(Living<'_>),
    ) -> Result<(), Errno> {
        self.tasks.as_mut().ok_or(Errno::NOSYS)?.read_changes(former, each)
    }

    /// Whoever stood still in the last reading of changes, ascending by PID; where it is not known
    /// before everything is told, nobody.
    pub(crate) fn still(&self) -> impl Iterator<Item = u32> {
        self.tasks.iter().flat_map(Tasks::still)
    }

    /// As [`Bpf::read_sockets`], of these processes alone, and for a fraction of what that takes.
    /// One that is handed out twice, the second time with another start, has ended half-way, and
    /// whoever has no descriptors, or not those of its main thread, is not handed out.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn read_sockets_of(
        &mut self,
        pids: &mut dyn Iterator<Item = u32>,
        until: Instant,
        each: &mut dyn FnMut(&SocketRecord),
    ) -> Result<bool, Errno> {
        match &mut self.tasks {
            Some(tasks) => tasks.read_sockets(pids, until, each),
            None => Ok(false),
        }
    }

    /// Hands out every process with descriptors, and behind it each of its sockets. Returns
    /// `false` where this kernel did not take the program.
    ///
    /// # Errors
    /// ETIMEDOUT where it is not done at `until`; ENOMEM and the like. What was handed out until
    /// then is right, but the last process's sockets may not be all.
    pub(crate) fn read_sockets(
        &mut self,
        until: Instant,
        each: &mut dyn FnMut(&SocketRecord),
    ) -> Result<bool, Errno> {
        match &mut self.files {
            Some(files) => files.read(until, each).map(|()| true),
            None => Ok(false),
        }
    }

    /// Hands out and forgets every end that is waiting, in the order in which they were written.
    ///
    /// # Errors
    /// Where the ring cannot be mapped: what was not handed out waits for the next call. EBADMSG
    /// where a record was not what it should be: that one is lost.
    pub(crate) fn drain_exits(&mut self, each: &mut dyn FnMut(ExitEvent<'_>)) -> Result<(), Errno> {
        self.hooks.drain_exits(each)
    }

    /// Hands out and forgets every exec that is waiting, in the order in which they were written.
    ///
    /// # Errors
    /// As [`Bpf::drain_exits`].
    pub(crate) fn drain_execs(
        &mut self,
        each: &mut dyn FnMut(&ExecRecord<'_>),
    ) -> Result<(), Errno> {
        self.hooks.drain_execs(each)
    }

    /// Hands out and forgets what was added up, parent by parent, where exit records found no
    /// room; each thread is in one spill only. Costs nothing while there are none, else the time
    /// until every CPU has done something else, some milliseconds.
    ///
    /// Where the kernel cannot say when that is (`nohz_full`), spills come a call later.
    ///
    /// # Errors
    /// What bpf(2) says; what was not handed out waits for the next call.
    pub(crate) fn take_spilled(&mut self, each: &mut dyn FnMut(Spill)) -> Result<(), Errno> {
        self.hooks.take_spills(each)
    }

    /// What was not told one by one, in total since the programs were loaded.
    ///
    /// # Errors
    /// What bpf(2) says.
    pub(crate) fn lost(&self) -> Result<Lost, Errno> {
        self.hooks.lost()
    }

    /// Whether the hooks still run, as far as descriptors tell: they do for as long as nobody
    /// closes those behind our back.
    ///
    /// # Errors
    /// What bpf(2) says of the first that does not.
    pub(crate) fn are_hooks_attached(&self) -> Result<(), Errno> {
        self.hooks.are_attached()
    }

    /// Hooks that this kernel did not take, and why.
    pub(crate) fn missing_hooks(&self) -> &[(Hook, Errno)] {
        self.hooks.missing()
    }

    /// Whether the ring of exits should be drained before its time. Costs no system call.
    #[cfg(test)]
    pub(crate) fn is_exit_ring_half_full(&self) -> bool {
        self.hooks.is_exit_ring_half_full()
    }

    /// A descriptor that becomes readable when the ring of exits becomes half full, for epoll(7)
    /// with `EPOLLET`. To anybody else it is readable as soon as there is one record.
    #[cfg(test)]
    pub(crate) fn exit_ring(&self) -> BorrowedFd<'_> {
        self.hooks.exit_ring()
    }

    /// What keeps the hook at exits running, for tests that close it.
    #[cfg(test)]
    pub(crate) fn exit_link(&self) -> BorrowedFd<'_> {
        self.hooks.exit_link()
    }

    /// From now on changes are told as where the kernel takes no survey.
    #[cfg(test)]
    pub(crate) fn forgo_survey(&mut self) {
        if let Some(tasks) = &mut self.tasks {
            tasks.forgo_survey();
        }
    }

    /// What goes along all processes, for tests that close it; `None` where nothing does.
    #[cfg(test)]
    pub(crate) fn surveyor(&self) -> Option<BorrowedFd<'_>> {
        self.tasks.as_ref().and_then(Tasks::surveyor)
    }

    /// What tells of the living, for tests that close it.
    #[cfg(test)]
    pub(crate) fn iterator(&self) -> Option<BorrowedFd<'_>> {
        self.tasks.as_ref().map(Tasks::link)
    }
}

/// The size of a ring must be a power of two, and whole pages.
fn ring_bytes(wanted: u32) -> u32 {
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(u32::MAX);
    wanted.max(page).checked_next_power_of_two().unwrap_or(1 << 31)
}
