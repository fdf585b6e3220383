//! The detectors: what inside hosts *attempt*, seen at the gate they must pass.

pub mod abi;
