//! Tries [`relations::proc_stat`] on any bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| relations::proc_stat(bytes));
