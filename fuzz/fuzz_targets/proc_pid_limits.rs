//! Tries [`relations::proc_pid_limits`] on any bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| relations::proc_pid_limits(bytes));
