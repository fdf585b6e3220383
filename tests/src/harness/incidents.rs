//! Incidents on disk, as an agent would have left them.

use std::{net::IpAddr, path::Path};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use sekimori::{
    detect::{
        Action, Book, Bounds, Evidence, Sighting, Store,
        pcapng::{Packet, Section},
        store::evidence_name,
    },
    record::room::hex,
};
use sekimori_ebpf::detect::abi::Detector;
use sha2::{Digest as _, Sha256};

/// What was seen of one host.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Its address.
    pub host: IpAddr,
    /// Its device.
    pub device: &'static str,
    /// By which detector.
    pub detector: Detector,
    /// What was done.
    pub action: Action,
    /// The packet kept of it; none if empty.
    pub packet: &'static [u8],
}

/// Writes an incident for each, numbered from 1, into the state folder of an agent that does not run.
pub fn leave(state: &Path, seen: &[Seen]) -> Result<()> {
    let store = Store::new(state);
    let mut book = Book::new(Bounds::default(), Vec::new(), 1);
    let now = Timestamp::now();
    for (number, seen) in seen.iter().enumerate() {
        let sighting = Sighting {
            at: now,
            detector: seen.detector as u32,
            action: seen.action,
            host: seen.host.to_string(),
            zone: "office".into(),
            device: Some(seen.device.into()),
            owner: Some("総務課".into()),
            mac: None,
            interface: Some("lan0".into()),
            destination: Some("198.51.100.7".parse()?),
            port: Some(445),
            list: None,
            hits: 120,
            value: 90,
            still: false,
            refused: 3,
            reason: Some("no_rule".into()),
            rule: None,
            revision: None,
            blocked_until: None,
        };
        let id = book.add(&sighting, number as u64).id();
        if !seen.packet.is_empty() {
            let mut section = Section::new("a test");
            let time = u64::try_from(now.as_nanosecond())?;
            let wire = u32::try_from(seen.packet.len())?;
            section.add(Packet { interface: "lan0", time, wire, data: seen.packet, comment: "verdict=drop" });
            let file = store.add_evidence(id, &section.take())?;
            let sha256 = hex(&Sha256::digest(&file));
            let evidence = Evidence {
                file: evidence_name(id),
                packets: 1,
                bytes: file.len() as u64,
                sha256,
                at: now,
                removed: false,
            };
            book.change(id, |incident| incident.evidence = Some(evidence));
        }
        store.save(book.get(id).context("the incident just made")?)?;
    }
    Ok(())
}
