//! A process that opens and closes sockets as it is told, so that tests know what it holds.
//!
//! Reads one command a line from stdin, does it, and answers a line: a PID, of somebody new or else
//! its own. Ends at the end of its input.
//!
//! - `listen`: opens a listening TCP socket
//! - `close`: closes what was opened last
//! - `swap`: closes what was opened last and opens a bound UDP socket, by the same number
//! - `dup`: duplicates what was opened last; the duplicate outlives an exec, nothing else does
//! - `receive`: takes a descriptor that comes with the next byte of its input, a unix stream socket
//! - `many`: opens five thousand descriptors that are no sockets
//! - `fork`: forks a child that stays until this one ends
//! - `share`: starts a process that shares the descriptors and obeys from then on; this one sleeps
//! - `thread`: starts a thread that sleeps
//! - `leave`: starts a thread that obeys from then on; the main one exits
//! - `exec`: executes itself anew

use std::fs::File;
use std::io::{Error, IoSliceMut, Result, Write, stdin, stdout};
use std::mem::MaybeUninit;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit,
};

/// What `many` opens.
const MANY: usize = 5000;

fn main() -> Result<()> {
    serve(Vec::new())
}

fn serve(mut held: Vec<OwnedFd>) -> Result<()> {
    while let Some(command) = line()? {
        if command == "leave" {
            leave(held);
        }
        let pid = obey(&command, &mut held)?;
        // One call, so that nobody runs any more once it has been read.
        stdout().write_all(format!("{pid}\n").as_bytes())?;
        stdout().flush()?;
    }
    Ok(())
}

/// Byte by byte: what follows may come with a descriptor.
fn line() -> Result<Option<String>> {
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        match rustix::io::read(stdin().as_fd(), &mut byte)? {
            0 => return Ok(None),
            _ if byte == *b"\n" => return String::from_utf8(line).map(Some).map_err(Error::other),
            _ => line.push(byte[0]),
        }
    }
}

fn obey(command: &str, held: &mut Vec<OwnedFd>) -> Result<u32> {
    match command {
        "listen" => held.push(TcpListener::bind("127.0.0.1:0")?.into()),
        "close" => drop(held.pop()),
        "swap" => {
            drop(held.pop());
            held.push(UdpSocket::bind("127.0.0.1:0")?.into());
        }
        "dup" => held.push(rustix::io::dup(held.last().ok_or(Error::other("nothing is open"))?)?),
        "receive" => held.push(received()?),
        "many" => open_many(held)?,
        "fork" => return forked(libc::SIGCHLD),
        "share" => return forked(libc::SIGCHLD | libc::CLONE_FILES),
        "thread" => drop(std::thread::spawn(|| sleep())),
        "exec" => return Err(Command::new(std::env::current_exe()?).arg("anew").exec()),
        other => return Err(Error::other(format!("unknown command `{other}`"))),
    }
    Ok(std::process::id())
}

fn received() -> Result<OwnedFd> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut room = [IoSliceMut::new(&mut byte)];
    recvmsg(stdin().as_fd(), &mut room, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let rights = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
        _ => None,
    });
    rights.ok_or(Error::other("no descriptor came along"))
}

fn open_many(held: &mut Vec<OwnedFd>) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    let null = OwnedFd::from(File::open("/dev/null")?);
    for _ in 0..MANY {
        held.push(null.try_clone()?);
    }
    Ok(())
}

/// Answers once the main thread is gone.
fn leave(held: Vec<OwnedFd>) -> ! {
    std::thread::spawn(|| -> Result<()> {
        while !std::fs::read_to_string("/proc/self/stat")?.contains(") Z ") {
            std::thread::yield_now();
        }
        stdout().write_all(format!("{}\n", std::process::id()).as_bytes())?;
        serve(held)?;
        std::process::exit(0)
    });
    // SAFETY: the thread ends here and owns nothing that others wait for.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    sleep()
}

/// With shared descriptors the child goes on, and this process sleeps; else the other way round.
fn forked(flags: i32) -> Result<u32> {
    // SAFETY: the child goes on with a copy of this stack, as after fork(2); there is no other
    // thread whose locks it might wait for.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    let is_child = pid == 0;
    if is_child {
        set_parent_process_death_signal(Some(Signal::KILL))?;
    }
    match (flags & libc::CLONE_FILES != 0, is_child) {
        _ if pid < 0 => Err(Error::last_os_error()),
        (true, true) => Ok(std::process::id()),
        (true, false) | (false, true) => sleep(),
        (false, false) => u32::try_from(pid).map_err(Error::other),
    }
}

fn sleep() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1000));
    }
}
