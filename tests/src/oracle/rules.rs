//! Which rule permits a conversation ("Rules").

use std::net::IpAddr;

use jiff::Timestamp;
use sekimori::policy::model::{Party, Place, Policy, Rule, Service};
use sekimori_ebpf::reason::Reason;

use super::{
    hours::{self, Open},
    identity::owner,
    ip::Packet,
    transport::Transport,
};

/// What a conversation wants, as services name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// TCP destination port.
    Tcp(u16),
    /// UDP destination port.
    Udp(u16),
    /// ICMP type and code.
    Icmp(u8, u8),
    /// ICMPv6 type and code.
    Icmpv6(u8, u8),
    /// IP protocol.
    Protocol(u8),
}

impl What {
    /// What this packet asks for.
    pub fn of(packet: &Packet, transport: &Transport) -> Self {
        match transport {
            Transport::Tcp(tcp) => Self::Tcp(tcp.dport),
            Transport::Udp { dport, .. } => Self::Udp(*dport),
            Transport::Icmp { kind, code, .. } if packet.is_v6() => Self::Icmpv6(*kind, *code),
            Transport::Icmp { kind, code, .. } => Self::Icmp(*kind, *code),
            Transport::Other | Transport::Unread => Self::Protocol(packet.proto),
        }
    }

    /// Whether the service names it.
    pub fn is_in(self, service: &Service) -> bool {
        match (self, service) {
            (Self::Tcp(port), Service::Tcp(low, high)) | (Self::Udp(port), Service::Udp(low, high)) => {
                (*low..=*high).contains(&port)
            }
            (Self::Icmp(kind, code), Service::Icmp(named, codes))
            | (Self::Icmpv6(kind, code), Service::Icmpv6(named, codes)) => {
                kind == *named && codes.is_none_or(|named| named == code)
            }
            (Self::Protocol(number), Service::Protocol(named)) => number == *named,
            _ => false,
        }
    }
}

/// A conversation in question.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// Where it comes from.
    pub from: Place,
    /// Initiator.
    pub src: IpAddr,
    /// The other end, before any translation.
    pub dst: IpAddr,
    /// Initiator's device.
    pub device: Option<usize>,
    /// Service asked for.
    pub what: What,
    /// Of a host in quarantine.
    pub quarantined: bool,
}

/// A permission found.
#[derive(Debug, Clone)]
pub struct Permit {
    /// Rule id.
    pub rule: String,
    /// Its position.
    pub number: usize,
    /// Where the packet must leave.
    pub net: Place,
    /// When it ends.
    pub deadline: Option<Timestamp>,
}

/// First matching rule that is open, or why there is none.
pub fn permit(policy: &Policy, question: &Question, now: Timestamp) -> Result<Permit, Reason> {
    let mut reason = if question.quarantined { Reason::Quarantined } else { Reason::NoRule };
    let holds = |rule: &Rule| !question.quarantined || rule.quarantined;
    let matching = policy.rules.iter().enumerate().filter(|(_, rule)| holds(rule) && matches(policy, rule, question));
    for (number, rule) in matching {
        let window = match hours::open(policy, rule, now) {
            Open::Closed => {
                if !question.quarantined {
                    reason = Reason::RuleClosed;
                }
                continue;
            }
            Open::Always => None,
            Open::Until(end) => Some(end),
        };
        let net = match &rule.published {
            Some(published) => Place::Net(published.net),
            None => owner(policy, question.dst).ok_or(Reason::NoRule)?,
        };
        let registered = question.device.and_then(|device| policy.devices[device].until);
        let deadline = [window, registered].into_iter().flatten().min();
        return Ok(Permit { rule: rule.id.clone(), number, net, deadline });
    }
    Err(reason)
}

fn matches(policy: &Policy, rule: &Rule, question: &Question) -> bool {
    let device_fits = match &rule.from.devices {
        None => true,
        Some(named) => question.device.is_some_and(|device| named.contains(&device)),
    };
    let to_fits = match &rule.published {
        Some(_) => true,
        None => owner(policy, question.dst).is_some_and(|place| rule.to.place.contains(&place)),
    };
    rule.from.place.contains(&question.from)
        && within(&rule.from, question.src)
        && device_fits
        && to_fits
        && within(&rule.to, question.dst)
        && rule.services.iter().any(|service| question.what.is_in(service))
}

fn within(party: &Party, addr: IpAddr) -> bool {
    match &party.prefixes {
        None => true,
        Some(prefixes) => prefixes.iter().any(|prefix| prefix.contains(&addr)),
    }
}
