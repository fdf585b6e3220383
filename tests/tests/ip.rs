//! Headers, addresses and fragments: what contradicts itself, hides something or must not be on a wire is dropped, each
//! for its own reason, over IPv4 and IPv6 alike.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, ensure};
use sekimori_tests::harness::{
    frame::Frame,
    gate::{DNS_RULE, Gate, Lane, POISON, SOON},
    packet::{Packet, RESERVED, flag, inwards},
    service::{Server, tcp_exchange, udp_exchange},
    townhall::{CLOUD_V4, CLOUD_V6, DNS_V4, DNS_V6, INTERNET, INTERNET_ROUTER, OFFICE, PC_017},
};

const WEB_RULES: &str = r"
  - id: office-web
    from: office
    to: internet
    services: [https]
    purpose: test
    owner: test
  - id: office-ping
    from: office
    to: internet
    services: [ping]
    purpose: test
    owner: test
";

fn gate() -> Result<Gate> {
    Gate::up(&[&PC_017, &INTERNET_ROUTER], &format!("rules:{DNS_RULE}{WEB_RULES}"))
}

/// A permitted query with this text; over IPv6 if `six`.
fn query(six: bool, data: &[u8]) -> Packet {
    if six {
        Packet::udp(inwards(&PC_017), (PC_017.v6, 4000), (DNS_V6, 53), data)
    } else {
        Packet::udp(inwards(&PC_017), (PC_017.v4, 4000), (DNS_V4, 53), data)
    }
}

/// The frame with these bytes overwritten, counted from the IP header.
fn patched(packet: &Packet, patches: &[(usize, &[u8])]) -> Frame {
    let mut frame = packet.frame();
    for (at, bytes) in patches {
        frame.0.splice(14 + at..14 + at + bytes.len(), bytes.iter().copied());
    }
    frame
}

/// The same with the IPv4 checksum made right again.
fn resummed(packet: &Packet, patches: &[(usize, &[u8])]) -> Frame {
    let mut frame = patched(packet, &[patches, &[(10, &[0, 0])]].concat());
    let sum: u32 = frame
        .0
        .get(14..34)
        .unwrap_or_default()
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
        .sum();
    let folded = !((sum & 0xffff) + (sum >> 16)) as u16;
    frame.0.splice(24..26, folded.to_be_bytes());
    frame
}

/// Each frame alone is dropped at the office's way in for its reason.
fn all_refused(gate: &Gate, lane: &Lane, cases: Vec<(&str, Frame, &str)>) -> Result<()> {
    for (what, frame, reason) in cases {
        gate.refuses(lane, &[frame], &[(&format!("office in {reason}"), 1)]).context(what.to_owned())?;
    }
    Ok(())
}

/// ```text
///  0                   1                   2                   3
///  |Version|  IHL  |     DSCP      |         Total Length          |   version 5, IHL 4, a length that lies
///  |        Identification         |R|D|M|     Fragment Offset     |   the reserved "evil" bit
///  |      TTL      |   Protocol    |        Header Checksum        |   one off
///  |                          … options …                          |   source route, record route, timestamp, NOP
/// ```
#[test]
fn an_ipv4_header_that_lies_or_carries_options_is_dropped() -> Result<()> {
    let gate = gate()?;
    let lane = gate.way_out()?;
    let good = query(false, POISON);
    let optioned = |options: &[u8]| Packet { options: options.to_vec(), ..good.clone() }.frame();
    let total = 20 + 8 + POISON.len();
    let long = u16::try_from(total + 1)?.to_be_bytes();
    let mut checksum = good.frame();
    checksum.0[25] ^= 1;
    all_refused(
        &gate,
        &lane,
        vec![
            ("loose source route", optioned(&[131, 7, 4, 10, 0, 0, 1, 0]), "ipv4_options"),
            ("strict source route", optioned(&[137, 7, 4, 10, 0, 0, 1, 0]), "ipv4_options"),
            ("record route", optioned(&[7, 7, 4, 0, 0, 0, 0, 0]), "ipv4_options"),
            ("timestamp", optioned(&[68, 8, 5, 0, 0, 0, 0, 0]), "ipv4_options"),
            ("nothing but padding", optioned(&[1, 1, 1, 0]), "ipv4_options"),
            ("router alert on UDP", optioned(&[0x94, 4, 0, 0]), "ipv4_options"),
            ("checksum one off", checksum, "ipv4_header"),
            ("version 5", resummed(&good, &[(0, &[0x55])]), "ipv4_header"),
            ("version 6 in an IPv4 frame", resummed(&good, &[(0, &[0x65])]), "ipv4_header"),
            ("a header of 16 bytes", resummed(&good, &[(0, &[0x44])]), "ipv4_header"),
            ("longer than its frame", resummed(&good, &[(2, &long)]), "ipv4_header"),
            ("shorter than its header", resummed(&good, &[(2, &[0, 19])]), "ipv4_header"),
            ("reserved bit", Packet { fragment: RESERVED, ..good.clone() }.frame(), "ipv4_header"),
            ("nineteen bytes", Frame(good.frame().0.into_iter().take(14 + 19).collect()), "truncated"),
        ],
    )?;
    gate.admits(&lane, &good.frame(), POISON)?;
    Ok(())
}

#[test]
fn a_transport_header_that_lies_is_dropped() -> Result<()> {
    let gate = gate()?;
    let lane = gate.way_out()?;
    for six in [false, true] {
        let (src, dst): (IpAddr, IpAddr) =
            if six { (PC_017.v6.into(), DNS_V6.into()) } else { (PC_017.v4.into(), DNS_V4.into()) };
        let l4 = if six { 40 } else { 20 };
        let good = query(six, POISON);
        let udp = |from, to| Packet::udp(inwards(&PC_017), (src, from), (dst, to), POISON).frame();
        let syn = |from, to| Packet::tcp(inwards(&PC_017), (src, from), (dst, to), (flag::SYN, 1, 0), POISON);
        let other_icmp = if six { 1 } else { 58 };
        let kind = |kind| Packet::icmp(inwards(&PC_017), src, dst, (kind, 0), 0, POISON).frame();
        let wrong = if six { [137, 139, 141] } else { [5, 4, 17] };
        all_refused(
            &gate,
            &lane,
            vec![
                ("UDP from port 0", udp(0, 53), "port_zero"),
                ("UDP to port 0", udp(4000, 0), "port_zero"),
                ("TCP from port 0", syn(0, 443).frame(), "port_zero"),
                ("TCP to port 0", syn(4000, 0).frame(), "port_zero"),
                ("UDP shorter than it says", patched(&good, &[(l4 + 4, &[0, 40])]), "l4_header"),
                ("UDP longer than it says", patched(&good, &[(l4 + 4, &[0, 9])]), "l4_header"),
                ("UDP of seven bytes", patched(&good, &[(l4 + 4, &[0, 7])]), "l4_header"),
                ("TCP with a header of 16 bytes", patched(&syn(4000, 443), &[(l4 + 12, &[0x40])]), "l4_header"),
                ("TCP with a header past its end", patched(&syn(4000, 443), &[(l4 + 12, &[0xf0])]), "l4_header"),
                ("TCP cut short", Packet::raw(inwards(&PC_017), src, dst, 6, &POISON[..16]).frame(), "l4_header"),
                (
                    "the other family's ICMP",
                    Packet::raw(inwards(&PC_017), src, dst, other_icmp, POISON).frame(),
                    "l4_header",
                ),
                ("a redirect or node information", kind(wrong[0]), "icmp_type"),
                ("source quench or node information", kind(wrong[1]), "icmp_type"),
                ("address mask or inverse discovery", kind(wrong[2]), "icmp_type"),
            ],
        )
        .with_context(|| format!("IPv6: {six}"))?;
    }
    Ok(())
}

#[test]
fn addresses_that_must_not_be_on_a_wire_are_dropped() -> Result<()> {
    let gate = gate()?;
    let lane = gate.way_out()?;
    let udp = |src: IpAddr, dst: IpAddr| Packet::udp(inwards(&PC_017), (src, 4000), (dst, 53), POISON).frame();
    let from = |src: &str| -> Result<Frame> {
        let src: IpAddr = src.parse()?;
        Ok(udp(src, if src.is_ipv4() { DNS_V4.into() } else { DNS_V6.into() }))
    };
    let to = |dst: &str| -> Result<Frame> {
        let dst: IpAddr = dst.parse()?;
        Ok(udp(if dst.is_ipv4() { PC_017.v4.into() } else { PC_017.v6.into() }, dst))
    };
    let v4 = ["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.9.9.9", "169.254.1.1", "240.0.0.1"];
    let v6 = ["::1", "::ffff:192.168.10.17", "::192.168.10.17", "2002:c0a8:a11::1", "64:ff9b::c0a8:a11", "fec0::17"];
    let link_local = "fe80::17";
    let sources = ["224.0.0.1", "255.255.255.255", "ff02::1", "::"];
    for address in v4.into_iter().chain(v6).chain([link_local]).chain(sources) {
        gate.refuses(&lane, &[from(address)?], &[("office in martian", 1)]).context(address)?;
    }
    for address in v4.into_iter().chain(v6).chain([link_local, "::"]) {
        gate.refuses(&lane, &[to(address)?], &[("office in martian", 1)]).with_context(|| format!("to {address}"))?;
    }
    for address in [IpAddr::from(PC_017.v4), PC_017.v6.into(), OFFICE.v4.0.into()] {
        gate.refuses(&lane, &[udp(address, address)], &[("office in land", 1)])
            .with_context(|| format!("{address}"))?;
    }
    Ok(())
}

#[test]
fn multicast_and_broadcast_stay_where_they_are() -> Result<()> {
    let gate = gate()?;
    let lane = gate.way_out()?;
    for to in [
        "224.0.0.251",
        "239.255.255.250",
        "255.255.255.255",
        // Directed: of this side, of another zone, and of an external network.
        "192.168.10.255",
        "192.168.20.255",
        "203.0.113.15",
        "ff02::fb",
        "ff05::1:3",
        "ff0e::1",
    ] {
        let dst: IpAddr = to.parse()?;
        let src: IpAddr = if dst.is_ipv4() { PC_017.v4.into() } else { PC_017.v6.into() };
        let frame = Packet::udp(inwards(&PC_017), (src, 4000), (dst, 53), POISON).frame();
        gate.refuses(&lane, &[frame], &[("office in multicast", 1)]).context(to)?;
        let echo = Packet::ping(inwards(&PC_017), src, dst, 3, POISON).frame();
        gate.refuses(&lane, &[echo], &[("office in multicast", 1)]).with_context(|| format!("smurf at {to}"))?;
    }
    Ok(())
}

/// ```text
///  |-------- UDP, 160 bytes ---------|
///  first       |0.....79|                      the ports are here
///  later                |80....159|            shares the verdict of the first
///  out of order: the later one first is an orphan
/// ```
#[test]
fn a_later_fragment_shares_the_verdict_of_its_first() -> Result<()> {
    let gate = gate()?;
    let lane = gate.way_out()?;
    // Eight bytes of header, then the text over and over: every fragment carries it.
    let mut text = POISON.repeat(9);
    text.extend(b"the very end ---");
    for six in [false, true] {
        let mut whole = query(six, text.get(8..).unwrap_or_default());
        whole.id = 100;
        let pieces = whole.cut(&[(0, 80), (80, 160)]);
        let [first, later] = pieces.as_slice() else { unreachable!("two were cut") };
        gate.refuses(&lane, std::slice::from_ref(later), &[("office in fragment_orphan", 1)])?;
        // The gateway puts datagrams together or not, as it likes: what counts is that the end gets all of it.
        gate.drops(&[], || {
            lane.from.send(first)?;
            lane.from.send(later)?;
            lane.to.expect("the datagram's end", SOON, |seen| seen.contains(b"the very end"))
        })
        .with_context(|| format!("IPv6: {six}"))?;

        // A first one that no rule permits takes its later ones with it.
        let mut denied = whole.clone();
        denied.id = 101;
        if let Some(port) = denied.body.get_mut(2..4) {
            port.copy_from_slice(&54_u16.to_be_bytes());
        }
        let pieces = denied.cut(&[(0, 80), (80, 120), (120, 160)]);
        gate.refuses(&lane, &pieces, &[("office in no_rule", 1), ("office in fragment_orphan", 2)])?;
    }
    Ok(())
}

/// ```text
///  tiny     |0..7|                      a TCP header split in two (RFC 1858)
///  overlap  |0......79| |72.....159|    the second would overwrite what was judged
///  again    |0......79| |0.......79|    the first, twice
///  bounds   |0......79| |80..159] |160..  after the end was said
///  huge     offset 65,528 + 16          past 65,535: the ping of death
/// ```
#[test]
fn fragments_that_hide_something_are_dropped_and_the_datagram_with_them() -> Result<()> {
    let gate = gate()?;
    let lane = gate.way_out()?;
    let text = POISON.repeat(30);
    let mut id = 200;
    for six in [false, true] {
        let mut cut = |pieces: &[(usize, usize)]| {
            id += 1;
            let mut whole = query(six, text.get(8..).unwrap_or_default());
            whole.id = id;
            whole.cut(pieces)
        };
        let (src, dst): (IpAddr, IpAddr) =
            if six { (PC_017.v6.into(), CLOUD_V6.into()) } else { (PC_017.v4.into(), CLOUD_V4.into()) };
        let mut syn = Packet::tcp(inwards(&PC_017), (src, 4000), (dst, 443), (flag::SYN, 1, 0), POISON);
        syn.id = 190;
        let tiny = syn.cut(&[(0, 8), (8, 36)]);
        gate.refuses(&lane, &tiny, &[("office in fragment_tiny", 1), ("office in fragment_orphan", 1)])
            .context("tiny")?;
        let odd = cut(&[(0, 81)]);
        gate.refuses(&lane, &odd, &[("office in fragment_tiny", 1)]).context("not a multiple of eight")?;
        let empty = cut(&[(80, 80)]);
        gate.refuses(&lane, &empty, &[("office in fragment_tiny", 1)]).context("empty")?;

        let mut huge = query(six, POISON);
        huge.id = 191;
        huge.place(65_528, false);
        gate.refuses(&lane, &[huge.frame()], &[("office in fragment_bounds", 1)]).context("past 65,535")?;

        // The first passes as far as it goes: the gateway or the receiver waits for the rest in vain. Over IPv4 and
        // IPv6 a plain router sends it on at once, so what is proved is that nothing behind it follows.
        for (what, pieces, drops) in [
            ("overlap", &[(0, 80), (72, 160), (160, 480)][..], &[("office in fragment_overlap", 2)][..]),
            ("the first again", &[(0, 80), (0, 80), (80, 480)], &[("office in fragment_overlap", 2)]),
            ("a later one again", &[(0, 80), (80, 160), (80, 160), (160, 480)], &[("office in fragment_overlap", 2)]),
            ("beyond the end", &[(0, 80), (400, 480), (80, 488)], &[("office in fragment_bounds", 1)]),
            (
                "five islands",
                &[(0, 16), (32, 48), (64, 80), (96, 112), (128, 144), (160, 480)],
                &[("office in fragment_too_many", 1), ("office in fragment_overlap", 1)],
            ),
        ] {
            let mut whole = query(six, POISON.repeat(31).get(8..488).unwrap_or_default());
            id += 1;
            whole.id = id;
            let frames: Vec<Frame> = if what == "beyond the end" {
                // The one in the middle is said to be the last.
                let mut last = whole.clone();
                last.body = whole.body.get(400..480).unwrap_or_default().to_vec();
                last.place(400, false);
                let mut more = whole.cut(&[(0, 80), (480, 488)]);
                more.insert(1, last.frame());
                more
            } else {
                whole.cut(pieces)
            };
            gate.drops(drops, || {
                for frame in &frames {
                    lane.from.send(frame)?;
                }
                lane.mark()
            })
            .with_context(|| format!("{what}, IPv6: {six}"))?;
        }
    }
    // A fragment header inside a fragment.
    let mut nested = query(true, POISON);
    nested.place(0, true);
    nested.place(0, true);
    gate.refuses(&lane, &[nested.frame()], &[("office in fragment_nested", 1)])?;
    Ok(())
}

/// ```text
///  IPv6 | hop-by-hop | destination options | fragment | destination options | UDP      at most, in this order
/// ```
#[test]
fn extension_headers_out_of_order_or_never_let_through_are_dropped() -> Result<()> {
    let gate = gate()?;
    let lane = gate.way_out()?;
    // Somebody must take what passes: an error about a packet with such headers would not get back in.
    let _names = Server::udp(gate.town.host(&INTERNET_ROUTER)?, (DNS_V6, 53), |_, _| None)?;
    // Options: length 0 (eight bytes), PadN over the rest.
    let pad = || vec![0, 1, 4, 0, 0, 0, 0];
    let (hop, routing, fragment, authentication, nothing, destination, mobility) = (0, 43, 44, 51, 59, 60, 135);
    let chain = |kinds: &[u8]| {
        let mut packet = query(true, POISON);
        packet.extensions = kinds.iter().map(|kind| (*kind, pad())).collect();
        packet.frame()
    };
    let mut ends = query(true, POISON);
    ends.proto = nothing;
    let mut runs_past = query(true, POISON);
    runs_past.extensions = vec![(destination, vec![200, 1, 4, 0, 0, 0, 0])];
    let mut jumbo = query(true, POISON);
    jumbo.extensions = vec![(hop, vec![0, 0xc2, 4, 0, 1, 0, 0])];
    all_refused(
        &gate,
        &lane,
        vec![
            ("a source route", chain(&[routing]), "ipv6_extension"),
            ("authentication", chain(&[authentication]), "ipv6_extension"),
            ("mobility", chain(&[mobility]), "ipv6_extension"),
            ("hop-by-hop, but second", chain(&[destination, hop]), "ipv6_extension"),
            ("hop-by-hop twice", chain(&[hop, hop]), "ipv6_extension"),
            ("destination options three times", chain(&[destination; 3]), "ipv6_extension"),
            ("a hundred headers", chain(&[destination; 100]), "ipv6_extension"),
            ("no next header", ends.frame(), "ipv6_extension"),
            ("one that runs past the packet", runs_past.frame(), "ipv6_extension"),
            ("a jumbogram", patched(&jumbo, &[(4, &[0, 0])]), "ipv6_header"),
            ("longer than its frame", patched(&query(true, POISON), &[(4, &[1, 0])]), "ipv6_header"),
            ("version 4", patched(&query(true, POISON), &[(0, &[0x45])]), "ipv6_header"),
        ],
    )?;
    // What is in order is judged by what it carries.
    let mut atomic = query(true, POISON);
    atomic.extensions = vec![(fragment, vec![0, 0, 0, 0, 0, 0, 9])];
    for frame in [chain(&[hop]), chain(&[destination]), chain(&[hop, destination]), atomic.frame()] {
        gate.admits(&lane, &frame, POISON)?;
    }
    let mut denied = query(true, POISON);
    denied.extensions = vec![(hop, pad()), (destination, pad())];
    if let Some(port) = denied.body.get_mut(2..4) {
        port.copy_from_slice(&54_u16.to_be_bytes());
    }
    gate.refuses(&lane, &[denied.frame()], &[("office in no_rule", 1)])
}

#[test]
fn frames_too_short_or_of_another_kind_are_dropped() -> Result<()> {
    let gate = gate()?;
    let lane = gate.way_out()?;
    let ethernet = |kind| sekimori_tests::harness::packet::ethernet(inwards(&PC_017), &[], kind, POISON);
    let stp = {
        let to = [1, 0x80, 0xc2, 0, 0, 0];
        sekimori_tests::harness::packet::ethernet((PC_017.mac, to), &[], 38, POISON)
    };
    all_refused(
        &gate,
        &lane,
        vec![
            ("PPPoE", ethernet(0x8864), "unknown_ethertype"),
            ("MPLS", ethernet(0x8847), "unknown_ethertype"),
            ("IPX", ethernet(0x8137), "unknown_ethertype"),
            ("802.3 with LLC", ethernet(30), "unknown_ethertype"),
            ("LLDP", ethernet(0x88cc), "l2_control"),
            ("LACP", ethernet(0x8809), "l2_control"),
            ("STP", stp, "l2_control"),
        ],
    )?;
    // Without a zone to count it under.
    let tagged = query(false, POISON).tag(0x8100, 7).frame();
    gate.refuses(&lane, &[tagged], &[("none in unknown_vlan", 1)])
}

#[test]
fn web_names_and_ping_pass_alike_over_both_families() -> Result<()> {
    let gate = gate()?;
    let internet = gate.town.host(&INTERNET_ROUTER)?;
    let here = gate.town.host(&PC_017)?;
    let _web = Server::tcp_echo(internet, 443)?;
    let _names = (Server::udp_echo(internet, DNS_V4, 53)?, Server::udp_echo(internet, DNS_V6, 53)?);
    let mut counted = Vec::new();
    for (web, names) in [(IpAddr::from(CLOUD_V4), IpAddr::from(DNS_V4)), (CLOUD_V6.into(), DNS_V6.into())] {
        let before = gate.counted()?;
        gate.drops(&[], || {
            tcp_exchange(here, None, (web, 443), b"page?", SOON)?;
            udp_exchange(here, None, (names, 53), b"name?", SOON)?;
            ensure!(gate.town.ping(&PC_017, web)?, "no echo reply from {web}");
            Ok(())
        })?;
        counted.push(gate.counted()?.since(&before).flows);
    }
    let expected = ["office-dns", "office-ping", "office-web"].map(|rule| (rule.to_owned(), 1)).into();
    assert_eq!(counted, [expected, counted[0].clone()]);

    // And neither from outside, to the same hosts or to the box.
    let lane = gate.way_in()?;
    let ends: [(IpAddr, IpAddr); 4] = [
        (CLOUD_V4.into(), PC_017.v4.into()),
        (CLOUD_V6.into(), PC_017.v6.into()),
        (CLOUD_V4.into(), IpAddr::from(INTERNET.v4.0 as Ipv4Addr)),
        (CLOUD_V6.into(), IpAddr::from(INTERNET.v6.0 as Ipv6Addr)),
    ];
    for (src, dst) in ends {
        let macs = inwards(&INTERNET_ROUTER);
        for packet in [
            Packet::tcp(macs, (src, 4000), (dst, 443), (flag::SYN, 1, 0), &[]),
            Packet::udp(macs, (src, 53), (dst, 4000), POISON),
            Packet::ping(macs, src, dst, 5, POISON),
        ] {
            gate.refuses(&lane, &[packet.frame()], &[("internet in no_rule", 1)])
                .with_context(|| format!("{packet:?}"))?;
        }
    }
    Ok(())
}
