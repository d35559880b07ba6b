//! What a client of the MessagePack protocol may send.

#![no_main]

libfuzzer_sys::fuzz_target!(|sent: &[u8]| backplane_signalr::fuzzing::messagepack(sent));
