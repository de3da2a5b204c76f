//! A member, driven by the fuzzer.

#![no_main]

use factory_core::Party;

libfuzzer_sys::fuzz_target!(|data: &[u8]| factory_core_fuzz::drive(data, Party::Member(0)));
