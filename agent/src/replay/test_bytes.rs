//! Captures and frames written byte by byte.

/// A classic capture: byte order, nanoseconds, link type.
pub(super) fn pcap(big: bool, nano: bool, link: u32) -> Vec<u8> {
    let magic: u32 = if nano { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
    let mut out = Vec::new();
    out.extend(word(big, magic));
    out.extend(half(big, 2));
    out.extend(half(big, 4));
    out.extend([0; 8]);
    out.extend(word(big, 262_144));
    out.extend(word(big, link));
    out
}

/// One record of a classic capture.
pub(super) fn record(big: bool, seconds: u32, fraction: u32, wire: u32, data: &[u8]) -> Vec<u8> {
    let header = [seconds, fraction, data.len() as u32, wire];
    header.iter().flat_map(|field| word(big, *field)).chain(data.iter().copied()).collect()
}

/// A little-endian microsecond capture of whole frames, one a millisecond from 2026-12-01T01:00:00Z.
pub(super) fn capture(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut out = pcap(false, false, 1);
    for (number, frame) in frames.iter().enumerate() {
        out.extend(record(false, 1_796_086_800, number as u32 * 1000, frame.len() as u32, frame));
    }
    out
}

/// A pcapng block.
pub(super) fn block(big: bool, kind: u32, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(4), 0);
    let length = body.len() as u32 + 12;
    [word(big, kind).to_vec(), word(big, length).to_vec(), body, word(big, length).to_vec()].concat()
}

pub(super) fn section(big: bool) -> Vec<u8> {
    let body = [&word(big, 0x1a2b_3c4d)[..], &half(big, 1), &half(big, 0), &[0xff; 8]].concat();
    block(big, 0x0a0d_0d0a, &body)
}

pub(super) fn interface(big: bool, link: u16, snaplen: u32, options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = [&half(big, link)[..], &[0, 0], &word(big, snaplen)].concat();
    for (code, value) in options {
        body.extend(half(big, *code));
        body.extend(half(big, value.len() as u16));
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    block(big, 1, &body)
}

pub(super) fn enhanced(big: bool, interface: u32, ticks: u64, wire: u32, data: &[u8]) -> Vec<u8> {
    let fields = [interface, (ticks >> 32) as u32, ticks as u32, data.len() as u32, wire];
    let body: Vec<u8> = fields.iter().flat_map(|field| word(big, *field)).chain(data.iter().copied()).collect();
    block(big, 6, &body)
}

pub(super) fn simple(big: bool, wire: u32, data: &[u8]) -> Vec<u8> {
    block(big, 3, &[&word(big, wire)[..], data].concat())
}

pub(super) fn word(big: bool, value: u32) -> [u8; 4] {
    if big { value.to_be_bytes() } else { value.to_le_bytes() }
}

pub(super) fn half(big: bool, value: u16) -> [u8; 2] {
    if big { value.to_be_bytes() } else { value.to_le_bytes() }
}

/// `02:00:00:00:place:host`.
pub(super) fn mac(place: u8, host: u8) -> [u8; 6] {
    [2, 0, 0, 0, place, host]
}

/// An Ethernet frame with VLAN ids.
pub(super) fn ethernet(dst: [u8; 6], src: [u8; 6], tags: &[u16], kind: u16, body: &[u8]) -> Vec<u8> {
    let mut out = [dst, src].concat();
    for tag in tags {
        out.extend([0x81, 0]);
        out.extend(tag.to_be_bytes());
    }
    out.extend(kind.to_be_bytes());
    out.extend(body);
    out
}

/// An IPv4 packet.
pub(super) fn ipv4(proto: u8, src: [u8; 4], dst: [u8; 4], body: &[u8]) -> Vec<u8> {
    let total = (20 + body.len()) as u16;
    let mut out = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, proto, 0, 0];
    out[2..4].copy_from_slice(&total.to_be_bytes());
    out.extend(src);
    out.extend(dst);
    let sum = checksum(&out, 0);
    out[10..12].copy_from_slice(&sum.to_be_bytes());
    out.extend(body);
    out
}

/// A TCP segment with its checksum.
pub(super) fn tcp(ends: ([u8; 4], u16), far: ([u8; 4], u16), flags: u8, sequence: u32, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(ends.1.to_be_bytes());
    out.extend(far.1.to_be_bytes());
    out.extend(sequence.to_be_bytes());
    out.extend([0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    out.extend(data);
    let sum = checksum(&out, pseudo(6, ends.0, far.0, out.len()));
    out[16..18].copy_from_slice(&sum.to_be_bytes());
    ipv4(6, ends.0, far.0, &out)
}

pub(super) fn udp(ends: ([u8; 4], u16), far: ([u8; 4], u16), data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(ends.1.to_be_bytes());
    out.extend(far.1.to_be_bytes());
    out.extend((8 + data.len() as u16).to_be_bytes());
    out.extend([0, 0]);
    out.extend(data);
    let sum = checksum(&out, pseudo(17, ends.0, far.0, out.len()));
    out[6..8].copy_from_slice(&sum.to_be_bytes());
    ipv4(17, ends.0, far.0, &out)
}

fn pseudo(proto: u8, src: [u8; 4], dst: [u8; 4], length: usize) -> u32 {
    let addresses = [src, dst].concat();
    let words = addresses.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    words.sum::<u32>() + u32::from(proto) + length as u32
}

/// RFC 1071, from a partial sum.
pub(super) fn checksum(bytes: &[u8], partial: u32) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])));
    let mut sum = partial + words.sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Whether an untagged IPv4 TCP or UDP frame has right checksums.
pub(super) fn sums_hold(frame: &[u8]) -> bool {
    let (header, body) = (&frame[14..34], &frame[34..]);
    let (src, dst): ([u8; 4], [u8; 4]) =
        (std::array::from_fn(|i| header[12 + i]), std::array::from_fn(|i| header[16 + i]));
    checksum(header, 0) == 0 && checksum(body, pseudo(header[9], src, dst, body.len())) == 0
}
