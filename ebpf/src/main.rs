//! Thin BPF programs that adapt contexts and maps to the decision library.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(not(target_arch = "bpf"))]
fn main() {
    eprintln!("This is a BPF object, built by `cargo xtask build`; it does not run on the host.");
}
