//! What DNAT would do for published servers, so that conversations in a capture find their flows.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use super::sight::{Sight, TCP, UDP};

/// Conversations remembered; beyond it all are forgotten, so that memory stays bounded.
const LIMIT: usize = 262_144;

/// One translated conversation as seen from one side: protocol, client, server.
type Key = (u8, SocketAddr, SocketAddr);

/// Translations in force.
#[derive(Debug, Default)]
pub(super) struct Nat {
    to_real: HashMap<Key, SocketAddr>,
    to_public: HashMap<Key, SocketAddr>,
}

impl Nat {
    /// A conversation with a published server has opened.
    pub(super) fn remember(&mut self, sight: &Sight, real: (IpAddr, Option<u16>)) {
        let Some((proto, client, public)) = ends(sight) else {
            return;
        };
        if self.to_real.len() >= LIMIT {
            self.to_real.clear();
            self.to_public.clear();
        }
        let real = SocketAddr::new(real.0, real.1.unwrap_or(public.port()));
        self.to_real.insert((proto, client, public), real);
        self.to_public.insert((proto, client, real), public);
    }

    /// A client's packet: where it is led.
    pub(super) fn real(&self, sight: &Sight) -> Option<SocketAddr> {
        let (proto, client, public) = ends(sight)?;
        self.to_real.get(&(proto, client, public)).copied()
    }

    /// A server's packet on its way in: whom the client believes it comes from.
    pub(super) fn public(&self, sight: &Sight) -> Option<SocketAddr> {
        let (proto, real, client) = ends(sight)?;
        self.to_public.get(&(proto, client, real)).copied()
    }

    /// A packet from a public address, captured outside: which server sent it.
    pub(super) fn sender(&self, sight: &Sight) -> Option<SocketAddr> {
        let (proto, public, client) = ends(sight)?;
        self.to_real.get(&(proto, client, public)).copied()
    }
}

/// Protocol, source and destination of a whole TCP or UDP packet.
fn ends(sight: &Sight) -> Option<Key> {
    let proto = sight.proto.filter(|proto| matches!(*proto, TCP | UDP))?;
    let (src, dst) = sight.ends?;
    let (sport, dport) = sight.ports.filter(|_| !sight.fragment)?;
    Some((proto, SocketAddr::new(src, sport), SocketAddr::new(dst, dport)))
}
