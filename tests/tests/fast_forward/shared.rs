//! A conversation that takes the fast path, and what must arrive of its packets.

use std::time::Duration;

use anyhow::{Result, ensure};
use sekimori_tests::harness::{
    counted::Counted,
    fast::{Scene, Talk},
    frame::Frame,
    gate::{POISON, SOON},
    packet::Packet,
    raw::RawPort,
    tool,
    townhall::{Host, INTERNET, INTERNET_ROUTER, MacAddr, OFFICE, PC_017},
};

pub(super) const OFTEN: Duration = Duration::from_millis(1);

/// What must arrive of a packet, however it came: other MACs, one hop less, and nothing else.
pub(super) fn forwarded_as(packet: &Packet, macs: (MacAddr, MacAddr)) -> Frame {
    Packet { macs, ttl: packet.ttl - 1, ..packet.clone() }.frame()
}

/// MACs of what leaves for the Internet, and for the office.
pub(super) const OUT: (MacAddr, MacAddr) = (INTERNET.mac, INTERNET_ROUTER.mac);

pub(super) const HOME: (MacAddr, MacAddr) = (OFFICE.mac, PC_017.mac);

/// Sends what must not arrive, then what must.
pub(super) fn refuses(lane: (&RawPort, &RawPort), bad: &Packet, good: &Packet) -> Result<()> {
    lane.0.send(&bad.frame())?;
    let (poison, body) = (|frame: &Frame| frame.contains(POISON), good.body.clone());
    lane.1.expect_none(&format!("{bad:?}"), SOON, poison, || lane.0.send(&good.frame()), |frame| frame.contains(&body))
}

/// The Internet's side and a conversation that takes the fast path both ways.
pub(super) struct Running {
    pub(super) a: RawPort,
    pub(super) b: RawPort,
    pub(super) talk: Talk,
    pub(super) scene: Scene,
}

impl Running {
    pub(super) fn up(others: &[&'static Host]) -> Result<Self> {
        let hosts: Vec<_> = [&INTERNET_ROUTER].into_iter().chain(others.iter().copied()).collect();
        let scene = Scene::up(&hosts, true)?.quiet(&[&PC_017, &INTERNET_ROUTER])?;
        let (a, b) = scene.lane(&PC_017, &INTERNET_ROUTER)?;
        let mut running = Self { a, b, talk: Talk::udp(false, 4000), scene };
        running.fast()?;
        Ok(running)
    }

    pub(super) fn there(&self) -> (&RawPort, &RawPort) {
        (&self.a, &self.b)
    }

    pub(super) fn back(&self) -> (&RawPort, &RawPort) {
        (&self.b, &self.a)
    }

    /// Until both directions take the fast path.
    pub(super) fn fast(&mut self) -> Result<()> {
        self.scene.speeds_up(&mut self.talk, (&self.a, &self.b))
    }

    /// The next question must take the slow way, at once.
    pub(super) fn slow(&mut self) -> Result<Frame> {
        let ask = self.talk.ask();
        self.scene.slow(self.there(), &ask)
    }

    /// A packet that must not arrive where it would have gone, and is counted as this drop.
    pub(super) fn refused(&self, bad: &Packet, dropped: &str) -> Result<()> {
        let before = Counted::read(&self.scene.agent)?;
        self.a.send(&bad.frame())?;
        tool::until(dropped, SOON, || {
            let drops = Counted::read(&self.scene.agent)?.since(&before).drops();
            Ok((drops.get(dropped) == Some(&1)).then_some(()))
        })?;
        ensure!(!self.b.drain()?.iter().any(|frame| frame.contains(&bad.body)), "{bad:?} arrived");
        Ok(())
    }
}
