//! Tries [`relations::tcp_info`] on any bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| relations::tcp_info(bytes));
