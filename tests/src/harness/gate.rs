//! The town hall with the gate up: the fixture of tests about single packets.

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, ensure};
use tempfile::TempDir;

use super::{
    agent::{Agent, Config},
    counted::Counted,
    frame::Frame,
    packet::{Packet, inwards},
    raw::RawPort,
    town::{HOST_INTERFACE, Town},
    townhall::{DNS_V4, Host, INTERNET_ROUTER, PC_017},
};

/// How long anything may take to arrive.
pub const SOON: Duration = Duration::from_secs(10);
/// What packets that must not arrive carry.
pub const POISON: &[u8] = b"poison--poison--";
/// The rule [`Gate::refuses`] needs for its marker.
pub const DNS_RULE: &str = r#"
  - id: office-dns
    from: office
    to: {network: internet, addresses: [198.51.100.53, "2001:db8:c0::53"]}
    services: [dns]
    purpose: test
    owner: test
"#;

/// A town whose gateway runs the agent with the municipality's networks and devices and the test's own rules.
#[derive(Debug)]
pub struct Gate {
    // Before the town: the gate is opened while its namespace still exists.
    /// The agent on the gateway.
    pub agent: Agent,
    /// The town.
    pub town: Town,
    folder: TempDir,
    /// The counters as the last check left them: the next one begins there, so that no drop falls between two.
    last: RefCell<Option<Counted>>,
}

impl Gate {
    /// The town with these hosts, plain routing, and these `rules:` (and what may follow them in the document).
    pub fn up(hosts: &[&'static Host], rules: &str) -> Result<Self> {
        Self::over(Town::build(hosts)?, rules)
    }

    /// The same over a town already built.
    pub fn over(town: Town, rules: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("sk-policy-").tempdir()?;
        write(folder.path(), rules)?;
        let agent = Agent::start(&town.gateway, &Config::new(folder.path()))?;
        Ok(Self { agent, town, folder, last: RefCell::new(None) })
    }

    /// Puts other rules in force.
    pub fn apply(&self, rules: &str) -> Result<()> {
        write(self.folder.path(), rules)?;
        self.agent.apply(self.folder.path())?;
        Ok(())
    }

    /// A packet socket on a host.
    pub fn port(&self, host: &Host) -> Result<RawPort> {
        RawPort::open(self.town.host(host)?, HOST_INTERFACE)
    }

    /// The counters now.
    pub fn counted(&self) -> Result<Counted> {
        Counted::read(&self.agent)
    }

    /// Does `work` and demands that exactly these drops were counted since the last check (or the last [`Self::forget`]):
    /// `network direction reason`, or a chain of the second wall, and how often.
    pub fn drops<T>(&self, expected: &[(&str, u64)], work: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = match self.last.take() {
            Some(last) => last,
            None => self.counted()?,
        };
        let result = work()?;
        let now = self.counted()?;
        let counted = now.since(&before);
        self.last.replace(Some(now));
        let mut drops = counted.drops();
        // Hosts announce their multicast groups (MLD) for a second or two after an address is set, and outside a zone
        // that is dropped. Nothing of it concerns a test that does not ask for it.
        drops.retain(|name, _| !name.ends_with(" multicast") || expected.iter().any(|(wanted, _)| wanted == name));
        let wanted = expected.iter().map(|(name, packets)| ((*name).to_owned(), *packets)).collect();
        ensure!(drops == wanted, "drops counted: {drops:?}\nexpected: {wanted:?}\nall that was counted: {counted:?}");
        Ok(result)
    }

    /// Begins the next check with the counters as they will be then.
    pub fn forget(&self) {
        self.last.replace(None);
    }

    /// From `pc-017` to the Internet, which needs [`DNS_RULE`].
    pub fn way_out(&self) -> Result<Lane> {
        let query = Packet::udp(inwards(&PC_017), (PC_017.v4, 45_353), (DNS_V4, 53), MARKER).frame();
        Ok(Lane { from: self.port(&PC_017)?, to: self.port(&INTERNET_ROUTER)?, marker: query })
    }

    /// From the Internet to `pc-017`: the markers are answers to a query this asks first.
    pub fn way_in(&self) -> Result<Lane> {
        let out = self.way_out()?;
        out.mark()?;
        let answer = Packet::udp(inwards(&INTERNET_ROUTER), (DNS_V4, 53), (PC_017.v4, 45_353), MARKER).frame();
        let lane = Lane { from: out.to, to: out.from, marker: answer };
        lane.mark()?;
        Ok(lane)
    }

    /// Sends frames that carry [`POISON`] and must not arrive at the other end, with a marker behind them as the proof,
    /// and demands that just these drops were counted.
    pub fn refuses(&self, lane: &Lane, frames: &[Frame], expected: &[(&str, u64)]) -> Result<()> {
        self.drops(expected, || {
            for frame in frames {
                lane.from.send(frame)?;
            }
            let unwanted = |frame: &Frame| frame.contains(POISON);
            lane.to.expect_none("the packet to be dropped", SOON, unwanted, || lane.from.send(&lane.marker), is_marker)
        })
    }

    /// Sends a frame that must arrive at the other end, where `text` tells it, without any drop.
    pub fn admits(&self, lane: &Lane, frame: &Frame, text: &[u8]) -> Result<Frame> {
        self.drops(&[], || {
            lane.from.send(frame)?;
            lane.to.expect("the permitted packet", SOON, |seen| seen.contains(text))
        })
    }
}

/// A way through the gate, with a packet that certainly passes it.
#[derive(Debug)]
pub struct Lane {
    /// Where frames are sent.
    pub from: RawPort,
    /// Where they arrive.
    pub to: RawPort,
    /// Sent last, it proves that what has not arrived before it never will.
    pub marker: Frame,
}

impl Lane {
    /// Sends a marker and waits for it.
    pub fn mark(&self) -> Result<Frame> {
        self.from.send(&self.marker)?;
        self.to.expect("the marker", SOON, is_marker)
    }
}

/// Whether it is a lane's marker.
pub fn is_marker(frame: &Frame) -> bool {
    frame.contains(MARKER)
}

/// What markers carry.
pub const MARKER: &[u8] = b"marker--marker--";

/// A policy folder: the municipality's networks and devices, and these rules.
pub fn write(folder: &Path, rules: &str) -> Result<()> {
    let municipality = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../policies/municipality");
    for part in ["10-networks.yaml", "20-devices.yaml"] {
        fs::copy(municipality.join(part), folder.join(part))?;
    }
    fs::write(folder.join("40-rules.yaml"), format!("version: 1\n{rules}"))?;
    Ok(())
}
