//! What was already running when the gate is first put up: the kernel's conntrack table and the box's own sockets.
//!
//! Both are read over netlink in the network namespace of the calling thread. Whoever attaches turns them into
//! views, so that no running connection breaks.

mod conntrack;
#[cfg(test)]
mod live_test;
pub(super) mod netlink;
mod sockets;

use std::net::{IpAddr, SocketAddr};

/// Entries one dump may yield; a table beyond it is an error, so that memory stays bounded.
pub const MAX_ENTRIES: usize = 4 << 20;

/// What went wrong while reading what was already running.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call on the netlink socket failed.
    #[error("netlink: cannot {what} ({source}); run as root, with CAP_NET_ADMIN")]
    Call {
        /// What was being done.
        what: &'static str,
        /// What the kernel said.
        #[source]
        source: nix::errno::Errno,
    },
    /// The kernel refused the request.
    #[error(
        "netlink: the kernel refused to list its {table} ({source}); load the module {module}, or go on without seeding"
    )]
    Refused {
        /// Which table was asked for.
        table: &'static str,
        /// The kernel module that serves it.
        module: &'static str,
        /// What the kernel said.
        #[source]
        source: nix::errno::Errno,
    },
    /// A reply contradicts itself.
    #[error("netlink: malformed reply while listing {table}: {what}")]
    Malformed {
        /// Which table was asked for.
        table: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The dump did not end, or did not fit.
    #[error("netlink: listing {table} stopped: {what}")]
    Limit {
        /// Which table was asked for.
        table: &'static str,
        /// Which limit was met.
        what: &'static str,
    },
}

impl Error {
    /// Whether the kernel merely has no such table (module not loaded): nothing can be seeded, nothing is wrong.
    pub fn is_unavailable(&self) -> bool {
        use nix::errno::Errno;
        let source = match self {
            Self::Call { source, .. } | Self::Refused { source, .. } => *source,
            _ => return false,
        };
        matches!(source, Errno::EPROTONOSUPPORT | Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOENT)
    }
}

/// One direction of a tracked conversation, as the packets of that direction look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port; ICMP echo: the identifier; 0 for protocols without ports.
    pub sport: u16,
    /// Destination port; ICMP echo: the identifier; 0 for protocols without ports.
    pub dport: u16,
}

/// The kernel's `enum tcp_conntrack` (`nf_conntrack_tcp.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TcpState {
    /// Nothing seen yet.
    None,
    /// A SYN was seen.
    SynSent,
    /// A SYN and its answer were seen.
    SynRecv,
    /// The handshake is complete.
    Established,
    /// One side sent a FIN.
    FinWait,
    /// That FIN was acknowledged.
    CloseWait,
    /// Both sides sent a FIN.
    LastAck,
    /// Both FINs were acknowledged.
    TimeWait,
    /// A reset was seen.
    Close,
    /// Both sides sent a SYN.
    SynSent2,
    /// A number this version does not know.
    Other(u8),
}

/// One conversation the kernel tracks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConntrackEntry {
    /// IP protocol number.
    pub proto: u8,
    /// Packets of the side that spoke first, before any translation.
    pub original: Tuple,
    /// Packets of the other side, before any translation: shows NAT where it is not `original` reversed.
    pub reply: Tuple,
    /// ICMP and ICMPv6: the type of the first packet.
    pub icmp_type: Option<u8>,
    /// TCP only.
    pub tcp: Option<TcpState>,
    /// TCP window scale shifts, first speaker's and the other's; present where the handshake was seen.
    pub scale: Option<(u8, u8)>,
    /// Both sides have spoken.
    pub seen_reply: bool,
    /// Seconds until the kernel forgets it; 0 where the kernel gave none (offloaded flows).
    pub timeout: u32,
    /// Conntrack zone, 0 by default.
    pub zone: u16,
}

/// What kind of socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SocketKind {
    /// TCP, connected.
    Tcp,
    /// UDP, connected.
    Udp,
}

/// One connected socket of the box itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketEntry {
    /// TCP or UDP.
    pub kind: SocketKind,
    /// The box's end; IPv4-mapped addresses are given as IPv4.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// The kernel's TCP state number (1 established, 4 and 5 FIN wait, 8 close wait, 9 last ACK, 11 closing); UDP: 1.
    pub state: u8,
    /// Some socket of the box listens on the local port and address: the connection most likely came from outside.
    /// A conntrack entry of the same tuple knows better: its original source is who spoke first.
    pub accepted: bool,
    /// Interface the socket is bound to, 0 for none.
    pub ifindex: u32,
}

/// Every conversation the kernel tracks in this network namespace, both families.
///
/// # Errors
/// See [`Error`]; [`Error::is_unavailable`] where the kernel has no conntrack.
pub fn conntrack() -> Result<Vec<ConntrackEntry>, Error> {
    conntrack::dump()
}

/// The connected TCP and UDP sockets of this network namespace, both families.
///
/// # Errors
/// See [`Error`].
pub fn sockets() -> Result<Vec<SocketEntry>, Error> {
    sockets::dump()
}
