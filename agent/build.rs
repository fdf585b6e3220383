//! Hands the BPF object that `cargo xtask build` made to the agent's sources.

use std::{env, fs, path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    println!("cargo::rerun-if-env-changed=SEKIMORI_BPF_OBJECT");
    let object = match env::var_os("SEKIMORI_BPF_OBJECT") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from("../target/bpf/sekimori.bpf.o"),
    };
    println!("cargo::rerun-if-changed={}", object.display());
    let Some(out) = env::var_os("OUT_DIR") else {
        println!("cargo::error=OUT_DIR is not set: run this through cargo");
        return ExitCode::FAILURE;
    };
    if let Err(error) = fs::copy(&object, PathBuf::from(out).join("sekimori.bpf.o")) {
        println!(
            "cargo::error=no BPF object at {}: {error}. Run `cargo xtask build`, which makes it.",
            object.display()
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
