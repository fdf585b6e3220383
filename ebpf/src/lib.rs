//! The Sekimori data plane as a `no_std` library: one source for the kernel, unit tests, the fuzzer, `explain`.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod abi;
pub mod atomic;
pub mod bytes;
pub mod classify;
pub mod decide;
pub mod detect;
pub mod mark;
pub mod packet;
pub mod parse;
#[cfg(feature = "user")]
mod pod;
pub mod reason;
pub mod tables;
pub mod tcp;
