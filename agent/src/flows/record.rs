//! One record: a conversation, or refused packets that have everything in common.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use sekimori_ebpf::{abi::proto, reason::Reason};

/// An address in its 16-byte form, IPv4 as `::ffff:a.b.c.d`.
pub type Addr = [u8; 16];

/// How far a record tells its story.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A conversation was found; its end is not known yet.
    Began = 0,
    /// One that was recorded before still goes on.
    GoesOn = 1,
    /// One that was recorded before is over.
    Ended = 2,
    /// A conversation from its beginning to its end.
    Whole = 3,
    /// Refused packets.
    Refused = 4,
    /// Refused packets that were counted and are attributed to nobody.
    Others = 5,
}

impl Kind {
    /// The kind with this number.
    pub const fn of(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Began,
            1 => Self::GoesOn,
            2 => Self::Ended,
            3 => Self::Whole,
            4 => Self::Refused,
            5 => Self::Others,
            _ => return None,
        })
    }

    /// Of something that passed.
    pub const fn passed(self) -> bool {
        matches!(self, Self::Began | Self::GoesOn | Self::Ended | Self::Whole)
    }

    /// Nothing about it comes later.
    pub const fn over(self) -> bool {
        matches!(self, Self::Ended | Self::Whole)
    }

    /// Of one conversation: what an earlier and a later record say together.
    const fn then(self, later: Self) -> Self {
        match (self, later) {
            (Self::Began, Self::Ended) => Self::Whole,
            (Self::Began, Self::GoesOn) => Self::Began,
            (_, later) => later,
        }
    }
}

/// See the module documentation. Names are those in force when the record was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// How far it goes.
    pub kind: Kind,
    /// First packet, milliseconds of Unix time.
    pub first: i64,
    /// Last packet: whole seconds after `first`.
    pub last: i64,
    /// Who sent the first packet; zero if nobody is named.
    pub host: Addr,
    /// Its port; of ICMP echo, the identifier; 0 for refused packets.
    pub host_port: u16,
    /// Whom it was sent to, as the sender addressed it.
    pub peer: Addr,
    /// The port asked for, 0 where there is none.
    pub peer_port: u16,
    /// IP protocol.
    pub proto: u8,
    /// Zone or network in which `host` is.
    pub zone: Arc<str>,
    /// Zone or network the conversation was judged for; empty if not known.
    pub network: Arc<str>,
    /// Interface the first packet came in by; empty for the box's own and for refused packets.
    pub interface: Arc<str>,
    /// VLAN id there, 0 for none.
    pub vlan: u16,
    /// Registered device of `host`; empty for none.
    pub device: Arc<str>,
    /// The rule that permitted it, or that would have; empty for none.
    pub rule: Arc<str>,
    /// Why, as [`Reason`] numbers them.
    pub reason: u8,
    /// Refused on the way out (a conversation is judged where it comes in).
    pub outwards: bool,
    /// The other side answered.
    pub answered: bool,
    /// Refused packets; 1 for a conversation.
    pub count: u64,
}

impl Record {
    /// `last`, a whole number of seconds after `first` and not before it.
    pub fn rounded(first: i64, last: i64) -> i64 {
        first + last.saturating_sub(first).max(0) / 1000 * 1000
    }

    /// Records with the same identity tell of the same conversation, or of the same refused packets.
    pub fn identity(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.first, self.host, self.host_port, self.peer, self.peer_port, self.proto).hash(&mut hasher);
        (self.kind.passed(), self.vlan, &self.interface).hash(&mut hasher);
        if !self.kind.passed() {
            (self.kind, self.reason, self.outwards, &self.zone, &self.network, &self.rule).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Takes over what a later record of the same identity says.
    pub fn merge(&mut self, later: Self) {
        let (kind, answered) = (self.kind.then(later.kind), self.answered || later.answered);
        *self = Self { kind, answered, ..later };
    }
}

/// Name of a protocol, or its number.
pub fn protocol(number: u8) -> String {
    match number {
        proto::ICMP => "icmp".into(),
        proto::TCP => "tcp".into(),
        proto::UDP => "udp".into(),
        proto::ICMPV6 => "icmpv6".into(),
        other => other.to_string(),
    }
}

/// The protocol with this name or number.
pub fn protocol_number(text: &str) -> Option<u8> {
    Some(match text {
        "icmp" => proto::ICMP,
        "tcp" => proto::TCP,
        "udp" => proto::UDP,
        "icmpv6" => proto::ICMPV6,
        number => number.parse().ok()?,
    })
}

/// The stable name of a reason.
pub fn reason(number: u8) -> String {
    Reason::from_number(u32::from(number)).map_or_else(|| format!("reason-{number}"), |reason| reason.code().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::testing::Day;

    #[test]
    fn what_two_records_say_together_is_one_conversation() {
        let began = Record { kind: Kind::Began, answered: false, ..Day::new(7).conversation() };
        let later = |kind| Record { kind, last: began.first + 60_000, ..began.clone() };
        let mut record = began.clone();
        record.merge(later(Kind::GoesOn));
        assert_eq!((record.kind, record.last), (Kind::Began, began.first + 60_000));
        record.merge(Record { answered: true, ..later(Kind::Ended) });
        assert_eq!((record.kind, record.answered), (Kind::Whole, true));
        let mut second = later(Kind::GoesOn);
        second.merge(later(Kind::Ended));
        assert_eq!(second.kind, Kind::Ended);
        assert_eq!(second.identity(), began.identity());
        assert_ne!(second.identity(), Record { first: began.first + 1, ..began }.identity());
    }

    #[test]
    fn the_last_packet_is_whole_seconds_after_the_first() {
        assert_eq!(Record::rounded(1_500, 3_400), 2_500);
        assert_eq!(Record::rounded(1_500, 900), 1_500);
    }
}
