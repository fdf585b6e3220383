//! The conditions of a run, recorded with its figures.

use std::{fs, process::Command};

use anyhow::Result;
use sekimori_tests::harness::{agent, tool};
use serde_json::{Value, json};

use crate::{conntrack, options::Options};

/// Everything a reader needs to judge the figures.
pub(crate) fn describe(options: &Options, cpu: usize) -> Result<Value> {
    let (rounds, samples, packets) = options.effort();
    Ok(json!({
        "kernel": read("/proc/sys/kernel/osrelease"),
        "cpu": cpu_model(),
        "cpus": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "ruler_cpu": cpu,
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "jit": read("/proc/sys/net/core/bpf_jit_enable"),
        "jit_harden": read("/proc/sys/net/core/bpf_jit_harden"),
        "mitigations": mitigations(),
        "nf_conntrack_buckets": conntrack::buckets()?,
        "offloads": "tx, tso, gso off; gro on, turned on after link-up",
        "rp_filter": 0,
        "udp_stream_timeout": "1 h",
        "neighbours": "permanent",
        "load_average": read("/proc/loadavg"),
        "agent": said(agent::program()?.to_str().unwrap_or_default(), &["--version"]),
        "commit": commit(),
        "nft": said("nft", &["--version"]),
        "iptables": said("iptables", &["--version"]),
        "ipset": said("ipset", &["--version"]),
        "xdp_filter": said("dpkg-query", &["-W", "-f=${Version}\n", "xdp-tools"]),
        "iperf3": said("iperf3", &["--version"]),
        "seed": options.seed,
        "quick": options.quick,
        "rounds": rounds,
        "samples_a_round": samples,
        "packets_a_sample": packets,
        "date": jiff::Timestamp::now().to_string(),
    }))
}

/// What figures must have in common to stand in one report: the commit and the boot.
pub(crate) fn origin() -> String {
    format!("{} {}", commit(), read("/proc/sys/kernel/random/boot_id"))
}

fn commit() -> String {
    said("git", &["describe", "--always", "--dirty"])
}

fn read(file: &str) -> String {
    fs::read_to_string(file).map_or_else(|_| "unknown".into(), |text| text.trim().to_owned())
}

fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or_else(|| "unknown".into(), |(_, model)| model.trim().to_owned())
}

/// What the kernel does against each CPU flaw that applies.
fn mitigations() -> Vec<String> {
    let mut found: Vec<_> = fs::read_dir("/sys/devices/system/cpu/vulnerabilities")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), read(&entry.path().to_string_lossy())))
        .filter(|(_, state)| state != "Not affected")
        .map(|(name, state)| format!("{name}: {state}"))
        .collect();
    found.sort();
    found
}

/// First line of what a program says about itself.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool::find(program.as_ref())).args(arguments).output();
    output.map_or_else(
        |_| "absent".into(),
        |output| {
            let text = String::from_utf8_lossy(&output.stdout);
            text.lines().next().unwrap_or_default().trim().to_owned()
        },
    )
}
