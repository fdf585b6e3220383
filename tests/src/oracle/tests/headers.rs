//! Steps 1 to 7.
use super::*;

#[test]
fn a_sound_packet_passes() {
    let (ip, bytes) = pc_to_web();
    assert_eq!(Court::new().pc_sends(&ip, &bytes), "rule");
}

#[test]
fn interface_and_tags() {
    let mut court = Court::new();
    let (ip, bytes) = pc_to_web();
    let tagged = |outer: u16, inner: u16| {
        ether(BOX, PC, &Port { interface: "lan0".into(), outer, inner }, 0x0800, &ip.bytes(&bytes))
    };
    assert_eq!(court.raw_in("eth9", tagged(0, 0)), "unknown_interface");
    assert_eq!(court.raw_in("lan0", tagged(0, 0)[..13].to_vec()), "truncated");
    assert_eq!(court.raw_in("lan0", tagged(10, 0)), "rule");
    assert_eq!(court.raw_in("lan0", tagged(11, 0)), "unknown_vlan");
    assert_eq!(court.raw_in("lan0", tagged(10, 0)[..17].to_vec()), "truncated");
    let mut group = tagged(0, 0);
    group[6] |= 1;
    assert_eq!(court.raw_in("lan0", group), "bad_source_mac");
    let mut zero = tagged(0, 0);
    zero[6..12].fill(0);
    assert_eq!(court.raw_in("lan0", zero), "bad_source_mac");
    let mut deep = tagged(10, 20);
    deep.splice(12..12, [0x81, 0, 0, 0]);
    assert_eq!(court.raw_in("lan0", deep), "vlan_too_deep");
    let mut priority = tagged(10, 0);
    priority.splice(12..12, [0x81, 0, 0xe0, 0]);
    assert_eq!(court.raw_in("lan0", priority), "flow", "a tag with id 0 is no tag");
}

#[test]
fn bridge_control_and_ethertypes() {
    let mut court = Court::new();
    let control = |to: Mac, kind: u16| ether(to, PC, &port("lan0"), kind, &[0; 46]);
    let bridges = Mac([1, 0x80, 0xc2, 0, 0, 0]);
    assert_eq!(court.raw_in("lan0", control(bridges, 0x26)), "l2_control");
    assert_eq!(court.raw_in("lan0", control(BOX, 0x26)), "unknown_ethertype");
    assert_eq!(court.raw_in("lan0", control(BOX, 0x8809)), "l2_control");
    assert_eq!(court.raw_in("lan0", control(BOX, 0x88cc)), "builtin");
    assert_eq!(court.raw_in("lan0", control(BOX, 0x8863)), "unknown_ethertype");
}

#[test]
fn ipv4_headers() {
    let sound = || ether(BOX, PC, &port("lan0"), 0x0800, &pc_to_web().0.bytes(&syn(40_000, 443)));
    let judge = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = sound();
        change(&mut frame);
        Court::new().raw_in("lan0", frame)
    };
    assert_eq!(judge(&|_| {}), "rule");
    assert_eq!(judge(&|frame| frame.extend([0; 6])), "rule", "padding is not the packet");
    assert_eq!(judge(&|frame| frame.truncate(33)), "truncated");
    assert_eq!(judge(&|frame| frame.truncate(53)), "ipv4_header");
    assert_eq!(judge(&|frame| frame[24] ^= 1), "ipv4_header");
    assert_eq!(judge(&|frame| frame[14] = 0x55), "ipv4_header");
    let mut court = Court::new();
    let (mut options, bytes) = pc_to_web();
    options.options = vec![1, 1, 1, 1];
    assert_eq!(court.pc_sends(&options, &bytes), "ipv4_options");
    let (mut reserved, bytes) = pc_to_web();
    reserved.fragment = 0x8000;
    assert_eq!(court.pc_sends(&reserved, &bytes), "ipv4_header");
}

#[test]
fn ipv6_headers_and_extensions() {
    let six = || ip("2001:db8:10::17", "2600::1", 17);
    let with = |extensions: &[(u8, Vec<u8>)]| {
        let mut ip = six();
        ip.extensions = extensions.to_vec();
        Court::new().pc_sends(&ip, &datagram())
    };
    let options = (60u8, vec![0, 1, 4, 0, 0, 0, 0]);
    let hop = (0u8, vec![0, 1, 4, 0, 0, 0, 0]);
    assert_eq!(with(&[]), "rule");
    assert_eq!(with(&[hop.clone(), options.clone(), (44, vec![0; 7]), options.clone()]), "rule");
    assert_eq!(with(&[options.clone(), hop.clone()]), "ipv6_extension");
    assert_eq!(with(&[options.clone(), options.clone(), options.clone()]), "ipv6_extension");
    assert_eq!(with(&[(43, vec![0, 0, 0, 0, 0, 0, 0])]), "ipv6_extension");
    assert_eq!(with(&[(51, vec![0; 7])]), "ipv6_extension");
    assert_eq!(with(&[(44, vec![0; 7]), (44, vec![0; 7])]), "fragment_nested");
    assert_eq!(with(&[(60, vec![40, 1, 4, 0, 0, 0, 0])]), "ipv6_extension");
    let mut nothing = six();
    nothing.proto = 59;
    assert_eq!(Court::new().pc_sends(&nothing, &[]), "ipv6_extension");
    let frame = ether(BOX, PC, &port("lan0"), 0x86dd, &six().bytes(&datagram()));
    assert_eq!(Court::new().raw_in("lan0", frame[..14 + 39].to_vec()), "truncated");
    assert_eq!(Court::new().raw_in("lan0", frame[..14 + 45].to_vec()), "ipv6_header");
    let mut jumbo = ether(BOX, PC, &port("lan0"), 0x86dd, &six().bytes(&datagram()));
    jumbo[18..21].copy_from_slice(&[0, 0, 0]);
    assert_eq!(Court::new().raw_in("lan0", jumbo), "ipv6_header");
}

#[test]
fn martians_and_land() {
    let judge = |src: &str, dst: &str| Court::new().pc_sends(&ip(src, dst, 17), &datagram());
    for (src, dst) in [
        ("0.0.0.0", "198.51.100.5"),
        ("127.0.0.1", "198.51.100.5"),
        ("192.168.10.17", "127.0.0.1"),
        ("192.168.10.17", "240.0.0.1"),
        ("255.255.255.255", "198.51.100.5"),
        ("224.0.0.1", "198.51.100.5"),
        ("169.254.1.1", "198.51.100.5"),
        ("192.168.10.17", "169.254.1.1"),
        ("::", "2600::1"),
        ("::1", "2600::1"),
        ("::ffff:1.2.3.4", "2600::1"),
        ("::1.2.3.4", "2600::1"),
        ("2001:db8:10::17", "2002::1"),
        ("2001:db8:10::17", "64:ff9b::1"),
        ("2001:db8:10::17", "fec0::1"),
        ("fe80::1", "2600::1"),
        ("ff02::1", "2600::1"),
    ] {
        assert_eq!(judge(src, dst), "martian", "{src} > {dst}");
    }
    assert_eq!(judge("192.168.10.17", "192.168.10.17"), "land");
    assert_eq!(judge("192.168.10.17", "255.255.255.255"), "multicast");
    assert_eq!(judge("192.168.10.17", "192.168.10.255"), "multicast");
    assert_eq!(judge("192.168.10.17", "203.0.113.255"), "multicast");
    assert_eq!(judge("2001:db8:10::17", "ff02::fb"), "multicast");
    let discover = udp(68, 67, 20);
    assert_eq!(Court::new().pc_sends(&ip("0.0.0.0", "255.255.255.255", 17), &discover), "multicast");
}

#[test]
fn transport_headers() {
    let to_web = |proto: u8, bytes: &[u8]| Court::new().pc_sends(&ip("192.168.10.17", "198.51.100.5", proto), bytes);
    assert_eq!(to_web(6, &syn(1, 443)[..19]), "l4_header");
    let mut offset = syn(1, 443);
    offset[12] = 0x60;
    assert_eq!(to_web(6, &offset), "l4_header");
    assert_eq!(to_web(6, &syn(0, 443)), "port_zero");
    assert_eq!(to_web(17, &datagram()[..17]), "l4_header");
    assert_eq!(to_web(17, &udp(5, 0, 1)), "port_zero");
    assert_eq!(to_web(1, &[8, 0, 0, 0]), "l4_header");
    assert_eq!(to_web(1, &[5, 0, 0, 0, 0, 0, 0, 0]), "icmp_type");
    assert_eq!(to_web(58, &[128, 0, 0, 0, 0, 0, 0, 0]), "l4_header");
    for flags in [0, 3, 6, 5, 1, 0x20, 8, 0x29] {
        assert_eq!(to_web(6, &segment(1, 443, 0, 0, flags, 0)), "tcp_flags", "{flags:#x}");
    }
    assert_eq!(to_web(6, &segment(1, 443, 0, 0, flag::RST | flag::URG, 0)), "tcp_not_syn");
    assert_eq!(to_web(6, &segment(1, 443, 0, 0, flag::SYN | flag::ECE | flag::CWR, 0)), "rule");
    assert_eq!(to_web(6, &segment(1, 443, 0, 0, flag::SYN, 1)), "tcp_syn_data");
    assert_eq!(to_web(6, &segment(1, 443, 0, 0, flag::SYN | flag::ACK, 0)), "tcp_not_syn");
}

#[test]
fn fragments() {
    let whole = udp(40_000, 443, 40);
    let piece = |at: usize, end: usize, more: bool| {
        let mut ip = ip("192.168.10.17", "198.51.100.5", 17);
        ip.fragment = (at / 8) as u16 | if more { 0x2000 } else { 0 };
        (ip, whole.get(at..end).map_or(vec![0; end - at], <[u8]>::to_vec))
    };
    let play = |pieces: &[(usize, usize, bool)]| {
        let mut court = Court::new();
        let mut last = "";
        for (at, end, more) in pieces {
            let (ip, bytes) = piece(*at, *end, *more);
            last = court.pc_sends(&ip, &bytes);
        }
        last
    };
    assert_eq!(play(&[(0, 8, true)]), "rule");
    assert_eq!(play(&[(0, 24, true), (24, 48, false)]), "fragment");
    assert_eq!(play(&[(24, 48, false)]), "fragment_orphan");
    assert_eq!(play(&[(0, 7, true)]), "fragment_tiny");
    assert_eq!(play(&[(0, 12, true)]), "fragment_tiny");
    assert_eq!(play(&[(0, 24, true), (24, 24, false)]), "fragment_tiny");
    assert_eq!(play(&[(0, 24, true), (16, 32, true)]), "fragment_overlap");
    assert_eq!(play(&[(0, 24, true), (16, 32, true), (40, 48, false)]), "fragment_overlap");
    assert_eq!(play(&[(0, 24, true), (40, 48, false), (48, 56, true)]), "fragment_bounds");
    assert_eq!(play(&[(0, 24, true), (65_528, 65_544, false)]), "fragment_bounds");
    assert_eq!(
        play(&[(0, 8, true), (16, 24, true), (32, 40, true), (48, 56, true), (64, 72, true)]),
        "fragment_too_many"
    );
    let mut court = Court::new();
    let (ip, bytes) = piece(0, 24, true);
    court.pc_sends(&ip, &bytes);
    court.wait(31);
    let (ip, bytes) = piece(24, 48, false);
    assert_eq!(court.pc_sends(&ip, &bytes), "fragment_orphan");
}
