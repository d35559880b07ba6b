//! What a client of the JSON protocol may send.

#![no_main]

libfuzzer_sys::fuzz_target!(|sent: &[u8]| backplane_signalr::fuzzing::json(sent));
