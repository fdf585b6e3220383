//! ARP, neighbour discovery, DHCP, VRRP, identity, cut-off.
use super::*;
use crate::oracle::{
    generate::build::{arp, icmp},
    state::Management,
};

const OTHER: Mac = Mac([2, 0, 0, 0, 0x10, 0x18]);

fn ask(court: &mut Court, mac: Mac, said: Mac, sender: [u8; 4], operation: u16) -> &'static str {
    let body = arp(operation, (said, sender), (Mac([0; 6]), [192, 168, 10, 1]));
    court.raw_in("lan0", ether(Mac([255; 6]), mac, &port("lan0"), 0x0806, &body))
}

#[test]
fn arp_within_bindings() {
    let mut court = Court::new();
    assert_eq!(ask(&mut court, PC, PC, [192, 168, 10, 17], 1), "builtin");
    assert_eq!(ask(&mut court, PC, PC, [0; 4], 1), "builtin");
    assert_eq!(ask(&mut court, PC, PC, [0; 4], 2), "arp");
    assert_eq!(ask(&mut court, PC, OTHER, [192, 168, 10, 17], 1), "arp");
    assert_eq!(ask(&mut court, PC, PC, [192, 168, 10, 17], 3), "arp");
    assert_eq!(ask(&mut court, OTHER, OTHER, [192, 168, 10, 17], 1), "mac_mismatch");
    assert_eq!(ask(&mut court, PC, PC, [192, 168, 10, 1], 2), "own_address");
    assert_eq!(ask(&mut court, PC, PC, [192, 168, 20, 1], 2), "spoofed_source");
    court.policy.builtin.arp = false;
    assert_eq!(ask(&mut court, PC, PC, [192, 168, 10, 17], 1), "unknown_ethertype");
}

fn neighbour(court: &mut Court, interface: &str, mac: Mac, src: &str, kind: u8, target: &str) -> &'static str {
    let mut ip = ip(src, "ff02::1", 58);
    ip.ttl = 255;
    let target: std::net::Ipv6Addr = target.parse().unwrap();
    court.enters(interface, mac, &ip, &icmp(kind, 0, [0; 4], &target.octets()))
}

#[test]
fn neighbour_discovery_within_bindings() {
    let mut court = Court::new();
    assert_eq!(neighbour(&mut court, "lan0", PC, "2001:db8:10::17", 135, "2001:db8:10::1"), "builtin");
    assert_eq!(neighbour(&mut court, "lan0", PC, "::", 135, "2001:db8:10::1"), "builtin");
    assert_eq!(neighbour(&mut court, "lan0", PC, "::", 136, "2001:db8:10::1"), "ndp");
    assert_eq!(neighbour(&mut court, "lan0", OTHER, "fe80::1", 136, "2001:db8:10::17"), "mac_mismatch");
    assert_eq!(neighbour(&mut court, "lan0", PC, "2600::1", 135, "2001:db8:10::1"), "ndp");
    assert_eq!(neighbour(&mut court, "lan0", PC, "fe80::1", 135, "2600::1"), "builtin");
    assert_eq!(neighbour(&mut court, "lan0", PC, "fe80::1", 135, "ff02::1"), "ndp");
    assert_eq!(neighbour(&mut court, "lan0", PC, "fe80::1", 136, "2600::1"), "ndp");
    assert_eq!(neighbour(&mut court, "lan0", PC, "fe80::1", 133, "::"), "builtin");
    assert_eq!(neighbour(&mut court, "wan0", ROUTER, "fe80::1", 133, "::"), "ndp");
    assert_eq!(neighbour(&mut court, "wan0", ROUTER, "fe80::1", 134, "::"), "ndp");
    court.policy.nets[1].builtin.ra_client = true;
    assert_eq!(neighbour(&mut court, "wan0", ROUTER, "fe80::1", 134, "::"), "builtin");
    assert_eq!(neighbour(&mut court, "wan0", OTHER, "fe80::1", 134, "::"), "ndp");
    court.policy.builtin.ndp = false;
    assert_eq!(neighbour(&mut court, "lan0", PC, "::", 135, "2001:db8:10::1"), "ndp");
    let mut near = ip("fe80::1", "fe80::2", 58);
    near.ttl = 254;
    court.policy.builtin.ndp = true;
    assert_eq!(court.pc_sends(&near, &icmp(135, 0, [0; 4], &[0xfe; 16])), "ndp");
}

#[test]
fn multicast_listeners() {
    let mut court = Court::new();
    let report = icmp(143, 0, [0; 4], &[0; 16]);
    let mld = ip("fe80::1", "ff02::16", 58);
    assert_eq!(court.pc_sends(&mld, &report), "builtin");
    assert_eq!(court.internet_sends(&mld, &report), "multicast");
    assert_eq!(court.pc_sends(&ip("192.168.10.17", "224.0.0.22", 2), &[0x22; 8]), "builtin");
    court.policy.builtin.mld = false;
    assert_eq!(court.pc_sends(&mld, &report), "multicast");
}

#[test]
fn dhcp_and_vrrp() {
    let mut court = Court::new();
    court.policy.nets[0].builtin.dhcp_server = true;
    court.policy.nets[1].builtin.dhcp_client = true;
    assert_eq!(court.pc_sends(&ip("0.0.0.0", "255.255.255.255", 17), &udp(68, 67, 9)), "builtin");
    assert_eq!(court.pc_sends(&ip("192.168.10.17", "192.168.10.1", 17), &udp(68, 67, 9)), "builtin");
    assert_eq!(court.pc_sends(&ip("192.168.10.17", "8.8.8.8", 17), &udp(68, 67, 9)), "no_rule");
    assert_eq!(court.pc_sends(&ip("fe80::1", "ff02::1:2", 17), &udp(546, 547, 9)), "builtin");
    assert_eq!(court.internet_sends(&ip("203.0.113.1", "203.0.113.2", 17), &udp(67, 68, 9)), "builtin");
    assert_eq!(court.enters("wan0", OTHER, &ip("203.0.113.1", "203.0.113.2", 17), &udp(67, 68, 9)), "unknown_router");
    let mut peer = ip("203.0.113.1", "224.0.0.18", 112);
    peer.ttl = 255;
    assert_eq!(court.internet_sends(&peer, &[0x31; 12]), "multicast");
    court.policy.builtin.vrrp = true;
    assert_eq!(court.internet_sends(&peer, &[0x31; 12]), "builtin");
    peer.ttl = 64;
    assert_eq!(court.internet_sends(&peer, &[0x31; 12]), "multicast");
}

#[test]
fn identity_of_devices_and_routers() {
    let mut court = Court::new();
    let web = datagram();
    let mut speak = |mode: DeviceMode, mac: Mac, src: &str| {
        court.policy.nets[0].kind = NetKind::Zone { devices: mode };
        court.state = OracleState::default();
        court.enters("lan0", mac, &ip(src, "198.51.100.5", 17), &web)
    };
    use DeviceMode::{Any, Known, Registered};
    assert_eq!(speak(Registered, PC, "192.168.10.17"), "rule");
    assert_eq!(speak(Registered, PC, "192.168.10.18"), "mac_mismatch");
    assert_eq!(speak(Known, PC, "192.168.10.18"), "rule");
    assert_eq!(speak(Any, OTHER, "192.168.10.17"), "mac_mismatch");
    assert_eq!(speak(Any, OTHER, "192.168.10.18"), "rule");
    assert_eq!(speak(Known, OTHER, "192.168.10.18"), "unknown_device");
    assert_eq!(speak(Any, OTHER, "192.168.10.1"), "own_address");
    assert_eq!(speak(Any, OTHER, "192.168.20.1"), "spoofed_source");
    assert_eq!(speak(Any, OTHER, "8.8.8.8"), "spoofed_source");
    court.policy.devices[0].until = Some(court.now);
    for (mode, reason) in [(Registered, "device_expired"), (Known, "device_expired"), (Any, "rule")] {
        court.policy.nets[0].kind = NetKind::Zone { devices: mode };
        court.state = OracleState::default();
        assert_eq!(court.enters("lan0", PC, &ip("192.168.10.17", "198.51.100.5", 17), &web), reason);
    }
    court.policy.nets[0].kind = NetKind::Zone { devices: Registered };
    court.policy.nets[0].routers = vec![OTHER];
    assert_eq!(court.enters("lan0", OTHER, &ip("192.168.10.99", "198.51.100.5", 17), &web), "rule");
    assert_eq!(court.enters("lan0", OTHER, &ip("192.168.10.17", "198.51.100.5", 17), &web), "device_expired");
}

#[test]
fn cut_off_beats_everything_but_management() {
    let mut court = Court::new();
    let login = (ip("192.168.10.17", "192.168.10.1", 6), syn(50_000, 22));
    let source = "192.168.10.0/24".parse().unwrap();
    court.state.management = vec![Management { interface: "lan0".into(), source, port: 22 }];
    court.state.cut.all = 1;
    let (to_web, bytes) = pc_to_web();
    assert_eq!(court.pc_sends(&to_web, &bytes), "cut_all");
    // Whoever may log in may look for the box.
    assert_eq!(ask(&mut court, PC, PC, [192, 168, 10, 17], 1), "management");
    assert_eq!(court.pc_sends(&login.0, &login.1), "management");
    court.state.management[0].source = "192.168.10.99/32".parse().unwrap();
    assert_eq!(ask(&mut court, PC, PC, [192, 168, 10, 17], 1), "cut_all");
    assert_eq!(court.pc_sends(&login.0, &login.1), "cut_all");
    court.state.management[0].source = source;
    court.state.cut.all = 2;
    assert_eq!(ask(&mut court, PC, PC, [192, 168, 10, 17], 1), "cut_all");
    assert_eq!(court.pc_sends(&login.0, &login.1), "cut_all");
    court.state.cut.all = 0;
    court.state.cut.nets = vec![0];
    assert_eq!(court.pc_sends(&to_web, &bytes), "cut_network");
    court.state.cut.nets = vec![1];
    assert_eq!(court.pc_sends(&to_web, &bytes), "rule");
    assert_eq!(court.leaves("wan0", &to_web, &bytes), "cut_network");
    court.state.cut.nets.clear();
    court.state.cut.prefixes = vec!["198.51.100.0/24".parse().unwrap()];
    assert_eq!(court.pc_sends(&to_web, &bytes), "cut_host");
    court.state.cut.prefixes.clear();
    court.state.cut.macs = vec![PC];
    assert_eq!(court.pc_sends(&to_web, &bytes), "cut_host");
}
