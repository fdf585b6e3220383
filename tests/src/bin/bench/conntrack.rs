//! The kernel's conntrack settings that all namespaces share.

use std::fs;

use anyhow::{Context as _, Result};

const BUCKETS: &str = "/sys/module/nf_conntrack/parameters/hashsize";
const MOST: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

/// Room for as many flows as are measured: with fewer buckets than flows every peer that uses conntrack is slandered.
/// Dropping it puts the former settings back.
#[derive(Debug)]
pub(crate) struct Conntrack(Vec<(&'static str, String)>);

impl Conntrack {
    /// At least this many buckets, and four times as many entries.
    pub(crate) fn widen(buckets: u64) -> Result<Self> {
        let mut former = Self(Vec::new());
        for (file, wanted) in [(BUCKETS, buckets), (MOST, buckets * 4)] {
            let now = read(file)?;
            if now < wanted {
                fs::write(file, wanted.to_string()).with_context(|| format!("writing {wanted} to {file}"))?;
                former.0.push((file, now.to_string()));
            }
        }
        Ok(former)
    }
}

impl Drop for Conntrack {
    fn drop(&mut self) {
        for (file, value) in self.0.drain(..).rev() {
            if let Err(error) = fs::write(file, &value) {
                eprintln!("{file} was {value} before, and could not be put back: {error}");
            }
        }
    }
}

/// Buckets now.
pub(crate) fn buckets() -> Result<u64> {
    read(BUCKETS)
}

fn read(file: &str) -> Result<u64> {
    let text = fs::read_to_string(file).with_context(|| format!("{file} (is nf_conntrack loaded?)"))?;
    Ok(text.trim().parse()?)
}
