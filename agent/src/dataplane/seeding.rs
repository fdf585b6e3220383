//! First attachment does not break what runs: the kernel's conntrack table and the box's own sockets become views, as far
//! as the policy permits them.

use std::net::IpAddr;

use sekimori_ebpf::{
    abi::{
        NET_BOX, ROLE_BOX_IN, ROLE_BOX_OUT, ROLE_INITIATOR, ROLE_RESPONDER, STATE_ESTABLISHED, STATE_OPENING, View,
        ViewKey, proto,
    },
    decide::{
        converse::Work,
        rules::{Answer, Question},
    },
    packet::Packet,
    reason::Reason,
    tables::Tables as _,
    tcp,
};

use super::{
    maps::mapped,
    seed::{ConntrackEntry, SocketEntry, SocketKind, TcpState, Tuple},
};
use crate::compile::{host::HostTables, tables::Compiled};

/// What became of the running conversations.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Seeded {
    /// Views made.
    pub views: u64,
    /// Conversations the policy permits.
    pub permitted: u64,
    /// Conversations it does not: they end now.
    pub refused: u64,
    /// Sources that could not be read, and why.
    pub unread: Vec<String>,
}

/// Turns running conversations into views. `tables` holds the generation that is about to be enforced.
pub fn views(
    tables: &HostTables,
    compiled: &Compiled,
    conntrack: &[ConntrackEntry],
    sockets: &[SocketEntry],
    now: u64,
) -> (Vec<(ViewKey, View)>, Seeded) {
    let mut seeding = Seeding { tables, compiled, now, made: Vec::new(), seeded: Seeded::default() };
    for entry in conntrack {
        seeding.conntrack(entry);
    }
    for socket in sockets {
        seeding.socket(socket);
    }
    seeding.seeded.views = seeding.made.len() as u64;
    (seeding.made, seeding.seeded)
}

struct Seeding<'a> {
    tables: &'a HostTables,
    compiled: &'a Compiled,
    now: u64,
    made: Vec<(ViewKey, View)>,
    seeded: Seeded,
}

/// A conversation as one side sees it: who is beyond the interface, who is on the box's side.
struct Ends {
    proto: u8,
    peer: IpAddr,
    far: IpAddr,
    peer_port: u16,
    far_port: u16,
}

impl Seeding<'_> {
    fn owner(&self, addr: IpAddr) -> u16 {
        let entry = self.tables.addr(self.tables.active(), &mapped(addr));
        // SAFETY: the table vouches for entries that are not null while it is not changed, and it is not.
        if entry.is_null() { 0 } else { unsafe { (*entry).owner } }
    }

    /// Asks the rules about a conversation that `from` opened.
    fn judge(&self, from: u16, protocol: u8, tuple: &Tuple) -> Option<Answer> {
        let generation = self.tables.active();
        let port = match protocol {
            proto::ICMP => 8 << 8,
            proto::ICMPV6 => 128 << 8,
            _ => tuple.dport,
        };
        let device = if from == NET_BOX { 0 } else { self.tables.binding(generation, &mapped(tuple.src)) };
        let question = Question {
            now: self.now,
            src: mapped(tuple.src),
            dst: mapped(tuple.dst),
            generation,
            device,
            from,
            port,
            proto: protocol,
            quarantined: 0,
            pad: [0; 2],
        };
        let mut work = Work { question, ..Work::default() };
        self.tables.judge(&mut work);
        (work.answer.reason == Reason::Rule as u32).then_some(work.answer)
    }

    fn conntrack(&mut self, entry: &ConntrackEntry) {
        let over = entry
            .tcp
            .is_some_and(|state| !matches!(state, TcpState::Established | TcpState::FinWait | TcpState::CloseWait));
        if over || entry.zone != 0 {
            return;
        }
        let original = &entry.original;
        let from = self.owner(original.src);
        let Some(answer) = self.judge(from, entry.proto, original) else {
            self.seeded.refused += 1;
            return;
        };
        self.seeded.permitted += 1;
        let answered = entry.seen_reply || entry.tcp.is_some();
        let inner = Ends {
            proto: entry.proto,
            peer: original.src,
            far: original.dst,
            peer_port: original.sport,
            far_port: original.dport,
        };
        // The reply's tuple is the conversation as it looks beyond the translation.
        let outer = Ends {
            proto: entry.proto,
            peer: entry.reply.src,
            far: entry.reply.dst,
            peer_port: entry.reply.sport,
            far_port: entry.reply.dport,
        };
        if from == NET_BOX {
            self.make(answer.net, ROLE_BOX_OUT, &outer, &answer, answered);
        } else if answer.net == NET_BOX {
            self.make(from, ROLE_BOX_IN, &inner, &answer, answered);
        } else {
            self.make(from, ROLE_INITIATOR, &inner, &answer, answered);
            self.make(answer.net, ROLE_RESPONDER, &outer, &answer, answered);
        }
    }

    fn socket(&mut self, socket: &SocketEntry) {
        let protocol = match socket.kind {
            SocketKind::Tcp => proto::TCP,
            SocketKind::Udp => proto::UDP,
        };
        let (local, remote) = (socket.local, socket.remote);
        if local.ip().is_loopback() || remote.ip().is_loopback() || local.ip() == remote.ip() {
            return;
        }
        let ends = Ends {
            proto: protocol,
            peer: remote.ip(),
            far: local.ip(),
            peer_port: remote.port(),
            far_port: local.port(),
        };
        let inwards = Tuple { src: remote.ip(), dst: local.ip(), sport: remote.port(), dport: local.port() };
        let outwards = Tuple { src: local.ip(), dst: remote.ip(), sport: local.port(), dport: remote.port() };
        let from = self.owner(remote.ip());
        if let Some(answer) = self.judge(from, protocol, &inwards).filter(|answer| answer.net == NET_BOX) {
            self.seeded.permitted += 1;
            self.make(from, ROLE_BOX_IN, &ends, &answer, true);
        } else if let Some(answer) = self.judge(NET_BOX, protocol, &outwards) {
            self.seeded.permitted += 1;
            self.make(answer.net, ROLE_BOX_OUT, &ends, &answer, true);
        } else {
            self.seeded.refused += 1;
        }
    }

    /// One view at every port of the net: which of them the packets use is the routing's business.
    fn make(&mut self, net: u16, role: u8, ends: &Ends, answer: &Answer, answered: bool) {
        let echo = ends.proto == proto::ICMP || ends.proto == proto::ICMPV6;
        for (port, _) in self.compiled.ports.iter().filter(|(_, owner)| *owner == net) {
            let key = ViewKey {
                peer: mapped(ends.peer),
                far: mapped(ends.far),
                peer_port: ends.peer_port,
                // An echo's identifier stands for both ports.
                far_port: if echo { ends.peer_port } else { ends.far_port },
                iface: port.iface,
                outer: port.outer,
                inner: port.inner,
                proto: ends.proto,
                pad: 0,
            };
            let mut view = View {
                seen: self.now,
                opened: self.now,
                deadline: answer.deadline,
                generation: self.tables.active(),
                device: 0,
                rule: answer.rule,
                slot: answer.slot,
                net: answer.net,
                role,
                state: if answered { STATE_ESTABLISHED } else { STATE_OPENING },
                ..View::default()
            };
            if ends.proto == proto::TCP {
                // No window is known: none is enforced until the conversation ends.
                tcp::adopt(&mut view, &Packet::default(), 0);
            }
            self.made.push((key, view));
        }
    }
}
