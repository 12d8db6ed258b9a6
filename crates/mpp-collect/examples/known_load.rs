//! A process that does what it is told and nothing else, so that tests know the truth.
//!
//! Reads one command a line from stdin, does it, and answers `ok`, three bytes that count as
//! written. Ends at the end of its input.
//!
//! - `memory BYTES`: holds that much more, every page touched
//! - `map PATH`: maps a file, every page touched
//! - `fds COUNT`: opens that many more descriptors
//! - `threads COUNT`: starts that many more, which sleep
//! - `write BYTES PATH`: writes that much to a file, in one call
//! - `write-in-thread BYTES PATH`: the same, from a thread that ends before the answer
//! - `echo-in-thread PATH`: writes every byte that comes out of a named pipe to /dev/null, from a
//!   thread of its own
//! - `user UID`: is that user from now on, in the whole process
//! - `reap BYTES PATH`: has a child write that much, and waits for it
//! - `leave-zombie BYTES PATH`: the same, without waiting for it
//! - `name HEX`: takes a name, any bytes
//! - `title`: writes over its arguments and environment
//! - `worker`: forks a child that executes nothing and stays as long as it does
//! - `exec-from-thread PROGRAM`: executes a program without arguments, from another thread
//! - `exit-leader`: ends its main thread; another one goes on
//! - `storm COUNT`: has that many children, one after the other, that do nothing

use std::ffi::CString;
use std::fs::File;
use std::io::{BufRead, Error, Read, Result, Write, stdin, stdout};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

fn main() -> Result<()> {
    match std::env::args().nth(1) {
        // A child of ours: does one thing and ends.
        Some(command) => obey(&command, &mut Held::default()).map(|_| ()),
        None => obey_all(Held::default()),
    }
}

/// What is kept until the end.
#[derive(Default)]
struct Held {
    memory: Vec<Vec<u8>>,
    files: Vec<File>,
    zombies: Vec<Child>,
}

/// What to do after a command.
enum Next {
    GoOn,
    ExitLeader,
}

fn obey_all(mut held: Held) -> Result<()> {
    loop {
        let mut line = String::new();
        if stdin().lock().read_line(&mut line)? == 0 {
            return Ok(());
        }
        match obey(line.trim_end(), &mut held)? {
            Next::GoOn => answer()?,
            Next::ExitLeader => {
                thread::spawn(move || {
                    wait_for_end_of_leader();
                    let outcome = answer().and_then(|()| obey_all(held));
                    std::process::exit(i32::from(outcome.is_err()));
                });
                exit_this_thread();
            }
        }
    }
}

fn answer() -> Result<()> {
    // One call, so that the answer is one write.
    stdout().lock().write_all(b"ok\n")?;
    stdout().flush()
}

fn obey(command: &str, held: &mut Held) -> Result<Next> {
    let mut words = command.split(' ');
    let name = words.next().unwrap_or_default();
    let first = words.next().unwrap_or_default();
    let path = words.next().unwrap_or_default();
    let number = || first.parse::<usize>().map_err(Error::other);
    match name {
        "memory" => held.memory.push(touched(number()?)),
        "map" => map(first)?,
        "fds" => open_many(number()?, held)?,
        "threads" => (0..number()?).for_each(|_| drop(thread::spawn(|| sleep()))),
        "write" => write_once(number()?, path)?,
        "write-in-thread" => write_in_thread(number()?, path)?,
        "echo-in-thread" => echo_in_thread(first),
        "user" => take_user(number()?)?,
        "reap" => drop(child(&format!("write {first} {path}"))?.wait()?),
        "leave-zombie" => held.zombies.push(child(&format!("write {first} {path}"))?),
        "name" => take_name(first)?,
        "title" => write_over_arguments()?,
        "worker" => fork_worker()?,
        "storm" => storm(number()?)?,
        "exec-from-thread" => return Err(exec_from_thread(first)),
        "exit-leader" => return Ok(Next::ExitLeader),
        other => return Err(Error::other(format!("unknown command `{other}`"))),
    }
    Ok(Next::GoOn)
}

fn touched(bytes: usize) -> Vec<u8> {
    let mut memory = vec![0_u8; bytes];
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    memory
}

/// Whoever cuts the file takes the pages away, unless they are touched again.
fn map(path: &str) -> Result<()> {
    let file = File::open(path)?;
    let length = usize::try_from(file.metadata()?.len()).map_err(Error::other)?;
    let (null, flags) = (std::ptr::null_mut(), libc::MAP_SHARED | libc::MAP_POPULATE);
    // SAFETY: a new mapping, at an address that the kernel chooses; nobody looks into it.
    let address = unsafe { libc::mmap(null, length, libc::PROT_READ, flags, file.as_raw_fd(), 0) };
    if address == libc::MAP_FAILED { Err(Error::last_os_error()) } else { Ok(()) }
}

fn open_many(count: usize, held: &mut Held) -> Result<()> {
    for _ in 0..count {
        held.files.push(File::open("/dev/null")?);
    }
    Ok(())
}

fn sleep() -> ! {
    loop {
        thread::sleep(Duration::from_secs(1000));
    }
}

fn write_once(bytes: usize, path: &str) -> Result<()> {
    let count = File::create(path)?.write(&vec![b'x'; bytes])?;
    assert_eq!(count, bytes, "the truth must be known");
    Ok(())
}

fn write_in_thread(bytes: usize, path: &str) -> Result<()> {
    let path = path.to_owned();
    let writer = thread::spawn(move || write_once(bytes, &path));
    writer.join().map_err(|_| Error::other("the thread panicked"))??;
    // It has been joined, but the kernel may still be taking it down.
    while threads()? > 1 {
        thread::yield_now();
    }
    Ok(())
}

fn echo_in_thread(path: &str) {
    let path = path.to_owned();
    thread::spawn(move || -> Result<()> {
        let (mut from, mut to) = (File::open(path)?, File::create("/dev/null")?);
        let mut byte = [0];
        loop {
            from.read_exact(&mut byte)?;
            to.write_all(&byte)?;
        }
    });
}

fn take_user(uid: usize) -> Result<()> {
    let uid = uid.try_into().map_err(Error::other)?;
    // SAFETY: it takes any numbers, and changes nothing but who we are.
    match unsafe { libc::setresuid(uid, uid, uid) } {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

/// Returns only where it fails.
fn exec_from_thread(program: &str) -> Error {
    let program = program.to_owned();
    let executing = thread::spawn(move || Command::new(program).exec());
    executing.join().unwrap_or_else(|_| Error::other("the thread panicked"))
}

fn threads() -> Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

fn child(command: &str) -> Result<Child> {
    Command::new(std::env::current_exe()?)
        .arg(command)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
}

fn storm(count: usize) -> Result<()> {
    for _ in 0..count {
        // SAFETY: there is no other thread, and the child ends at once.
        let pid = unsafe { libc::fork() };
        match pid {
            -1 => return Err(Error::last_os_error()),
            // SAFETY: _exit(2) takes any status and does not return.
            0 => unsafe { libc::_exit(0) },
            // SAFETY: no status is asked for, so there is nothing to write to.
            pid => unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) },
        };
    }
    Ok(())
}

fn fork_worker() -> Result<()> {
    // SAFETY: there is no other thread, and the child only waits for its end.
    match unsafe { libc::fork() } {
        -1 => Err(Error::last_os_error()),
        0 => {
            let signal = Some(rustix::process::Signal::KILL);
            rustix::process::set_parent_process_death_signal(signal)?;
            sleep()
        }
        _ => Ok(()),
    }
}

fn take_name(hex: &str) -> Result<()> {
    let byte = |at| u8::from_str_radix(hex.get(at..at + 2).unwrap_or_default(), 16);
    let name: std::result::Result<Vec<u8>, _> = (0..hex.len()).step_by(2).map(byte).collect();
    let name = CString::new(name.map_err(Error::other)?)?;
    Ok(rustix::thread::set_name(&name)?)
}

/// As setproctitle(3) does it: from the first argument to the last variable.
fn write_over_arguments() -> Result<()> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    // Fields 48 and 51 of proc_pid_stat(5); the first one after the name is field 3.
    let address = |field: usize| fields[field - 3].trim().parse::<usize>().map_err(Error::other);
    let (start, end) = (address(48)?, address(51)?);
    // SAFETY: the kernel put arguments and environment between the two addresses, and nobody
    // looks at them any more.
    unsafe { std::ptr::write_bytes(start as *mut u8, b'x', end - start) };
    Ok(())
}

fn exit_this_thread() -> ! {
    // SAFETY: the other thread shares nothing with this one's stack.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("exit(2) does not return")
}

fn wait_for_end_of_leader() {
    let stat = format!("/proc/self/task/{}/stat", std::process::id());
    while !std::fs::read_to_string(&stat).is_ok_and(|text| text.contains(") Z ")) {
        thread::yield_now();
    }
}
