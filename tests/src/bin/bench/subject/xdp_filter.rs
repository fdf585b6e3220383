//! xdp-filter of xdp-tools: exact addresses only.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::Subject;
use crate::{
    gateway::{Gateway, WAN},
    lists::List,
    ruler::Ruler,
    traffic::{Fate, Kind},
};

/// Addresses it is given: each takes a run of its command line.
const ADDRESSES: usize = 256;

/// xdp-filter on a gateway's outside interface; everything but its addresses is denied.
#[derive(Debug)]
pub(crate) struct XdpFilter {
    gateway: Gateway,
    /// Holds the mount namespace whose bpffs the tool pins in.
    shell: Child,
}

impl XdpFilter {
    /// Loads it, in a mount namespace of its own: it always pins below `/sys/fs/bpf`.
    pub(crate) fn new(gateway: Gateway, list: &List) -> Result<Self> {
        let mut shell = gateway
            .ns
            .command("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-e"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting unshare")?;
        let mut script = String::from("mount -t bpf bpf /sys/fs/bpf\n");
        script.push_str(&format!("xdp-filter load -p deny -f ipv4,ipv6,udp,tcp -m native {WAN} >/dev/null\n"));
        for prefix in list.family(false).take(ADDRESSES) {
            script.push_str(&format!("xdp-filter ip {} -m src >/dev/null\n", prefix.addr()));
        }
        // Reading the end of the input ends the shell, and with it the mount.
        script.push_str("echo ready\nexec cat >/dev/null\n");
        shell.stdin.as_mut().context("no standard input")?.write_all(script.as_bytes())?;
        let mut said = String::new();
        BufReader::new(shell.stdout.take().context("no standard output")?).read_line(&mut said)?;
        if said.trim() != "ready" {
            let mut error = String::new();
            if let Some(mut stderr) = shell.stderr.take() {
                std::io::Read::read_to_string(&mut stderr, &mut error).ok();
            }
            shell.wait().ok();
            bail!("xdp-filter: {}", error.trim());
        }
        Ok(Self { gateway, shell })
    }
}

impl Drop for XdpFilter {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        self.shell.wait().ok();
    }
}

impl Subject for XdpFilter {
    fn name(&self) -> &'static str {
        "xdp-filter"
    }
    fn gateway(&self) -> &Gateway {
        &self.gateway
    }
    fn load(&mut self, _list: &List, _ruler: &mut Ruler) -> Result<()> {
        Ok(())
    }
    fn takes(&self, kind: Kind) -> bool {
        kind.fate == Fate::Drop && !kind.tagged && !kind.fragment
    }
    fn has_flows(&self) -> bool {
        false
    }
}
