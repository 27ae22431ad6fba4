//! Reads what the fuzzer makes up as what a shim or a host might send.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| replug_wire::read_anything(bytes));
