#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| relations::sock_diag(bytes));
