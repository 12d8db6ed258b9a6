//! Tries [`relations::proc_pid_status`] on any bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| relations::proc_pid_status(bytes));
