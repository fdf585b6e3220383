//! The town hall: the one topology that behaviour tests, the demo and `policies/municipality` agree on.
//!
//! ```text
//!  pc-017   admin-pc   stranger          lgwan-pc   biz-server          web
//!    └─────────┼──────────┘                  └────┬─────┘                │
//!           lan0 (zone office)           lan1 (zone lgwan-facing)   dmz0 (zone dmz)
//!    ┌─────────┴──────────────────────────────────┴─────────────────────┴─────┐
//!    │                            gateway (the box)                           │──ctr0  container, guarded by nobody
//!    └─────────┬──────────────────────────────────┬─────────────────────┬─────┘
//!          wan0 (internet)                   lgw0 (lgwan)          vnd0 (vendor)
//!              │                                  │                     │
//!   internet router, and behind it        lgwan router, and       vendor router, and
//!   a cloud web, a DNS, an attacker       behind it the ASP       behind it a terminal
//! ```
//!
//! | net | interface | IPv4 (box) | IPv6 (box) | box's MAC | router |
//! | --- | --- | --- | --- | --- | --- |
//! | zone `office` | `lan0` | 192.168.10.0/24 (.1) | 2001:db8:10::/64 (::1) | 02:00:00:00:10:01 | |
//! | zone `dmz` | `dmz0` | 192.168.20.0/24 (.1) | 2001:db8:20::/64 (::1) | 02:00:00:00:20:01 | |
//! | zone `lgwan-facing` | `lan1` | 192.168.30.0/24 (.1) | 2001:db8:30::/64 (::1) | 02:00:00:00:30:01 | |
//! | network `internet` (default) | `wan0` | 203.0.113.0/28 (.2) | 2001:db8:99::/64 (::2) | 02:00:00:00:99:02 | 02:00:00:00:99:01, 203.0.113.1, 2001:db8:99::1 |
//! | network `lgwan` | `lgw0` | 172.16.88.0/29 (.2) and 10.80.0.0/16 | 2001:db8:88::/64 (::2) and 2001:db8:8800::/48 | 02:00:00:00:88:02 | 02:00:00:00:88:01, 172.16.88.1, 2001:db8:88::1 |
//! | network `vendor` | `vnd0` | 172.16.77.0/29 (.2) and 10.77.0.0/24 | 2001:db8:77::/64 (::2) and 2001:db8:7700::/48 | 02:00:00:00:77:02 | 02:00:00:00:77:01, 172.16.77.1, 2001:db8:77::1 |
//! | nobody's | `ctr0` | 172.31.0.0/24 (.1) | 2001:db8:31::/64 (::1) | 02:00:00:00:31:01 | |
//!
//! The web server is published as 203.0.113.10, which the gateway has on `wan0` beside its own address: port 443
//! leads to 192.168.20.10:8443, port 80 to its port 80. Over IPv6 it is reached by its own address. What leaves by
//! `wan0` from inside is masqueraded as 203.0.113.2.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A MAC as on the wire.
pub type MacAddr = [u8; 6];

/// Everything is locally administered and says its place: `02:00:00:00:<third octet>:<host>`, as hexadecimal digits
/// that look like the decimal ones (192.168.10.17 has `02:00:00:00:10:17`).
const fn mac(place: u8, host: u8) -> MacAddr {
    [2, 0, 0, 0, place, host]
}

/// One side of the gateway.
#[derive(Debug, Clone, Copy)]
pub struct Side {
    /// Name in the policy.
    pub net: &'static str,
    /// The gateway's interface.
    pub interface: &'static str,
    /// The gateway's MAC on it.
    pub mac: MacAddr,
    /// The gateway's IPv4 address on it, with prefix length.
    pub v4: (Ipv4Addr, u8),
    /// The gateway's IPv6 address on it, with prefix length.
    pub v6: (Ipv6Addr, u8),
    /// What else is routed there, by way of the first host.
    pub routed: Routed,
}

/// Prefixes behind a side's router.
#[derive(Debug, Clone, Copy)]
pub enum Routed {
    /// None: the side is one segment.
    Nothing,
    /// These.
    Prefixes((Ipv4Addr, u8), (Ipv6Addr, u8)),
    /// Both default routes.
    Default,
}

/// A machine behind one side.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// Name of the namespace, and of the device where one is registered.
    pub name: &'static str,
    /// Where it is.
    pub side: &'static Side,
    /// Its MAC.
    pub mac: MacAddr,
    /// Its IPv4 address on the segment.
    pub v4: Ipv4Addr,
    /// Its IPv6 address on the segment.
    pub v6: Ipv6Addr,
    /// Further addresses it answers for: what is behind a router.
    pub behind: &'static [(Ipv4Addr, Ipv6Addr)],
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, d)
}
const fn v6(third: u16, last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, third, 0, 0, 0, 0, last)
}

/// Office terminals.
pub static OFFICE: Side = Side {
    net: "office",
    interface: "lan0",
    mac: mac(0x10, 0x01),
    v4: (v4(192, 168, 10, 1), 24),
    v6: (v6(0x10, 1), 64),
    routed: Routed::Nothing,
};
/// Published servers.
pub static DMZ: Side = Side {
    net: "dmz",
    interface: "dmz0",
    mac: mac(0x20, 0x01),
    v4: (v4(192, 168, 20, 1), 24),
    v6: (v6(0x20, 1), 64),
    routed: Routed::Nothing,
};
/// Terminals and servers that face LGWAN.
pub static LGWAN_FACING: Side = Side {
    net: "lgwan-facing",
    interface: "lan1",
    mac: mac(0x30, 0x01),
    v4: (v4(192, 168, 30, 1), 24),
    v6: (v6(0x30, 1), 64),
    routed: Routed::Nothing,
};
/// The Internet: the default network.
pub static INTERNET: Side = Side {
    net: "internet",
    interface: "wan0",
    mac: mac(0x99, 0x02),
    v4: (v4(203, 0, 113, 2), 28),
    v6: (v6(0x99, 2), 64),
    routed: Routed::Default,
};
/// LGWAN.
pub static LGWAN: Side = Side {
    net: "lgwan",
    interface: "lgw0",
    mac: mac(0x88, 0x02),
    v4: (v4(172, 16, 88, 2), 29),
    v6: (v6(0x88, 2), 64),
    routed: Routed::Prefixes((v4(10, 80, 0, 0), 16), (v6(0x8800, 0), 48)),
};
/// The vendor's maintenance line.
pub static VENDOR: Side = Side {
    net: "vendor",
    interface: "vnd0",
    mac: mac(0x77, 0x02),
    v4: (v4(172, 16, 77, 2), 29),
    v6: (v6(0x77, 2), 64),
    routed: Routed::Prefixes((v4(10, 77, 0, 0), 24), (v6(0x7700, 0), 48)),
};
/// A container bridge nobody guards; no policy names it.
pub static UNGUARDED: Side = Side {
    net: "",
    interface: "ctr0",
    mac: mac(0x31, 0x01),
    v4: (v4(172, 31, 0, 1), 24),
    v6: (v6(0x31, 1), 64),
    routed: Routed::Nothing,
};

/// A registered office terminal.
pub static PC_017: Host = host("pc-017", &OFFICE, 0x10, 0x17, v4(192, 168, 10, 17), v6(0x10, 0x17));
/// The administrator's terminal, registered.
pub static ADMIN_PC: Host = host("admin-pc", &OFFICE, 0x10, 0x18, v4(192, 168, 10, 18), v6(0x10, 0x18));
/// A terminal nobody registered.
pub static STRANGER: Host = host("stranger", &OFFICE, 0x10, 0x66, v4(192, 168, 10, 66), v6(0x10, 0x66));
/// The published web server.
pub static WEB: Host = host("web", &DMZ, 0x20, 0x10, v4(192, 168, 20, 10), v6(0x20, 0x10));
/// A registered terminal that uses LGWAN.
pub static LGWAN_PC: Host = host("lgwan-pc", &LGWAN_FACING, 0x30, 0x31, v4(192, 168, 30, 31), v6(0x30, 0x31));
/// The business server the vendor maintains over ssh, registered.
pub static BIZ_SERVER: Host = host("biz-server", &LGWAN_FACING, 0x30, 0x10, v4(192, 168, 30, 10), v6(0x30, 0x10));
/// The Internet: its router and everything behind it.
pub static INTERNET_ROUTER: Host = Host {
    behind: &[(CLOUD_V4, CLOUD_V6), (DNS_V4, DNS_V6), (ATTACKER_V4, ATTACKER_V6)],
    ..host("internet", &INTERNET, 0x99, 0x01, v4(203, 0, 113, 1), v6(0x99, 1))
};
/// LGWAN: its router and the application service behind it.
pub static LGWAN_ROUTER: Host =
    Host { behind: &[(ASP_V4, ASP_V6)], ..host("lgwan", &LGWAN, 0x88, 0x01, v4(172, 16, 88, 1), v6(0x88, 1)) };
/// The vendor: its router and the maintenance terminal behind it.
pub static VENDOR_ROUTER: Host = Host {
    behind: &[(VENDOR_PC_V4, VENDOR_PC_V6)],
    ..host("vendor", &VENDOR, 0x77, 0x01, v4(172, 16, 77, 1), v6(0x77, 1))
};
/// A container on the box's own unguarded bridge.
pub static CONTAINER: Host = host("container", &UNGUARDED, 0x31, 0x05, v4(172, 31, 0, 5), v6(0x31, 5));

/// Web of a cloud service on the Internet (http, https).
pub const CLOUD_V4: Ipv4Addr = v4(198, 51, 100, 5);
/// The same over IPv6.
pub const CLOUD_V6: Ipv6Addr = v6(0xc0, 5);
/// Recursive name server on the Internet.
pub const DNS_V4: Ipv4Addr = v4(198, 51, 100, 53);
/// The same over IPv6.
pub const DNS_V6: Ipv6Addr = v6(0xc0, 0x53);
/// Somebody on the Internet who is up to no good.
pub const ATTACKER_V4: Ipv4Addr = v4(198, 51, 100, 66);
/// The same over IPv6.
pub const ATTACKER_V6: Ipv6Addr = v6(0xbad, 0x66);
/// Application service on LGWAN (https).
pub const ASP_V4: Ipv4Addr = v4(10, 80, 1, 10);
/// The same over IPv6.
pub const ASP_V6: Ipv6Addr = v6(0x8800, 0x10);
/// The vendor's maintenance terminal.
pub const VENDOR_PC_V4: Ipv4Addr = v4(10, 77, 0, 20);
/// The same over IPv6.
pub const VENDOR_PC_V6: Ipv6Addr = v6(0x7700, 0x20);
/// The web server as the world knows it over IPv4.
pub const PUBLIC_WEB_V4: Ipv4Addr = v4(203, 0, 113, 10);
/// The port behind the public 443.
pub const WEB_TLS_PORT: u16 = 8443;

const fn host(name: &'static str, side: &'static Side, place: u8, last: u8, v4: Ipv4Addr, v6: Ipv6Addr) -> Host {
    Host { name, side, mac: mac(place, last), v4, v6, behind: &[] }
}
