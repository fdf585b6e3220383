//! The BPF object, built beforehand and carried in the binary.

use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use sekimori_ebpf::abi::{HOST_PACE_SETS_PRIVATE, PRIVATE_YES, SEAT_SETS_PRIVATE};

/// The object's bytes, aligned as the ELF reader wants them.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sekimori.bpf.o"));

/// XDP.
pub const PROGRAM_IN: &str = "sekimori_in";
/// TCX ingress.
pub const PROGRAM_MARK: &str = "sekimori_mark";
/// TCX egress.
pub const PROGRAM_OUT: &str = "sekimori_out";

/// A loader with this object's usual settings.
pub fn loader<'a>() -> EbpfLoader<'a> {
    let mut loader = EbpfLoader::new();
    loader.verifier_log_level(VerifierLogLevel::STATS);
    loader
}

/// Loads the object without pins: for private instances.
pub fn load_private(flows: u32) -> Result<Ebpf, aya::EbpfError> {
    loader()
        .override_global("PRIVATE", &PRIVATE_YES, true)
        .map_max_entries("FLOWS4", flows)
        .map_max_entries("OPENING4", flows)
        .map_max_entries("FLOWS6", flows)
        .map_max_entries("OPENING6", flows)
        .map_max_entries("FRAGMENTS", 1024)
        .map_max_entries("HOST_PACES", HOST_PACE_SETS_PRIVATE)
        .map_max_entries("SEATS", SEAT_SETS_PRIVATE)
        // Nobody is watched there.
        .map_max_entries("TRAPS", 1)
        .map_max_entries("EXEMPT", 1)
        .map_max_entries("THREATS", 1)
        .map_max_entries("HOSTS", 1)
        .map_max_entries("STRANGERS", 64)
        .map_max_entries("DETECTIONS", 4096)
        .map_max_entries("CAPTURED", 4096)
        .load(OBJECT)
}

/// Names this build of the programs: the first eight bytes of the object's SHA-256, in hex.
pub fn build_id() -> String {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(OBJECT).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
