//! Feeds the fuzzer's bytes to the protocol's decoder, as if a shim or a host had sent them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| replug_wire::read_anything(bytes));
