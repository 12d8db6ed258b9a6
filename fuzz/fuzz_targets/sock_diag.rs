//! Tries [`relations::sock_diag`] on any bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| relations::sock_diag(bytes));
