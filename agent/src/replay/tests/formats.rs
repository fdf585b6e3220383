//! What is read out of files of every make.

use super::super::{
    capture::{Capture, Packet},
    fault::Flaw,
    test_bytes::*,
};
use super::*;

fn read(bytes: &[u8]) -> (Vec<Packet>, Option<(u64, Flaw)>) {
    let mut packets = Vec::new();
    let mut capture = match Capture::open(bytes) {
        Ok(capture) => capture,
        Err(fault) => return (packets, Some((fault.offset, fault.flaw))),
    };
    let mut packet = Packet::default();
    loop {
        match capture.next(&mut packet) {
            Ok(true) => packets.push(packet.clone()),
            Ok(false) => return (packets, None),
            Err(fault) => {
                assert_eq!(fault.packets, packets.len() as u64);
                return (packets, Some((fault.offset, fault.flaw)));
            }
        }
    }
}

fn frame(last: u8) -> Vec<u8> {
    ethernet(
        mac(0x10, 1),
        mac(0x10, 0x17),
        &[],
        0x0800,
        &udp(([192, 168, 10, 17], 5000), ([198, 51, 100, last], 53), b"?"),
    )
}

#[test]
fn the_classic_format_is_read_in_both_orders_and_both_resolutions() {
    for big in [false, true] {
        for nano in [false, true] {
            let mut bytes = pcap(big, nano, 1);
            bytes.extend(record(big, 1_700_000_000, 123_456, 60, &frame(1)));
            bytes.extend(record(big, 1_700_000_001, 0, 45, &frame(2)[..20]));
            let (packets, fault) = read(&bytes);
            assert_eq!(fault, None);
            let unit = if nano { 1 } else { 1000 };
            assert_eq!(packets[0].time, Some(1_700_000_000_000_000_000 + 123_456 * unit));
            assert_eq!((packets[0].number, &packets[0].data), (1, &frame(1)));
            assert_eq!((packets[1].number, packets[1].wire, packets[1].data.len()), (2, 45, 20));
        }
    }
}

#[test]
fn a_check_sequence_at_the_end_of_frames_is_taken_off() {
    let mut bytes = pcap(false, false, 1 | 1 << 26 | 2 << 28);
    let with_fcs = [frame(1), vec![1, 2, 3, 4]].concat();
    bytes.extend(record(false, 1, 0, with_fcs.len() as u32, &with_fcs));
    let (packets, _) = read(&bytes);
    assert_eq!((&packets[0].data, packets[0].wire as usize), (&frame(1), frame(1).len()));
}

#[test]
fn pcapng_with_sections_of_both_orders_and_several_clocks_is_read() {
    let offset = 1_000_000_000i64;
    let bytes = [
        section(false),
        interface(false, 1, 0, &[]),
        interface(false, 1, 0, &[(2, b"lan0"), (9, &[9])]),
        block(false, 4, &[0; 40]), // names
        enhanced(false, 1, 1_700_000_000_000_000_001, 43, &frame(1)),
        enhanced(false, 0, 1_700_000_000_000_002, 43, &frame(2)),
        block(false, 0x0bad, &[7; 100]), // custom
        section(true),
        interface(true, 1, 30, &[(9, &[0x80 | 20]), (14, &offset.to_be_bytes())]),
        enhanced(true, 0, 3 << 19, 43, &frame(3)),
        simple(true, 43, &frame(4)[..30]),
    ]
    .concat();
    let (packets, fault) = read(&bytes);
    assert_eq!(fault, None);
    let times: Vec<_> = packets.iter().map(|packet| packet.time).collect();
    let expected = [
        Some(1_700_000_000_000_000_001),
        Some(1_700_000_000_000_002_000),
        Some(1_000_000_001_500_000_000), // 1.5 s after the offset
        None,
    ];
    assert_eq!(times, expected);
    assert_eq!(packets[2].data, frame(3));
    assert_eq!((packets[3].wire, packets[3].data.len()), (43, 30));
}

#[test]
fn an_obsolete_packet_block_is_read() {
    let mut body = [&half(false, 0)[..], &half(false, 9)].concat();
    for field in [0u32, 5_000_000, 43, 43] {
        body.extend(word(false, field));
    }
    body.extend(frame(1));
    let (packets, fault) = read(&[section(false), interface(false, 1, 0, &[]), block(false, 2, &body)].concat());
    assert_eq!((fault, packets[0].time, &packets[0].data), (None, Some(5_000_000_000), &frame(1)));
}

#[test]
fn a_packet_of_an_interface_of_an_earlier_section_is_an_error() {
    let first = [section(false), interface(false, 1, 0, &[]), enhanced(false, 0, 1, 43, &frame(1))].concat();
    let bytes = [first.clone(), section(false), enhanced(false, 0, 2, 43, &frame(2))].concat();
    let (packets, fault) = read(&bytes);
    let at = (first.len() + section(false).len()) as u64;
    assert_eq!((packets.len(), fault), (1, Some((at, Flaw::NoInterface { number: 0 }))));
}

#[test]
fn other_link_types_are_refused_with_a_hint() {
    for (link, name) in [(101, "raw IP"), (113, "SLL"), (276, "SLL2"), (9, "PPP")] {
        let classic = pcap(false, false, link);
        let next = [section(true), interface(true, link as u16, 0, &[]), enhanced(true, 0, 1, 43, &frame(1))].concat();
        for bytes in [classic, next] {
            let mut judge = Witness::new(|_, _| says(Reason::Rule));
            let (lines, _, ended) = replay(&bytes, &mut judge, &options(Entry::Auto));
            let Err(Error::Capture(fault)) = ended else { panic!("{link} was taken for Ethernet") };
            assert_eq!((lines.len(), &fault.flaw), (0, &Flaw::LinkType { number: link as u16 }));
            assert!(fault.text(Lang::En).contains(name) && fault.text(Lang::En).contains("tcpdump -i lan0"));
            assert!(fault.text(Lang::Ja).contains("イーサネット"));
        }
    }
    // An interface of another type that has no packets does no harm.
    let bytes = [
        section(false),
        interface(false, 113, 0, &[]),
        interface(false, 1, 0, &[]),
        enhanced(false, 1, 1, 43, &frame(1)),
    ];
    assert_eq!(read(&bytes.concat()).1, None);
}

#[test]
fn what_is_no_capture_is_said_to_be_none() {
    assert_eq!(read(b"").1, Some((0, Flaw::Empty)));
    assert_eq!(read(b"\xd4\xc3").1, Some((0, Flaw::Cut { wanted: 4, got: 2 })));
    assert_eq!(read(b"version: 1\nzones").1, Some((0, Flaw::NotACapture { magic: *b"vers" })));
    let (_, Some((_, gzip))) = read(&[0x1f, 0x8b, 8, 0, 0, 0]) else { panic!("gzip was taken for a capture") };
    let fault = super::super::fault::Fault { offset: 0, packets: 0, flaw: gzip };
    assert!(fault.text(Lang::En).contains("unpack"));
}

#[test]
fn a_capture_without_packets_gives_no_verdict_and_no_error() {
    for bytes in [
        pcap(false, false, 1),
        pcap(true, true, 1),
        section(false),
        [section(true), interface(true, 1, 0, &[])].concat(),
    ] {
        let mut judge = Witness::new(|_, _| says(Reason::Rule));
        let (lines, summary, ended) = replay(&bytes, &mut judge, &options(Entry::Auto));
        assert!(ended.is_ok() && lines.is_empty() && summary == Summary::default());
    }
}

#[test]
fn a_cut_anywhere_keeps_the_packets_before_it_and_names_the_byte() {
    let classic = capture(&[frame(1), frame(2), frame(3)]);
    let ends = |header: usize| [0, 1, 2, 3].map(|n| header + n * (16 + frame(1).len()));
    let blocks = [section(false), interface(false, 1, 0, &[])].concat().len();
    let one = enhanced(false, 0, 1, 43, &frame(1)).len();
    let next = [section(false), interface(false, 1, 0, &[]), enhanced(false, 0, 1, 43, &frame(1)).repeat(3)].concat();
    for (bytes, good) in [(classic, ends(24)), (next, [0, 1, 2, 3].map(|n| blocks + n * one))] {
        for cut in good[0]..bytes.len() {
            let (packets, fault) = read(&bytes[..cut]);
            let whole = good.iter().rposition(|end| *end <= cut).unwrap();
            assert_eq!(packets.len(), whole, "cut at {cut}");
            if cut == good[whole] {
                assert_eq!(fault, None, "cut at {cut}");
            } else {
                let (offset, flaw) = fault.unwrap();
                assert_eq!(offset, good[whole] as u64, "cut at {cut}");
                assert!(matches!(flaw, Flaw::Cut { .. }), "cut at {cut}: {flaw:?}");
            }
        }
    }
}

#[test]
fn lengths_that_lie_end_the_capture_without_taking_memory() {
    let mut bytes = capture(&[frame(1)]);
    bytes.extend([word(false, 1), word(false, 0), word(false, u32::MAX), word(false, u32::MAX)].concat());
    let (packets, fault) = read(&bytes);
    assert_eq!((packets.len(), fault.unwrap().1), (1, Flaw::PacketLength { length: u32::MAX.into(), limit: 262_144 }));

    for length in [0u32, 8, 11, 13, u32::MAX] {
        let block = [word(false, 6), word(false, length), [0; 4]].concat();
        let (_, fault) = read(&[section(false), block].concat());
        assert_eq!(fault.unwrap().0, section(false).len() as u64, "length {length}");
    }
    let mut crooked = enhanced(false, 0, 1, 43, &frame(1));
    let end = crooked.len() - 4;
    crooked[end] ^= 4;
    let (_, fault) = read(&[section(false), interface(false, 1, 0, &[]), crooked].concat());
    assert!(matches!(fault.unwrap().1, Flaw::BlockTrailer { .. }));
}
