//! Step 1: ordinary packets from addresses no rule names.
use super::*;
use crate::oracle::{
    frame::Frame,
    listed::{is_listed, ordinary_source},
};

/// From a server zone whose address no rule names, to anywhere.
fn from_dmz(src: &str, payload: &[u8], proto: u8) -> &'static str {
    Court::new().enters("dmz0", PC, &ip(src, "198.51.100.5", proto), payload)
}

#[test]
fn named_by_from_or_to_or_as_a_real_server() {
    let policy = town();
    let listed = |addr: &str| is_listed(&policy, addr.parse().unwrap());
    assert!(listed("192.168.10.200"), "its net is in `from`");
    assert!(listed("8.8.8.8"), "its net is in `to`");
    assert!(listed("203.0.113.10"), "a public address");
    assert!(listed("192.168.20.10"), "a real server");
    assert!(listed("192.168.10.1"), "the box");
    assert!(!listed("192.168.20.11"), "beside the real server");
    let mut policy = town();
    for rule in &mut policy.rules {
        rule.from.prefixes = Some(vec!["192.168.10.16/31".parse().unwrap()].into());
        rule.to.prefixes = Some(vec!["192.0.2.0/24".parse().unwrap()].into());
    }
    let listed = |addr: &str| is_listed(&policy, addr.parse().unwrap());
    assert!(listed("192.168.10.17") && !listed("192.168.10.18"));
    assert!(listed("192.0.2.1") && !listed("192.0.3.1"));
    assert!(listed("203.0.113.10"), "a public address whatever its net");
}

#[test]
fn devices_services_hours_and_ends_are_not_asked() {
    let mut policy = town();
    let past = base();
    for rule in &mut policy.rules {
        rule.from.devices = Some(Vec::new());
        rule.services = Vec::new();
        rule.until = Some(past);
    }
    assert!(is_listed(&policy, "192.168.10.18".parse().unwrap()));
}

#[test]
fn an_unlisted_source_ends_first() {
    assert_eq!(from_dmz("192.168.20.11", &syn(1, 443), 6), "unlisted");
    assert_eq!(from_dmz("192.168.20.10", &syn(1, 443), 6), "no_rule");
    assert_eq!(from_dmz("192.168.10.11", &syn(1, 443), 6), "spoofed_source");
    assert_eq!(from_dmz("192.168.20.11", &syn(0, 443), 6), "unlisted", "whatever else is wrong");
    assert_eq!(from_dmz("192.168.20.11", &udp(1, 443, 4), 17), "unlisted");
    assert_eq!(from_dmz("192.168.20.11", &[8; 20], 47), "no_rule");
    assert_eq!(from_dmz("192.168.20.11", &udp(68, 67, 4), 17), "no_rule");
    assert_eq!(from_dmz("192.168.20.11", &udp(67, 68, 4), 17), "no_rule");
    assert_eq!(from_dmz("192.168.20.11", &udp(68, 68, 4), 17), "unlisted");
    assert_eq!(from_dmz("192.168.20.11", &syn(68, 67), 6), "unlisted");
    assert_eq!(from_dmz("192.168.20.11", &udp(546, 547, 4), 17), "unlisted");
}

#[test]
fn nothing_is_asked_while_anything_is_cut() {
    let mut court = Court::new();
    court.state.cut.macs = vec![ROUTER];
    assert_eq!(court.enters("dmz0", PC, &ip("192.168.20.11", "198.51.100.5", 6), &syn(1, 443)), "no_rule");
    court.state.cut.macs.clear();
    assert_eq!(court.enters("dmz0", PC, &ip("192.168.20.11", "198.51.100.5", 6), &syn(1, 443)), "unlisted");
}

/// Whether the frame with these bytes changed in its IP header still is ordinary.
fn ordinary(packet: &Ip, payload: &[u8], change: impl Fn(&mut Vec<u8>)) -> bool {
    let mut body = packet.bytes(payload);
    change(&mut body);
    let frame = ether(BOX, PC, &port("lan0"), packet.kind(), &body);
    ordinary_source(&Frame::read(&frame).unwrap()).is_some()
}

#[test]
fn ordinary_ipv4() {
    let packet = ip("192.168.20.11", "223.255.255.255", 6);
    let is = |change: &dyn Fn(&mut Vec<u8>)| ordinary(&packet, &syn(1, 443), change);
    assert!(is(&|_| ()));
    assert!(is(&|body| body.truncate(28)) && !is(&|body| body.truncate(27)));
    assert!(!is(&|body| body[0] = 0x46) && !is(&|body| body[0] = 0x55));
    assert!(is(&|body| body[6] = 0x40), "don't fragment");
    assert!(!is(&|body| body[6] = 0x80) && !is(&|body| body[6] = 0x20));
    assert!(!is(&|body| body[6] = 0x10) && !is(&|body| body[7] = 1));
    assert!(!is(&|body| body[16] = 224));
    assert!(is(&|body| body[9] = 17) && !is(&|body| body[9] = 1) && !is(&|body| body[9] = 58));
    assert!(is(&|body| body[10] ^= 1), "the checksum is not looked at");
    assert!(is(&|body| body[2] = 0xff), "nor the length");
}

#[test]
fn ordinary_ipv6() {
    let packet = ip("2001:db8:20::1", "feff::1", 6);
    let is = |change: &dyn Fn(&mut Vec<u8>)| ordinary(&packet, &syn(1, 443), change);
    assert!(is(&|_| ()));
    assert!(is(&|body| body.truncate(48)) && !is(&|body| body.truncate(47)));
    assert!(is(&|body| body[0] = 0x6f) && !is(&|body| body[0] = 0x70));
    assert!(!is(&|body| body[24] = 0xff));
    assert!(is(&|body| body[6] = 17) && !is(&|body| body[6] = 60));
    let dhcp =
        |sport: u16, dport: u16| ordinary(&ip("2001:db8:20::1", "2001:db8::1", 17), &udp(sport, dport, 4), |_| ());
    assert!(!dhcp(546, 547) && !dhcp(547, 546) && dhcp(68, 67) && dhcp(546, 546));
}
