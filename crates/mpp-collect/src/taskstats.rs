//! Records of threads that have ended, and accounts of living processes: taskstats, generic
//! netlink's family `TASKSTATS`, `kernel/taskstats.c`.
//!
//! When a thread ends, before it can be waited for, the kernel sends what it did to whoever has
//! registered for the CPU it ends on. There is one socket for each CPU that the machine may ever
//! have, also for those that come online later, because the kernel numbers its records by CPU: a
//! missing number is a lost record. Nothing wakes us; the records wait in the sockets' buffers,
//! which cost the kernel memory only while they are full, until the next drain.
//!
//! The traps. In another network namespace than the host's everything succeeds and nothing ever
//! arrives, so that opening includes a test. Anybody with `CAP_NET_ADMIN` may send to our
//! sockets, so that only what comes from the kernel's own address is believed. A record's I/O is
//! rounded down to KiB, and its CPU time wrong for short lives. The live tests are in
//! `taskstats/live.rs`.

mod channel;
mod cpus;
mod delays;
mod record;
mod refusal;
mod sequences;

#[cfg(test)]
mod live;

#[cfg(test)]
use std::os::fd::{AsFd, BorrowedFd};

use mpp_accounting::process::Absence;
use mpp_parse::genetlink::{CONTROL_FAMILY, family_request, parse_family};
use mpp_parse::netlink::{Body, Message, messages};
use mpp_parse::taskstats::{
    FAMILY_NAME, REQUEST_LENGTH, Taskstats as Answer, deregister_request, of_process_request,
    of_thread_request, parse, register_request,
};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use rustix::process::{Pid, getpid};

use self::channel::{Channel, Inbox, errno_of};
use self::sequences::Sequences;
use crate::child::end_at_once;
use crate::error::absence_of;
use crate::proc_fs::Room;
use crate::sys;

pub(crate) use self::delays::DelayAccounting;
#[cfg(test)]
pub(crate) use self::record::ThreadIo;
pub(crate) use self::record::{Delays, ProcessAccount, ThreadAccount, ThreadExitRecord};
pub(crate) use self::refusal::Refusal;

/// Processes or threads asked for with one system call.
const REQUESTS_PER_DATAGRAM: usize = 16;
/// Bytes that a request for one CPU takes at most.
const REGISTRATION_BYTES: usize = 64;
/// How often a record of our own making is awaited: on a machine where thousands of threads end
/// meanwhile it may be among those that are lost.
const PROOFS_MAX: u32 = 3;
/// Batches taken from one socket in one drain at most, more than its buffer holds: where threads
/// end faster than we read, the rest waits for the next drain.
const BATCHES_MAX: usize = 4096;

/// How records are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskstatsOptions {
    /// Bytes that may wait in each CPU's socket; a record takes about 1.3 KiB of them. The
    /// kernel doubles the number, and without `CAP_NET_ADMIN` in its own user namespace holds it
    /// below `net.core.rmem_max`.
    pub(crate) receive_buffer_bytes: usize,
}

/// Hears of every thread that ends on this machine, until it is dropped.
#[derive(Debug)]
pub(crate) struct Taskstats {
    family: u16,
    listeners: Vec<Listener>,
    sequences: Sequences,
    inbox: Inbox,
    /// Apart from the listeners, so that an answer does not stand in line behind records.
    asking: Channel,
    sequence: u32,
    room: Room,
    delays: DelayAccounting,
}

/// What a drain has brought, besides the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drained {
    /// Records handed out.
    pub(crate) received: u64,
    /// Records that are lost, and were not known to be lost before. One that is missing since
    /// this drain is called lost after the next.
    pub(crate) lost: u64,
    /// Records that are missing, and may still come late.
    pub(crate) missing: u64,
    /// Sockets whose buffer has overflowed; each has lost at least one record, which shows as
    /// missing only when the next one comes.
    pub(crate) overflows: u64,
    /// Messages of the kernel that could not be read.
    pub(crate) malformed: u64,
    /// Sockets that could not be read, or not to their end.
    pub(crate) unfinished: u64,
    /// Why the first of them could not be read, where there was anything to hinder it.
    pub(crate) failure: Option<Errno>,
}

/// A socket to which records of one CPU come.
#[derive(Debug)]
struct Listener {
    channel: Channel,
    cpu: u32,
    family: u16,
    /// Who has registered it: a copy in a forked process must not take that back.
    owner: Pid,
}

impl Default for TaskstatsOptions {
    /// 32 MiB, enough for 12,000 ends a second on one CPU with a drain each second.
    fn default() -> Self {
        TaskstatsOptions { receive_buffer_bytes: 32 << 20 }
    }
}

impl Taskstats {
    /// Registers for all CPUs, and starts a process that ends at once, whose record must come.
    ///
    /// Needs `CAP_NET_ADMIN`, in the initial user, PID and network namespaces.
    ///
    /// # Errors
    /// Where no records can be had, why.
    pub(crate) fn open(options: &TaskstatsOptions) -> Result<Taskstats, Refusal> {
        let mut inbox = Inbox::new();
        let asking = Channel::open().map_err(|errno| Refusal::of("open a socket", errno))?;
        let family = family(&asking, &mut inbox)?;
        let cpus =
            cpus::possible().map_err(|errno| Refusal::System { action: "list the CPUs", errno })?;
        let mut listeners = Vec::with_capacity(cpus.len());
        for cpu in cpus {
            listeners.push(Listener::register(cpu, family, options, &mut inbox)?);
        }
        let mut taskstats = Taskstats {
            family,
            sequences: Sequences::of_cpus(listeners.len()),
            listeners,
            inbox,
            asking,
            sequence: 0,
            room: Room::default(),
            delays: DelayAccounting::Unsupported,
        };
        taskstats.prove()?;
        taskstats.learn_delays();
        Ok(taskstats)
    }

    /// Hands out all records that have come since the last drain, without waiting. The order is
    /// that of ends on each CPU, one CPU after the other.
    pub(crate) fn drain(&mut self, each: &mut dyn FnMut(&ThreadExitRecord)) -> Drained {
        if self.delays != DelayAccounting::Unsupported {
            self.delays = DelayAccounting::read(&mut self.room);
        }
        let mut drained = self.drain_again(each);
        drained.lost = self.sequences.settle();
        drained.missing = self.sequences.missing();
        drained
    }

    /// The same right after a drain, of what has come since. It calls nothing lost: so soon a
    /// missing record may still be on its way.
    pub(crate) fn drain_again(&mut self, each: &mut dyn FnMut(&ThreadExitRecord)) -> Drained {
        let mut drained = Drained::default();
        for position in 0..self.listeners.len() {
            self.drain_one(position, each, &mut drained);
        }
        drained
    }

    /// How many records have been lost since this was opened; only grows.
    #[cfg(test)]
    pub(crate) fn lost_total(&self) -> u64 {
        self.sequences.lost()
    }

    /// Messages so far that somebody else than the kernel has sent. They are not believed. Only
    /// grows.
    pub(crate) fn forged_total(&self) -> u64 {
        self.inbox.forged_total()
    }

    /// Where records come in, for tests that close it.
    #[cfg(test)]
    pub(crate) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.listeners.iter().map(|listener| listener.channel.as_fd())
    }

    /// Whether the kernel accounted delays at the last drain.
    pub(crate) fn delay_accounting(&self) -> DelayAccounting {
        self.delays
    }

    /// Hands out what all threads of each process have done, ended ones included, in the order of
    /// `tgids`; all are read at nearly one moment. A process that has ended and is not waited for
    /// is [`Absence::Vanished`] unless it had several threads.
    ///
    /// It costs about 3 microseconds a process, and needs no access to its `/proc` directory.
    pub(crate) fn of_process(
        &mut self,
        tgids: &[u32],
        each: &mut dyn FnMut(u32, Result<&ProcessAccount, Absence>),
    ) {
        self.of_each(&PROCESS, tgids, each);
    }

    /// Hands out what each thread has done itself, in the order of `tids`. A main thread that has
    /// ended is told as long as its process is there, any other one is [`Absence::Vanished`].
    ///
    /// It costs about 3 microseconds a thread, and needs no access to its `/proc` directory. The
    /// bytes are rounded as those of a record.
    pub(crate) fn of_threads(
        &mut self,
        tids: &[u32],
        each: &mut dyn FnMut(u32, Result<&ThreadAccount, Absence>),
    ) {
        self.of_each(&THREAD, tids, each);
    }

    fn of_each<T: Copy>(
        &mut self,
        question: &Question<T>,
        ids: &[u32],
        each: &mut dyn FnMut(u32, Result<&T, Absence>),
    ) {
        for ids in ids.chunks(REQUESTS_PER_DATAGRAM) {
            let mut answers = [Err(Absence::Unstable); REQUESTS_PER_DATAGRAM];
            if let Err(why) = self.ask(question, ids, &mut answers) {
                answers.fill(Err(why));
            }
            for (id, answer) in ids.iter().zip(&answers) {
                each(*id, answer.as_ref().map_err(|why| *why));
            }
        }
    }

    /// Asks for at most [`REQUESTS_PER_DATAGRAM`] of them with one system call, and takes the
    /// answers with another. What is not answered keeps what it is.
    fn ask<T>(
        &mut self,
        question: &Question<T>,
        ids: &[u32],
        answers: &mut [Result<T, Absence>],
    ) -> Result<(), Absence> {
        let first = self.sequence.wrapping_add(1);
        let mut datagram = [0; REQUESTS_PER_DATAGRAM * REQUEST_LENGTH];
        let mut length = 0;
        for id in ids {
            self.sequence = self.sequence.wrapping_add(1);
            let rest = datagram.get_mut(length..).unwrap_or_default();
            let request = (question.request)(rest, self.family, *id, self.sequence);
            length += request.ok_or(Absence::TooLarge)?.len();
        }
        self.asking.send(datagram.get(..length).unwrap_or_default()).map_err(absence_of)?;
        let mut pending = ids.len();
        while pending > 0 && self.inbox.fill(&self.asking).map_err(absence_of)? > 0 {
            for message in self.inbox.datagrams().flat_map(messages).flatten() {
                let position = message.header.sequence.wrapping_sub(first);
                let Ok(position) = usize::try_from(position) else { continue };
                // What is neither is left of an earlier question.
                if let (Some(id), Some(answer)) = (ids.get(position), answers.get_mut(position)) {
                    *answer = answer_of(message, self.family)
                        .and_then(|told| (question.read)(&told, *id, self.delays));
                    pending = pending.saturating_sub(1);
                }
            }
        }
        Ok(())
    }

    fn drain_one(
        &mut self,
        position: usize,
        each: &mut dyn FnMut(&ThreadExitRecord),
        drained: &mut Drained,
    ) {
        let Taskstats { inbox, listeners, sequences, family, delays, .. } = self;
        let Some(listener) = listeners.get(position) else { return };
        for _ in 0..BATCHES_MAX {
            match inbox.fill(&listener.channel) {
                Ok(0) => return,
                Ok(_) => {}
                Err(Errno::NOBUFS) => {
                    drained.overflows += 1;
                    continue;
                }
                Err(errno) => {
                    drained.failure.get_or_insert(errno);
                    break;
                }
            }
            for datagram in inbox.datagrams() {
                let mut take = |message: Message<'_>, record: Option<ThreadExitRecord>| {
                    sequences.take(position, message.header.sequence);
                    match record {
                        Some(record) => {
                            drained.received += 1;
                            each(&record);
                        }
                        None => drained.malformed += 1,
                    }
                };
                let read = records(datagram, *family, *delays, &mut take);
                drained.malformed += u64::from(read.is_err());
            }
        }
        drained.unfinished += 1;
    }

    /// Makes a process end, and sees whether its record comes.
    fn prove(&mut self) -> Result<(), Refusal> {
        let mut malformed = 0;
        for _ in 0..PROOFS_MAX {
            let pid = end_at_once()
                .map_err(|errno| Refusal::System { action: "start a process", errno })?;
            let pid = pid.as_raw_nonzero().get().unsigned_abs();
            let mut proof = None;
            let mut take = |record: &ThreadExitRecord| {
                if record.tid == pid {
                    proof = Some(record.tgid);
                }
            };
            malformed += self.drain(&mut take).malformed;
            match proof {
                Some(Some(_)) => return Ok(()),
                Some(None) => return Err(Refusal::NoThreadGroup),
                None => {}
            }
        }
        Err(if malformed > 0 { Refusal::UnknownForm } else { Refusal::OtherNetworkNamespace })
    }

    /// Finds out whether delays are accounted, by ourselves: we have run, so that a kernel that
    /// accounts knows for how long.
    fn learn_delays(&mut self) {
        let own = getpid().as_raw_nonzero().get().unsigned_abs();
        let mut has_times = false;
        self.of_process(&[own], &mut |_, account| {
            has_times = account.is_ok_and(|account| account.cpu_run_ns > 0);
        });
        if has_times {
            self.delays = DelayAccounting::read(&mut self.room);
        }
    }
}

impl Listener {
    fn register(
        cpu: u32,
        family: u16,
        options: &TaskstatsOptions,
        inbox: &mut Inbox,
    ) -> Result<Self, Refusal> {
        let channel = Channel::open().map_err(|errno| Refusal::of("open a socket", errno))?;
        let listener = Listener { channel, cpu, family, owner: getpid() };
        let mut buffer = [0; REGISTRATION_BYTES];
        let cpus = format!("{cpu}\0");
        let failed = |errno| Refusal::of("register for records of ended threads", errno);
        let request = register_request(&mut buffer, family, cpus.as_bytes(), 1);
        listener.channel.send(request.ok_or(failed(Errno::MSGSIZE))?).map_err(failed)?;
        listener.channel.answer(inbox, None, 1).map_err(failed)?;
        let bytes = options.receive_buffer_bytes;
        let socket = &listener.channel;
        sys::retrying(|| set_socket_recv_buffer_size_force(socket, bytes))
            .or_else(|_| sys::retrying(|| set_socket_recv_buffer_size(socket, bytes)))
            .map_err(|errno| Refusal::System { action: "enlarge a socket's buffer", errno })?;
        Ok(listener)
    }
}

impl Drop for Listener {
    /// Takes the registration back: until the next thread ends, the kernel would send records to
    /// whoever has our port then.
    fn drop(&mut self) {
        if getpid() != self.owner {
            return;
        }
        let mut buffer = [0; REGISTRATION_BYTES];
        let cpus = format!("{}\0", self.cpu);
        if let Some(request) = deregister_request(&mut buffer, self.family, cpus.as_bytes(), 2) {
            // The kernel finds out by itself when the next record cannot be delivered.
            let _ = self.channel.send(request);
        }
    }
}

/// In the middle of a message a datagram is no message any more.
struct Malformed;

/// Takes the messages of a datagram apart; `None` for one that is no record of a thread.
fn records(
    datagram: &[u8],
    family: u16,
    delays: DelayAccounting,
    take: &mut dyn FnMut(Message<'_>, Option<ThreadExitRecord>),
) -> Result<(), Malformed> {
    for message in messages(datagram) {
        let message = message.map_err(|_| Malformed)?;
        if message.header.kind != family {
            return Err(Malformed);
        }
        let record = parse(message.payload).ok();
        take(message, record.and_then(|record| ThreadExitRecord::of(&record, delays)));
    }
    Ok(())
}

/// Writes a question of this family about somebody, with this number, into a buffer.
type Ask = fn(&mut [u8], u16, u32, u32) -> Option<&[u8]>;

/// What is asked of the kernel, and how its answer is read.
struct Question<T> {
    request: Ask,
    read: fn(&Answer<'_>, u32, DelayAccounting) -> Result<T, Absence>,
}

/// What has a process done, ended threads included?
const PROCESS: Question<ProcessAccount> = Question {
    request: of_process_request,
    read: |answer, tgid, delays| {
        let account = answer.process.filter(|account| account.id == tgid);
        let account = ProcessAccount::of(&account.ok_or(Absence::Malformed)?, delays);
        if account.is_empty() { Err(Absence::Vanished) } else { Ok(account) }
    },
};

/// What has a thread done?
const THREAD: Question<ThreadAccount> = Question {
    request: of_thread_request,
    read: |answer, tid, _| {
        let account = answer.thread.filter(|account| account.id == tid);
        account.map(|account| ThreadAccount::of(&account)).ok_or(Absence::Malformed)
    },
};

/// What the answer to a question says.
fn answer_of(message: Message<'_>, family: u16) -> Result<Answer<'_>, Absence> {
    let payload = match message.body() {
        Ok(Body::Payload(payload)) if message.header.kind == family => payload,
        Ok(Body::Error { errno }) => return Err(absence_of(errno_of(errno))),
        _ => return Err(Absence::Malformed),
    };
    parse(payload).map_err(|_| Absence::Malformed)
}

/// Asks for the family's number.
fn family(asking: &Channel, inbox: &mut Inbox) -> Result<u16, Refusal> {
    let failed = |errno| Refusal::of("ask for the family TASKSTATS", errno);
    let mut buffer = [0; REGISTRATION_BYTES];
    let request = family_request(&mut buffer, FAMILY_NAME, 1).ok_or(failed(Errno::MSGSIZE))?;
    asking.send(request).map_err(failed)?;
    let answer = asking.answer(inbox, Some(CONTROL_FAMILY), 1).map_err(failed)?;
    parse_family(answer).map_err(|_| Refusal::UnknownForm)
}
