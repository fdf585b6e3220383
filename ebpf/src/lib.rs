//! The Sekimori data plane as a `no_std` library: one source for the kernel, unit tests, the fuzzer, `explain`.
#![cfg_attr(not(test), no_std)]

pub mod abi;
pub mod reason;
pub mod tables;
