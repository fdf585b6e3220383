//! Packets out of a ring that goes on being written, into files that others can read.

use std::{
    cell::{Cell, RefCell},
    process::Command,
    time::{Duration, Instant},
};

use sekimori_ebpf::{
    detect::abi::{Detection, Detector, KEPT, KEPT_BYTES, Kept, Wanted},
    reason::Reason,
};

use super::{BEGIN, SECOND};
use crate::{
    compile::testing::Random,
    detect::{
        evidence::{self, MOST, Names, Wish},
        pcapng::{Packet, Section},
        source::{Error, Source, Window, slot},
        window::{LEASE, No, Watcher},
    },
    replay::capture::{Capture, Packet as Found},
};

const HOST: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1];
const OTHER: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 2];

/// A ring that somebody writes to while it is read.
struct Ring {
    slots: RefCell<Vec<Kept>>,
    last: Cell<u64>,
    /// What is written after so many reads, once.
    meanwhile: Cell<Option<(u32, u64)>>,
    reads: Cell<u32>,
}

fn kept(number: u64, host: [u8; 16]) -> Kept {
    let mut bytes = [0; KEPT_BYTES];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Kept {
        number,
        time: number * 1_000,
        host,
        ifindex: 1,
        len: 60 + (number % 1400) as u32,
        kept: 60,
        reason: Reason::NoRule as u32,
        slot: 3,
        net: 2,
        detector: Detector::HorizontalScan as u16,
        bytes,
    }
}

impl Ring {
    fn with(packets: u64, whose: impl Fn(u64) -> [u8; 16]) -> Self {
        let empty = Kept { number: 0, ..kept(0, [0; 16]) };
        let ring = Self {
            slots: RefCell::new(vec![empty; KEPT as usize]),
            last: Cell::new(0),
            meanwhile: Cell::new(None),
            reads: Cell::new(0),
        };
        (1..=packets).for_each(|number| ring.write(number, whose(number)));
        ring
    }

    fn write(&self, number: u64, host: [u8; 16]) {
        self.slots.borrow_mut()[slot(number) as usize] = kept(number, host);
        self.last.set(number);
    }
}

impl Source for Ring {
    fn detections(&mut self, _most: usize) -> Vec<Detection> {
        Vec::new()
    }

    fn last_kept(&self) -> Result<u64, Error> {
        Ok(self.last.get())
    }

    fn kept(&self, slot: u32) -> Result<Kept, Error> {
        let found = self.slots.borrow()[slot as usize];
        self.reads.set(self.reads.get() + 1);
        if let Some((after, packets)) = self.meanwhile.get()
            && self.reads.get() == after
        {
            self.meanwhile.set(None);
            let last = self.last.get();
            (last + 1..=last + packets).for_each(|number| self.write(number, HOST));
        }
        Ok(found)
    }
}

fn wish(host: [u8; 16], after: u64) -> Wish {
    Wish { id: 1, host, net: 2, after }
}

fn numbers(packets: &[Kept]) -> Vec<u64> {
    packets.iter().map(|kept| kept.number).collect()
}

#[test]
fn each_gets_its_own_packets_in_order_and_a_second_look_only_what_is_new() {
    let ring = Ring::with(100, |number| if number % 3 == 0 { HOST } else { OTHER });
    let look = evidence::look(&ring, &[wish(HOST, 0), wish(OTHER, 0), wish([9; 16], 0)]).unwrap();
    assert_eq!(numbers(&look.packets[0]), (1..=33).map(|n| n * 3).collect::<Vec<_>>());
    assert_eq!((look.packets[1].len(), look.packets[2].len(), look.overwritten, look.last), (67, 0, 0, 100));
    (101..=110).for_each(|number| ring.write(number, HOST));
    let look = evidence::look(&ring, &[wish(HOST, 100)]).unwrap();
    assert_eq!((numbers(&look.packets[0]), look.overwritten), ((101..=110).collect(), 0));
    assert_eq!(evidence::look(&Ring::with(0, |_| HOST), &[wish(HOST, 0)]).unwrap().packets[0], []);
}

#[test]
fn what_was_written_over_is_counted_and_never_taken_for_something_else() {
    let ring = Ring::with(u64::from(KEPT) + 500, |_| HOST);
    let look = evidence::look(&ring, &[wish(HOST, 0)]).unwrap();
    assert_eq!(look.packets[0].len(), MOST, "the newest");
    assert_eq!(look.packets[0].last().unwrap().number, u64::from(KEPT) + 500);
    // A second look that comes too late.
    let look = evidence::look(&ring, &[wish(HOST, 100)]).unwrap();
    assert_eq!(look.overwritten, 400);
    // Written over while it is looked: each of ours is as it was, or missing.
    for after in [1, 2, 3, 1_000, 5_000] {
        let ring = Ring::with(u64::from(KEPT), |_| HOST);
        ring.meanwhile.set(Some((after, 700)));
        let look = evidence::look(&ring, &[wish(HOST, 0)]).unwrap();
        let found = numbers(&look.packets[0]);
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "{after}");
        for packet in &look.packets[0] {
            assert_eq!(*packet, kept(packet.number, HOST));
        }
        assert_eq!(found.last().copied(), Some(u64::from(KEPT)));
    }
    let mut slots = Ring::with(10, |_| HOST);
    slots.slots.get_mut()[slot(4) as usize].number = 0;
    let look = evidence::look(&slots, &[wish(HOST, 0)]).unwrap();
    assert_eq!((numbers(&look.packets[0]), look.overwritten), (vec![1, 2, 3, 5, 6, 7, 8, 9, 10], 1));
}

#[test]
fn what_concerns_a_zone_itself_is_found_in_that_zone() {
    let ring = Ring::with(10, |_| [0; 16]);
    let other = Wish { net: 3, ..wish([0; 16], 0) };
    let look = evidence::look(&ring, &[wish([0; 16], 0), other]).unwrap();
    assert_eq!((look.packets[0].len(), look.packets[1].len()), (10, 0));
}

fn names() -> Names {
    Names {
        rules: [(2, "office-web".to_owned())].into(),
        nets: [(2, "office".to_owned())].into(),
        boot: BEGIN * SECOND as i64,
    }
}

fn read(file: &[u8]) -> Vec<Found> {
    let mut capture = Capture::open(file).unwrap();
    let (mut packets, mut packet) = (Vec::new(), Found::default());
    while capture.next(&mut packet).unwrap() {
        packets.push(packet.clone());
    }
    packets
}

#[test]
fn a_file_says_of_each_packet_what_happened_to_it() {
    let packets: Vec<Kept> = (1..=3).map(|number| kept(number, HOST)).collect();
    let interface = |index: u32| format!("lan{index}");
    let mut file = evidence::section(&packets, "incident 1", &names(), interface);
    file.extend(evidence::section(&[kept(9, HOST)], "incident 1", &names(), interface));
    let found = read(&file);
    assert_eq!(found.len(), 4);
    for (found, number) in found.iter().zip([1, 2, 3, 9]) {
        let packet = kept(number, HOST);
        assert_eq!(found.data, packet.bytes[..60]);
        assert_eq!((found.wire, found.time), (packet.len, Some(BEGIN as u64 * SECOND + number * 1_000)));
    }
    let comment = names().comment(&packets[0]);
    assert_eq!(
        comment,
        "verdict=drop reason=no_rule (no rule permits it) rule=office-web detector=horizontal_scan network=office number=1"
    );
    let text = String::from_utf8_lossy(&file);
    assert!(text.contains(&comment) && text.contains("lan1"));
    let odd = Kept { reason: 127, slot: 0, net: 9, detector: 31, ..packets[0] };
    assert_eq!(
        names().comment(&odd),
        "verdict=unknown reason=reason-127 rule=- detector=detector_31 network=net-9 number=1"
    );
    // Lengths that lie are not believed.
    for (length, captured) in [(1_000_000, u32::MAX), (10, 60), (0, 0)] {
        let odd = Kept { len: length, kept: captured, ..packets[0] };
        assert_eq!(evidence::bytes(&odd).len(), (captured as usize).min(KEPT_BYTES).min(length as usize));
        assert_eq!(read(&evidence::section(&[odd], "", &names(), interface)).len(), 1);
    }
}

#[test]
fn whatever_is_written_is_read_back_the_same() {
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let mut section = Section::new(&"長い".repeat(random.below(8_000) as usize));
        let mut file = Vec::new();
        let mut expected = Vec::new();
        for _ in 0..random.below(30) {
            let data: Vec<u8> = (0..random.below(KEPT_BYTES as u64 + 1)).map(|_| random.next() as u8).collect();
            let (time, wire) = (random.next() >> 2, data.len() as u32 + random.below(2_000) as u32);
            let interface = format!("if{}", random.below(4));
            let comment = "é".repeat(random.below(40) as usize);
            section.add(Packet { interface: &interface, time, wire, data: &data, comment: &comment });
            if random.chance(30) {
                file.extend(section.take());
            }
            expected.push((Some(time), wire, data));
        }
        file.extend(section.take());
        let found: Vec<_> = read(&file).into_iter().map(|found| (found.time, found.wire, found.data)).collect();
        assert_eq!(found, expected, "seed {seed}");
    }
}

/// Others read it too, where they are installed: libpcap by its tcpdump, Wireshark by its tshark.
#[test]
fn other_programs_read_it() {
    let frame: Vec<u8> = [
        &[2, 0, 0, 0, 0x10, 1, 2, 0, 0, 0, 0x10, 0x17, 8, 0][..],
        &[0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 7, 0x9c, 0x40, 0, 53, 0, 8, 0, 0],
    ]
    .concat();
    let mut packet = kept(1, HOST);
    packet.bytes[..frame.len()].copy_from_slice(&frame);
    (packet.kept, packet.len) = (frame.len() as u32, frame.len() as u32);
    let second = Kept { ifindex: 2, time: 123_456_789, ..packet };
    let interface = |index: u32| format!("lan{index}");
    let mut file = evidence::section(&[packet, second], "incident 1", &names(), interface);
    file.extend(evidence::section(&[packet], "incident 1", &names(), interface));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("1.pcapng");
    std::fs::write(&path, &file).unwrap();
    if let Ok(said) = Command::new("tcpdump").args(["-nn", "-tt", "--nano", "-r"]).arg(&path).output() {
        let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        assert!(said.status.success(), "{err}");
        assert_eq!(out.lines().count(), 3, "{out}\n{err}");
        assert!(out.contains("192.0.2.1.40000 > 198.51.100.7.53"), "{out}");
        assert!(out.contains(&format!("{BEGIN}.123456789")), "{out}");
    }
    let fields = ["frame.interface_name", "frame.comment", "frame.time_epoch", "ip.dst"];
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(&path).args(["-n", "-T", "fields"]).args(fields.iter().flat_map(|field| ["-e", field]));
    if let Ok(said) = tshark.output() {
        let out = String::from_utf8_lossy(&said.stdout);
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split('\t').collect()).collect();
        assert_eq!(lines.len(), 3, "{out}");
        assert_eq!(lines[1][0], "lan2");
        assert!(lines[1][1].starts_with("verdict=drop reason=no_rule"), "{out}");
        assert!(lines[1][2].ends_with(".123456789"), "{out}");
        assert_eq!(lines[1][3], "198.51.100.7");
    }
}

/// What the data plane was told.
#[derive(Default)]
struct Glass(Vec<Wanted>);

impl Window for Glass {
    fn want(&mut self, wanted: &Wanted) -> Result<(), Error> {
        self.0.push(*wanted);
        Ok(())
    }
    fn captured(&mut self, _most: usize) -> Vec<Kept> {
        Vec::new()
    }
}

#[test]
fn one_looks_at_a_time_and_is_forgotten_when_it_does_not_come_again() {
    let (mut watcher, mut glass, begin) = (Watcher::default(), Glass::default(), Instant::now());
    let after = |seconds: u64| begin + Duration::from_secs(seconds);
    let wanted = Wanted { port: 53, ..Wanted::default() };
    let minute = Duration::from_secs(60);
    let first = watcher.begin("sato", wanted, minute, begin).unwrap();
    assert_eq!(watcher.begin("ito", wanted, minute, after(1)), Err(No::Busy("sato".into())));
    let left = watcher.renew(first, &mut glass, after(1), 5 * SECOND).unwrap();
    assert_eq!(left, Duration::from_secs(59));
    assert_eq!(glass.0[0], Wanted { until: 5 * SECOND + LEASE.as_nanos() as u64, ..wanted });
    // Near the end the data plane is not asked for more than is left.
    watcher.renew(first, &mut glass, after(8), 0).unwrap();
    watcher.renew(first, &mut glass, after(57), 0).unwrap();
    assert_eq!(glass.0[2].until, 3 * SECOND);
    assert_eq!(watcher.renew(first, &mut glass, after(60), 0), Ok(Duration::ZERO));
    assert_eq!(glass.0.len(), 3);
    // Over, or nobody came again: somebody else may look, and the first one no longer.
    let second = watcher.begin("ito", wanted, minute, after(60)).unwrap();
    assert_eq!(watcher.renew(first, &mut glass, after(60), 0), Err(Ok(No::Over)));
    watcher.end(first, &mut glass).unwrap();
    assert_eq!(glass.0.len(), 3, "what is not its own it does not end");
    let third = watcher.begin("mori", wanted, minute, after(60) + LEASE).unwrap();
    assert_eq!(watcher.renew(second, &mut glass, after(71), 0), Err(Ok(No::Over)));
    watcher.end(third, &mut glass).unwrap();
    assert_eq!(glass.0.last(), Some(&Wanted::default()));
    assert!(watcher.begin("sato", wanted, minute, after(71)).is_ok());
}
