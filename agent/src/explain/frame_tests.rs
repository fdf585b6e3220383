#![expect(clippy::unwrap_used, reason = "tests")]

use etherparse::{NetSlice, SlicedPacket, TransportSlice};

use super::*;

fn spec(src: &str, dst: &str, l4: &L4Spec) -> PacketSpec {
    PacketSpec { src: src.parse().unwrap(), dst: dst.parse().unwrap(), l4: l4.clone() }
}

#[test]
fn frames_have_right_checksums_and_tags() {
    let link = |outer, inner| Link { src: [2, 0, 0, 0, 0, 1], dst: [2, 0, 0, 0, 0, 2], outer, inner };
    for (src, dst) in [("192.0.2.1", "198.51.100.7"), ("2001:db8::1", "2001:db8:ffff::7")] {
        let v6 = src.contains(':');
        for l4 in [
            L4Spec::Tcp { sport: 1, dport: 65_535 },
            L4Spec::Udp { sport: 65_535, dport: 1 },
            L4Spec::Icmp { kind: if v6 { 128 } else { 8 }, code: 0 },
            L4Spec::Icmp { kind: 135, code: 0 },
            L4Spec::Protocol(47),
        ] {
            for (outer, inner) in [(0, 0), (10, 0), (100, 20)] {
                let bytes = build(&link(outer, inner), &spec(src, dst, &l4)).unwrap();
                let parsed = SlicedPacket::from_ethernet(&bytes).unwrap();
                let tags: Vec<u16> = parsed.vlan_ids().iter().map(|id| id.value()).collect();
                let wanted: Vec<u16> = [outer, inner].into_iter().filter(|id| *id != 0).collect();
                assert_eq!(tags, wanted);
                sums(&parsed, &l4);
            }
        }
    }
    let mixed = spec("192.0.2.1", "2001:db8::1", &L4Spec::Protocol(47));
    assert_eq!(build(&link(0, 0), &mixed), Err(MixedFamilies));
}

fn sums(parsed: &SlicedPacket<'_>, l4: &L4Spec) {
    let (src, dst): (IpAddr, IpAddr) = match parsed.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Arp(_) => unreachable!(),
    };
    match (parsed.transport.as_ref(), src, dst) {
        (Some(TransportSlice::Tcp(tcp)), IpAddr::V4(s), IpAddr::V4(d)) => {
            assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv4(s.octets(), d.octets()).unwrap());
        }
        (Some(TransportSlice::Tcp(tcp)), IpAddr::V6(s), IpAddr::V6(d)) => {
            assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv6(s.octets(), d.octets()).unwrap());
        }
        (Some(TransportSlice::Udp(udp)), IpAddr::V4(s), IpAddr::V4(d)) => {
            let header = udp.to_header();
            let sum = header.calc_checksum_ipv4_raw(s.octets(), d.octets(), udp.payload()).unwrap();
            assert_eq!(udp.checksum(), sum);
        }
        (Some(TransportSlice::Udp(udp)), IpAddr::V6(s), IpAddr::V6(d)) => {
            let header = udp.to_header();
            let sum = header.calc_checksum_ipv6_raw(s.octets(), d.octets(), udp.payload()).unwrap();
            assert_eq!(udp.checksum(), sum);
        }
        (Some(TransportSlice::Icmpv4(icmp)), ..) => {
            assert_eq!(icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()));
        }
        (Some(TransportSlice::Icmpv6(icmp)), IpAddr::V6(s), IpAddr::V6(d)) => {
            assert!(icmp.is_checksum_valid(s.octets(), d.octets()));
        }
        (None, ..) => assert_eq!(*l4, L4Spec::Protocol(47)),
        other => unreachable!("{other:?}"),
    }
}
