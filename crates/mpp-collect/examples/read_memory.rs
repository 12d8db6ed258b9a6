//! Reads the command line and the environment of processes without ever hanging in one.
//!
//! ```text
//! read_memory [--stay] PID...
//! ```
//!
//! Prints one line per file: PID, file, and either the number of bytes or why there are none.
//! With `--stay` it then prints the PIDs of its helper processes and does the same again for
//! every line on stdin, until that ends.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::error::Error;
use std::io;
use std::time::Duration;

use mpp_accounting::process::{ProcessKey, Reading};
use mpp_collect::memory_reader::{MemoryFile, MemoryReader, MemoryReaderKind, MemoryRequest};

fn main() -> Result<(), Box<dyn Error>> {
    // Before the first thread, since the helper process is forked.
    let procfs = std::fs::File::open("/proc")?;
    let mut reader = MemoryReader::open(MemoryReaderKind::HelperProcess, procfs.into());
    println!("reader {:?}", reader.kind());
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let pids = arguments.iter().filter(|argument| *argument != "--stay");
    let keys = pids.map(|pid| key_of(pid.parse()?)).collect::<Result<Vec<_>, _>>()?;
    read(&mut reader, &keys);
    if arguments.iter().any(|argument| argument == "--stay") {
        print_helpers(&mut reader);
        for line in io::stdin().lines() {
            line?;
            read(&mut reader, &keys);
            print_helpers(&mut reader);
        }
    }
    Ok(())
}

fn read(reader: &mut MemoryReader, keys: &[ProcessKey]) {
    for key in keys {
        for file in MemoryFile::ALL {
            reader.submit(MemoryRequest { key: *key, file });
        }
    }
    for answer in reader.collect(Duration::from_secs(30)) {
        let pid = answer.request.key.pid;
        match &answer.outcome {
            Reading::Value(bytes) => println!("{pid} {:?} {}", answer.request.file, bytes.len()),
            Reading::Absent(why) => println!("{pid} {:?} {why}", answer.request.file),
        }
    }
    println!("blocked {} waiting {}", reader.blocked_now(), reader.waiting_now());
}

fn print_helpers(reader: &mut MemoryReader) {
    let pids: Vec<_> = reader.helper_pids().iter().map(u32::to_string).collect();
    println!("helpers {}", pids.join(" "));
}

fn key_of(pid: u32) -> Result<ProcessKey, Box<dyn Error>> {
    let stat = std::fs::read(format!("/proc/{pid}/stat"))?;
    let start_time_ticks = mpp_parse::proc_pid_stat::parse(&stat)?.start_time_ticks;
    Ok(ProcessKey { pid, start_time_ticks })
}
