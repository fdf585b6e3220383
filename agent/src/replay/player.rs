//! One packet through the box: by which interface it enters, and, where that is wanted, how it leaves.

use std::collections::HashSet;

use sekimori_ebpf::reason::{Reason, Verdict};

use super::{
    Entry,
    capture::{PACKET_LIMIT, Packet},
    clock::Tick,
    judge::{Judge, Judged, Origin},
    nat::Nat,
    places::{Owner, Places},
    rewrite::{End, retag, set_source_mac, translate},
    sight::Sight,
};
use crate::policy::model::{Mac, NetIndex, Policy, Port};

/// The shortest Ethernet frame that has a header.
const ETHERNET_HEADER: usize = 14;
/// MACs of the box that are remembered.
const OWN_MACS: usize = 4096;

/// What came of one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Played {
    /// The verdict's reason; `None`: longer than any frame can be.
    pub reason: Option<Reason>,
    /// Position of the deciding rule in the policy.
    pub rule: Option<usize>,
    /// The interface it entered by; `None` for the box's own packets.
    pub entered: Option<String>,
    /// The interface it was judged at on its way out, if it was.
    pub left: Option<String>,
    /// What an honest reader must know.
    pub notes: Vec<Note>,
    /// The packet as administrators write it.
    pub line: String,
}

impl Played {
    /// Whether it passes.
    pub(super) fn passes(&self) -> bool {
        self.reason.is_some_and(|reason| reason.verdict() == Verdict::Pass)
    }
}

/// Circumstances of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Note {
    /// The capture holds only its beginning; the rest was taken as zeros.
    Padded,
    /// Longer than one run takes: judged by its first bytes and its length.
    Head,
    /// Longer than any frame can be: not judged by the programs.
    TooLarge,
    /// The capture's clock stepped back by this many nanoseconds; the later time counts.
    ClockBack(u64),
    /// The capture gives no time; the last one counts.
    NoTime,
    /// Captured with another side's VLAN tags; judged with those of the side it enters by.
    Retagged,
    /// Captured after the box sent it on; judged with the MAC of who sent it first.
    SentOn,
    /// The box's own packet: judged on its way out only.
    FromBox,
    /// Led to (or from) a published server as DNAT does.
    Translated,
    /// Nothing in it says where it lives.
    Placed,
}

pub(super) struct Player<'p> {
    policy: &'p Policy,
    entry: &'p Entry,
    places: Places<'p>,
    nat: Nat,
    own_macs: HashSet<Mac>,
    frame: Vec<u8>,
}

impl<'p> Player<'p> {
    pub(super) fn new(policy: &'p Policy, entry: &'p Entry) -> Self {
        Self {
            policy,
            entry,
            places: Places::new(policy),
            nat: Nat::default(),
            own_macs: HashSet::new(),
            frame: Vec::new(),
        }
    }

    pub(super) fn play(&mut self, judge: &mut dyn Judge, packet: &Packet, tick: &Tick) -> anyhow::Result<Played> {
        let mut notes = Vec::new();
        if tick.behind > 0 {
            notes.push(Note::ClockBack(tick.behind));
        }
        if tick.unknown {
            notes.push(Note::NoTime);
        }
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        frame.extend_from_slice(&packet.data);
        let fits = packet.wire <= PACKET_LIMIT;
        if fits && packet.wire as usize > frame.len() {
            frame.resize(packet.wire as usize, 0);
            notes.push(Note::Padded);
        }
        let sight = Sight::of(&frame);
        let mut played = Played { reason: None, rule: None, entered: None, left: None, notes, line: sight.line() };
        if !fits {
            played.notes.push(Note::TooLarge);
            played.entered = Some(self.door(&sight));
        } else if frame.len() < ETHERNET_HEADER {
            played.reason = Some(Reason::Truncated);
            played.entered = Some(self.door(&sight));
        } else {
            if frame.len() > judge.head() {
                played.notes.push(Note::Head);
            }
            match self.entry {
                Entry::Interface(name) => {
                    played.entered = Some(name.clone());
                    let judged = judge.ingress(&frame, name, tick.now)?;
                    (played.reason, played.rule) = (Some(judged.reason), judged.rule);
                }
                Entry::Auto => self.both_ways(judge, &frame, &sight, tick.now, &mut played)?,
            }
        }
        self.frame = frame;
        Ok(played)
    }

    /// The interface of a packet that is not judged by the programs.
    fn door(&self, sight: &Sight) -> String {
        match self.entry {
            Entry::Interface(name) => name.clone(),
            Entry::Auto => self.places.entry(sight).0.interface.clone(),
        }
    }

    fn both_ways(
        &mut self,
        judge: &mut dyn Judge,
        frame: &[u8],
        sight: &Sight,
        now: u64,
        played: &mut Played,
    ) -> anyhow::Result<()> {
        let mut entering = frame.to_vec();
        let source = sight.ends.map_or(Owner::Nobody, |(src, _)| self.places.owner(src));
        let mut origin = match source {
            Owner::Net(net) => Some(net),
            _ => sight.src_mac.and_then(|mac| self.places.mac_net(mac)),
        };
        let mut address = sight.ends.map(|(src, _)| src);
        if source == Owner::Box {
            // Seen from outside, a published server speaks with the box's address.
            let Some(real) = self.nat.sender(sight) else {
                return self.boxs_own(judge, frame, sight, now, played);
            };
            translate(&mut entering, sight, End::Source, real.ip(), real.port());
            played.notes.push(Note::Translated);
            address = Some(real.ip());
            origin = match self.places.net(real.ip()) {
                Owner::Net(net) => Some(net),
                _ => None,
            };
        }
        let port = match origin {
            Some(net) => self.places.port(net, sight.tags, None).clone(),
            None => {
                played.notes.push(Note::Placed);
                self.places.any_port(sight.tags).clone()
            }
        };
        let sent_on = source == Owner::Box || sight.src_mac.is_some_and(|mac| self.own_macs.contains(&mac));
        if let (true, Some(net), Some(address)) = (sent_on, origin, address)
            && let Some(mac) = self.places.sender(address, net)
        {
            set_source_mac(&mut entering, mac);
            played.notes.push(Note::SentOn);
        }
        if self.tags_of_another_side(sight, &port) {
            retag(&mut entering, sight, &port);
            played.notes.push(Note::Retagged);
        }

        played.entered = Some(port.interface.clone());
        let entering_sight = Sight::of(&entering);
        let judged = judge.ingress(&entering, &port.interface, now)?;
        (played.reason, played.rule) = (Some(judged.reason), judged.rule);
        if judged.reason.verdict() == Verdict::Drop {
            return Ok(());
        }
        self.learn(&entering_sight, origin);
        self.way_out(judge, entering, &entering_sight, &port, judged, now, played)
    }

    /// A packet from one of the box's addresses: nothing but its way out is judged.
    fn boxs_own(
        &mut self,
        judge: &mut dyn Judge,
        frame: &[u8],
        sight: &Sight,
        now: u64,
        played: &mut Played,
    ) -> anyhow::Result<()> {
        played.notes.push(Note::FromBox);
        let net = sight.ends.and_then(|(src, dst)| {
            [self.places.owner(dst), self.places.net(src)].into_iter().find_map(|owner| match owner {
                Owner::Net(net) => Some(net),
                _ => None,
            })
        });
        let port = match net {
            Some(net) => self.places.port(net, sight.tags, None).clone(),
            None => self.places.any_port(sight.tags).clone(),
        };
        let mut leaving = frame.to_vec();
        if self.tags_of_another_side(sight, &port) {
            retag(&mut leaving, sight, &port);
            played.notes.push(Note::Retagged);
        }
        played.left = Some(port.interface.clone());
        let judged = judge.egress(&leaving, &port.interface, Origin::Box, now)?;
        (played.reason, played.rule) = (Some(judged.reason), judged.rule);
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one packet's whole circumstances, used here only")]
    fn way_out(
        &mut self,
        judge: &mut dyn Judge,
        mut frame: Vec<u8>,
        sight: &Sight,
        port: &Port,
        judged: Judged,
        now: u64,
        played: &mut Played,
    ) -> anyhow::Result<()> {
        use Reason::{Adopted, Flow, Fragment, Related, Rule};
        if !matches!(judged.reason, Adopted | Flow | Fragment | Related | Rule) {
            return Ok(());
        }
        let published =
            judged.rule.and_then(|rule| self.policy.rules.get(rule)).and_then(|rule| rule.published.as_ref());
        if let (Rule | Adopted, Some(server)) = (judged.reason, published) {
            self.nat.remember(sight, (server.address, server.port));
        }
        let Some((_, mut dst)) = sight.ends else {
            return Ok(());
        };
        if let Some(real) = self.nat.real(sight) {
            translate(&mut frame, sight, End::Destination, real.ip(), real.port());
            if real.ip() != dst {
                played.notes.push(Note::Translated);
            }
            dst = real.ip();
        } else if let Some(public) = self.nat.public(sight) {
            translate(&mut frame, sight, End::Source, public.ip(), public.port());
            if sight.ends.is_some_and(|(src, _)| src != public.ip()) && !played.notes.contains(&Note::Translated) {
                played.notes.push(Note::Translated);
            }
        }
        let Owner::Net(net) = self.places.owner(dst) else {
            return Ok(());
        };
        let out = self.places.port(net, (0, 0), Some(port)).clone();
        if sight.tag_bytes <= 8 {
            retag(&mut frame, sight, &out);
        }
        played.left = Some(out.interface.clone());
        let origin = Origin::Interface { name: &port.interface, mark: judged.mark };
        let left = judge.egress(&frame, &out.interface, origin, now)?;
        if left.reason.verdict() == Verdict::Drop {
            (played.reason, played.rule) = (Some(left.reason), left.rule);
        } else {
            played.rule = played.rule.or(left.rule);
        }
        Ok(())
    }

    /// Whoever a packet that passed is handed to on its segment, for somebody elsewhere, is the box.
    fn learn(&mut self, sight: &Sight, origin: Option<NetIndex>) {
        let (Some(mac), Some((_, dst))) = (sight.dst_mac, sight.ends) else {
            return;
        };
        let elsewhere = match self.places.owner(dst) {
            Owner::Box => true,
            Owner::Net(net) => Some(net) != origin,
            Owner::Nobody => false,
        };
        let unicast = mac.0[0] & 1 == 0;
        if elsewhere && unicast && self.places.mac_net(mac).is_none() && self.own_macs.len() < OWN_MACS {
            self.own_macs.insert(mac);
        }
    }

    /// Tags that some side uses, but not this one. Tags nobody uses are left for the programs to drop.
    fn tags_of_another_side(&self, sight: &Sight, port: &Port) -> bool {
        sight.tag_bytes <= 8 && sight.tags != (port.outer, port.inner) && self.places.tags_known(sight.tags)
    }
}
