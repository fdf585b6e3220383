//! nftables rules inside a namespace.

use std::{io::Write as _, process::Stdio};

use anyhow::{Context as _, Result, bail};

use super::netns::Ns;

/// Loads a ruleset in nft's own language, all of it or nothing.
pub fn load(ns: &Ns, rules: &str) -> Result<()> {
    let mut nft = ns
        .command("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting nft (`cargo xtask setup` installs it)")?;
    if let Some(mut stdin) = nft.stdin.take() {
        // Its grammar wants the last line ended.
        stdin.write_all(format!("{rules}\n").as_bytes())?;
    }
    let said = nft.wait_with_output()?;
    if !said.status.success() {
        bail!("nft in {} refused:\n{rules}\n{}", ns.name(), String::from_utf8_lossy(&said.stderr));
    }
    Ok(())
}
