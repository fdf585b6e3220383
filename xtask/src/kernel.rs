//! What the running kernel must be able to do.

use std::{fs, path::Path, process::Command};

use anyhow::{Result, bail};

use crate::workspace::{is_root, output_of, run};

/// Oldest kernel with TCX links.
const OLDEST: (u32, u32) = (6, 6);
const BPFFS: &str = "/sys/fs/bpf";

/// Mounts the BPF file system where it is not mounted.
pub(crate) fn mount_bpffs() -> Result<()> {
    if bpffs_is_mounted() || !is_root() {
        return Ok(());
    }
    println!("Mounting the BPF file system on {BPFFS}");
    run(Command::new("mount").args(["-t", "bpf", "bpf", BPFFS]))
}

/// Stops with everything that is missing, and what to do about each.
pub(crate) fn require() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("this machine cannot run Sekimori:\n  - {}", missing.join("\n  - "))
}

/// Everything that is missing, one sentence each.
pub(crate) fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if version(&release).is_none_or(|version| version < OLDEST) {
        missing.push(format!(
            "the kernel is {}; {}.{} or newer is needed (TCX). On Debian 12: \
             `apt-get install -t bookworm-backports linux-image-amd64` and reboot",
            release.trim(),
            OLDEST.0,
            OLDEST.1
        ));
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        missing.push("/sys/kernel/btf/vmlinux does not exist: use a kernel built with CONFIG_DEBUG_INFO_BTF".into());
    }
    if !is_root() {
        return missing;
    }
    if !bpffs_is_mounted() {
        missing.push(format!("{BPFFS} is not a BPF file system: `mount -t bpf bpf {BPFFS}` (CONFIG_BPF_SYSCALL)"));
    }
    // In a namespace of its own, so that asking leaves no trace.
    if output_of("unshare", &["--net", "true"]).is_none() {
        missing.push("no network namespace can be created: CONFIG_NET_NS, and CAP_SYS_ADMIN inside containers".into());
        return missing;
    }
    let veth = "ip link add sk0 type veth peer name sk1";
    if output_of("unshare", &["--net", "sh", "-c", veth]).is_none() {
        missing.push("no veth pair can be created: CONFIG_VETH (`modprobe veth`)".into());
    }
    let tables = "PATH=$PATH:/usr/sbin:/sbin; nft 'add table inet t; add chain inet t c { type filter hook forward priority 0; }'";
    if output_of("unshare", &["--net", "sh", "-c", tables]).is_none() {
        missing.push("nftables does not work: CONFIG_NF_TABLES_INET (`modprobe nf_tables`)".into());
    }
    missing
}

fn bpffs_is_mounted() -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|line| {
        let mut words = line.split(' ').skip(1);
        words.next() == Some(BPFFS) && words.next() == Some("bpf")
    })
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn kernel_releases_are_compared_as_numbers() {
        assert_eq!(version("6.18.44-fc-v595\n"), Some((6, 18)));
        assert!(version("6.10.0-rc1") > Some((6, 6)));
        assert!(version("5.15.0-100-generic") < Some((6, 6)));
        assert_eq!(version("unknown"), None);
    }
}
