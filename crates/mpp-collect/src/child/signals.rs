//! Signals that reach us while a command of ours runs, signal(7).
//!
//! They are blocked and taken one by one, so no handler runs and a wait is woken by what ended
//! it. The traps: a blocked signal is queued even where it is ignored, so those that were ignored
//! before are left alone, or nohup(1) would mean nothing; and an ignored SIGCHLD has the kernel
//! reap our children, whose counters would then reach nobody, so it is not ignored while we wait.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::{Errno, Result};
use rustix::process::Pid;

use crate::sys;

/// What is taken, where it was not ignored or blocked before.
const TAKEN: [i32; 9] = [
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGCONT,
    libc::SIGWINCH,
    libc::SIGTSTP,
];

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Time is up.
    Elapsed,
    /// A child may have ended, stopped or gone on.
    Child,
    /// A signal for us, or for the command.
    Signal(ArrivedSignal),
}

/// A signal, and who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrivedSignal {
    /// Its number.
    pub number: i32,
    /// Who sent it.
    pub sender: Sender,
}

/// What a signal asks of a program that does not know it better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalMeaning {
    /// To stop for a while: SIGTSTP.
    Stop,
    /// To come to an end: SIGINT, SIGQUIT, SIGTERM, SIGHUP.
    End,
    /// Anything else.
    Other,
}

impl ArrivedSignal {
    /// What it asks for.
    #[must_use]
    pub fn meaning(self) -> SignalMeaning {
        match self.number {
            libc::SIGTSTP => SignalMeaning::Stop,
            libc::SIGINT | libc::SIGQUIT | libc::SIGTERM | libc::SIGHUP => SignalMeaning::End,
            _ => SignalMeaning::Other,
        }
    }
}

/// Who sent a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The kernel, for a terminal: to the whole process group, the command included.
    Terminal,
    /// A process, and to us alone as far as we know.
    Process,
}

/// Signals as they were before, and as they are while a command runs.
pub(crate) struct SignalGate {
    previous: libc::sigset_t,
    taken: libc::sigset_t,
    child_action: libc::sigaction,
}

impl std::fmt::Debug for SignalGate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignalGate").finish_non_exhaustive()
    }
}

impl SignalGate {
    /// Blocks what will be taken, until this is dropped.
    pub(crate) fn close() -> Result<Self> {
        let previous = change_mask(libc::SIG_BLOCK, &empty_set())?;
        let child_action = action_of(libc::SIGCHLD)?;
        let mut taken = empty_set();
        add(&mut taken, libc::SIGCHLD);
        for signal in TAKEN {
            if action_of(signal)?.sa_sigaction != libc::SIG_IGN && !contains(&previous, signal) {
                add(&mut taken, signal);
            }
        }
        change_mask(libc::SIG_BLOCK, &taken)?;
        let gate = SignalGate { previous, taken, child_action };
        if child_action.sa_sigaction != libc::SIG_DFL {
            set_default(libc::SIGCHLD)?;
        }
        Ok(gate)
    }

    /// Makes signals what they were before, in a child of ours that is about to execute a
    /// command. SIGPIPE is not ignored, unless [`pass_on_ignored_pipe`] says so.
    pub(crate) fn restore_in_child(&self) -> Result<()> {
        restore_action(libc::SIGCHLD, &self.child_action)?;
        let pipe_is_ignored =
            PASSES_ON_PIPE.load(Ordering::Relaxed) && PIPE_WAS_IGNORED.load(Ordering::Relaxed);
        if !pipe_is_ignored {
            set_default(libc::SIGPIPE)?;
        }
        change_mask(libc::SIG_SETMASK, &self.previous).map(drop)
    }

    /// Takes the next signal, waiting no longer than this.
    pub(crate) fn next(&self, wait: Duration) -> Result<Arrival> {
        let timeout = libc::timespec {
            tv_sec: wait.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        };
        let mut from = MaybeUninit::<libc::siginfo_t>::zeroed();
        let number = sys::call(|| {
            // SAFETY: the set and the time live through the call, and `from` is writable.
            let number = unsafe { libc::sigtimedwait(&self.taken, from.as_mut_ptr(), &timeout) };
            checked(number)
        });
        // SAFETY: all zero bytes are a valid siginfo_t, and the call wrote nothing else.
        let from = unsafe { from.assume_init() };
        match number {
            Ok(libc::SIGCHLD) => Ok(Arrival::Child),
            Ok(number) => {
                let sender = if from.si_code > 0 { Sender::Terminal } else { Sender::Process };
                Ok(Arrival::Signal(ArrivedSignal { number, sender }))
            }
            // Interrupted by a signal that is none of ours: whoever waits looks at the clock.
            Err(Errno::AGAIN | Errno::INTR) => Ok(Arrival::Elapsed),
            Err(errno) => Err(errno),
        }
    }

    /// Stops this process as SIGTSTP does, until somebody lets it go on.
    pub(crate) fn stop(&self) -> Result<()> {
        let mut stop = empty_set();
        add(&mut stop, libc::SIGTSTP);
        raise(libc::SIGTSTP)?;
        // It is pending, so that we stop within this call.
        change_mask(libc::SIG_UNBLOCK, &stop)?;
        change_mask(libc::SIG_BLOCK, &stop).map(drop)
    }
}

impl Drop for SignalGate {
    /// What arrived in the last moment was meant for the command, as all before it.
    fn drop(&mut self) {
        while matches!(self.next(Duration::ZERO), Ok(Arrival::Child | Arrival::Signal(_))) {}
        // Neither call can fail with what the kernel itself handed out.
        let _ = restore_action(libc::SIGCHLD, &self.child_action);
        let _ = change_mask(libc::SIG_SETMASK, &self.previous);
    }
}

/// Whether SIGPIPE was ignored when this program was loaded. Rust's runtime ignores it before
/// `main` begins, so nobody could tell later.
static PIPE_WAS_IGNORED: AtomicBool = AtomicBool::new(false);

/// Whether commands inherit that.
static PASSES_ON_PIPE: AtomicBool = AtomicBool::new(false);

/// Called by the loader, as it calls constructors of C++.
#[used]
// SAFETY: the section holds pointers to functions that take nothing they need, and this one may
// be called before `main`: it touches no more than an atomic and the kernel.
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = remember_pipe;

extern "C" fn remember_pipe() {
    let mut action = no_action();
    // SAFETY: nothing is set, and `action` is writable.
    let returned = unsafe { libc::sigaction(libc::SIGPIPE, ptr::null(), &raw mut action) };
    let is_ignored = returned == 0 && action.sa_sigaction == libc::SIG_IGN;
    PIPE_WAS_IGNORED.store(is_ignored, Ordering::Relaxed);
}

/// Has commands inherit an ignored SIGPIPE where this program inherited it, as under a service
/// manager. Only the program itself knows that it was loaded by execve(2): a library that
/// another language loads finds what that language made of the signal.
pub fn pass_on_ignored_pipe() {
    PASSES_ON_PIPE.store(true, Ordering::Relaxed);
}

/// Sends a signal to a process.
///
/// # Errors
/// What kill(2) says: it has ended, or it is somebody else's by now.
pub(crate) fn send(pid: Pid, signal: i32) -> Result<()> {
    // SAFETY: kill(2) takes no pointer.
    sys::call(|| checked(unsafe { libc::kill(pid.as_raw_nonzero().get(), signal) }).map(drop))
}

/// Ends this process as `signal` ends one that does not catch it, so that whoever waits for us
/// sees what we saw. No core file is written: it would be ours, not the command's.
///
/// Returns where that cannot be, as for the first process of a PID namespace.
pub fn end_by_signal(signal: i32) {
    let no_core = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    // Whatever cannot be done here, the caller exits with a number instead.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, no_core);
    let mut only = empty_set();
    add(&mut only, signal);
    // SIGKILL's action cannot be set and need not be.
    let _ = set_default(signal);
    let _ = raise(signal);
    let _ = change_mask(libc::SIG_UNBLOCK, &only);
}

fn raise(signal: i32) -> Result<()> {
    // SAFETY: raise(3) takes no pointer.
    sys::call(|| match unsafe { libc::raise(signal) } {
        0 => Ok(()),
        _ => Err(Errno::INVAL),
    })
}

fn empty_set() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: `set` is writable; the call fails for no set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: all zero bytes are a valid set, and the call wrote an empty one.
    unsafe { set.assume_init() }
}

fn add(set: &mut libc::sigset_t, signal: i32) {
    // SAFETY: `set` is a valid set; a number that is no signal changes nothing.
    unsafe { libc::sigaddset(set, signal) };
}

fn contains(set: &libc::sigset_t, signal: i32) -> bool {
    // SAFETY: `set` is a valid set.
    unsafe { libc::sigismember(set, signal) == 1 }
}

/// Changes this thread's mask; returns the one before.
fn change_mask(how: i32, set: &libc::sigset_t) -> Result<libc::sigset_t> {
    let mut previous = empty_set();
    sys::call(|| {
        // SAFETY: both sets live through the call.
        match unsafe { libc::pthread_sigmask(how, set, &raw mut previous) } {
            0 => Ok(previous),
            error => Err(Errno::from_raw_os_error(error)),
        }
    })
}

fn action_of(signal: i32) -> Result<libc::sigaction> {
    let mut action = no_action();
    sys::call(|| {
        // SAFETY: nothing is set, and `action` is writable.
        checked(unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) })
    })?;
    Ok(action)
}

fn restore_action(signal: i32, action: &libc::sigaction) -> Result<()> {
    sys::call(|| {
        // SAFETY: the action was this process's before, so what it names can be called.
        checked(unsafe { libc::sigaction(signal, action, ptr::null_mut()) }).map(drop)
    })
}

fn set_default(signal: i32) -> Result<()> {
    restore_action(signal, &no_action())
}

/// The default action, without flags.
fn no_action() -> libc::sigaction {
    // SAFETY: all zero bytes are a valid sigaction: SIG_DFL, an empty mask, no flags.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn checked(returned: i32) -> Result<i32> {
    if returned < 0 {
        let error = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::INVAL));
    }
    Ok(returned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fault::with_failure;

    /// What is blocked in this thread.
    fn blocked() -> Vec<i32> {
        let mask = change_mask(libc::SIG_BLOCK, &empty_set()).unwrap();
        (1..32).filter(|signal| contains(&mask, *signal)).collect()
    }

    #[test]
    fn a_signal_to_this_thread_is_taken_and_not_delivered() {
        let before = blocked();
        let gate = SignalGate::close().unwrap();
        raise(libc::SIGUSR1).unwrap();
        let arrived = ArrivedSignal { number: libc::SIGUSR1, sender: Sender::Process };
        assert_eq!(gate.next(Duration::from_secs(60)), Ok(Arrival::Signal(arrived)));
        assert_eq!(gate.next(Duration::ZERO), Ok(Arrival::Elapsed));
        // One that nobody took would end this test.
        raise(libc::SIGTERM).unwrap();
        drop(gate);
        assert_eq!(blocked(), before);
    }

    #[test]
    fn what_was_blocked_before_is_left_alone() {
        let mut set = empty_set();
        add(&mut set, libc::SIGUSR2);
        change_mask(libc::SIG_BLOCK, &set).unwrap();
        let gate = SignalGate::close().unwrap();
        raise(libc::SIGUSR2).unwrap();
        assert_eq!(gate.next(Duration::ZERO), Ok(Arrival::Elapsed));
        drop(gate);
        assert_eq!(blocked(), [libc::SIGUSR2]);
    }

    #[test]
    fn whichever_call_fails_the_mask_is_what_it_was() {
        let before = blocked();
        let (_, calls) = with_failure(u64::MAX, Errno::INVAL, || SignalGate::close().map(drop));
        assert!(calls > 10, "{calls}");
        for n in 0..calls {
            let (outcome, _) =
                with_failure(n, Errno::INVAL, || SignalGate::close().map(std::mem::forget));
            if outcome.is_err() {
                assert_eq!(blocked(), before, "call {n}");
            }
            change_mask(libc::SIG_SETMASK, &empty_set()).unwrap();
        }
    }

    #[test]
    fn signals_ask_to_stop_to_end_or_for_something_else() {
        let meaning = |number| ArrivedSignal { number, sender: Sender::Process }.meaning();
        assert_eq!(meaning(libc::SIGTSTP), SignalMeaning::Stop);
        for number in [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGHUP] {
            assert_eq!(meaning(number), SignalMeaning::End);
        }
        assert_eq!(meaning(libc::SIGUSR1), SignalMeaning::Other);
    }
}
