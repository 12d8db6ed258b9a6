//! Tries [`relations::bpf_socket_record`] on any bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| relations::bpf_socket_record(bytes));
