//! Debian packages: what is missing, and installing it.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::workspace::{find_program, is_root, root, run, target, tools};

/// A command, and the package that brings it.
pub(crate) type Tool = (&'static str, &'static str);

/// What the demonstration runs.
pub(crate) const DEMO_TOOLS: &[Tool] = &[
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("ping", "iputils-ping"),
    ("curl", "curl"),
    ("dig", "bind9-dnsutils"),
    ("nmap", "nmap"),
];
/// What the tests run besides.
pub(crate) const TEST_TOOLS: &[Tool] = &[
    ("tcpdump", "tcpdump"),
    ("hping3", "hping3"),
    ("iperf3", "iperf3"),
    ("conntrack", "conntrack"),
    ("ethtool", "ethtool"),
    ("bpftool", "bpftool"),
    ("faketime", "faketime"),
    ("socat", "socat"),
    ("iptables-legacy", "iptables"),
];
/// What the benchmark measures besides.
pub(crate) const BENCH_TOOLS: &[Tool] = &[("iptables", "iptables"), ("ipset", "ipset"), ("xdp-filter", "xdp-tools")];
/// Commands whose package would start a service on this machine: unpacked into our own folder instead.
pub(crate) const UNPACKED_TOOLS: &[Tool] = &[
    ("prometheus", "prometheus"),
    ("promtool", "prometheus"),
    ("iodine", "iodine"),
    ("iodined", "iodine"),
    ("masscan", "masscan"),
];

/// Packages of those commands that are not there.
pub(crate) fn missing_tools(tools: &[Tool]) -> Vec<&'static str> {
    let mut missing: Vec<_> =
        tools.iter().filter(|(command, _)| find_program(command).is_none()).map(|(_, package)| *package).collect();
    missing.dedup();
    missing
}

/// Those of `packages` that are not installed. Empty on a machine without dpkg.
pub(crate) fn missing_packages(packages: &[&'static str]) -> Vec<&'static str> {
    let Ok(output) = Command::new("dpkg-query")
        .args(["-W", "-f=${Package} ${db:Status-Status}\n"])
        .args(packages)
        .stdin(Stdio::null())
        .output()
    else {
        return Vec::new();
    };
    let known = String::from_utf8_lossy(&output.stdout);
    let installed = |package: &&str| known.lines().any(|line| line.split_once(' ') == Some((package, "installed")));
    packages.iter().copied().filter(|package| !installed(package)).collect()
}

/// Installs packages, saying so first. Without root or apt it stops with the command to run.
pub(crate) fn install(packages: &[&str], why: &str) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if find_program("apt-get").is_none() {
        bail!("{why} needs these Debian packages or their equivalents, and there is no apt-get here: {list}");
    }
    if !is_root() {
        bail!("{why} needs packages that are not installed. Run:\n\n    sudo apt-get install {list}");
    }
    println!("Installing for {why}: {list}");
    update_once()?;
    // Never at the price of a package the machine already has.
    let install = || apt(&["install", "-y", "-q", "--no-install-recommends", "--no-remove"], packages);
    if install().is_ok() {
        return Ok(());
    }
    println!("Not found with the package lists at hand: refreshing them.");
    apt(&["update", "-q"], &[])?;
    install().with_context(|| format!("{why} needs these packages; try `apt-get install {list}` to see why not"))
}

/// Unpacks the packages of `missing` commands below our tools folder without installing them.
pub(crate) fn unpack(wanted: &[Tool]) -> Result<()> {
    let missing = missing_tools(wanted);
    if missing.is_empty() {
        return Ok(());
    }
    if find_program("apt-get").is_none() {
        bail!("the tests need these programs in PATH, and there is no apt-get here: {}", missing.join(" "));
    }
    let tools = tools()?;
    println!("Unpacking into {} (not installed, no service started): {}", tools.display(), missing.join(" "));
    if is_root() {
        update_once()?;
    }
    let downloads = target().join("downloads");
    fs::create_dir_all(tools.join("unpacked"))?;
    for package in missing {
        let before = downloads.join(package);
        if before.exists() {
            fs::remove_dir_all(&before)?;
        }
        fs::create_dir_all(&before)?;
        // apt's own sandbox user cannot write below a home folder.
        run(Command::new("apt-get")
            .args(["download", "-q", "-o", "APT::Sandbox::User=root", package])
            .current_dir(&before))
        .with_context(|| format!("could not fetch {package}; is there a package list? (`apt-get update`)"))?;
        for archive in fs::read_dir(&before)? {
            run(Command::new("dpkg-deb").arg("-x").arg(archive?.path()).arg(tools.join("unpacked")))?;
        }
    }
    fs::create_dir_all(tools.join("bin"))?;
    for (command, package) in wanted {
        let places = ["usr/bin", "usr/sbin"].map(|place| tools.join("unpacked").join(place).join(command));
        let Some(program) = places.into_iter().find(|place| place.is_file()) else {
            bail!("the package {package} did not bring {command}");
        };
        let link = tools.join("bin").join(command);
        if !link.exists() {
            std::os::unix::fs::symlink(&program, &link)?;
        }
    }
    Ok(())
}

/// Fetches package lists on a machine that never did.
fn update_once() -> Result<()> {
    let fetched = fs::read_dir("/var/lib/apt/lists").is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().contains("_Packages")))
    });
    if fetched { Ok(()) } else { apt(&["update", "-q"], &[]) }
}

fn apt(arguments: &[&str], packages: &[&str]) -> Result<()> {
    let log = target().join("apt.log");
    fs::create_dir_all(target())?;
    let out = fs::OpenOptions::new().create(true).append(true).open(&log)?;
    run(Command::new("apt-get")
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .args(arguments)
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8")
        .current_dir(root())
        .stdout(out.try_clone()?)
        .stderr(out))
    .with_context(|| format!("{} has the details", short(&log)))
}

fn short(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
