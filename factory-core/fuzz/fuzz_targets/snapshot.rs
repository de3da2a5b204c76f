//! Stored records, as the fuzzer leaves them.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| factory_core_fuzz::restore(data));
