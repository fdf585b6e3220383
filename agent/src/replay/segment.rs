//! Frames larger than one run takes: what capture tools see before the card cuts them (TSO, GSO) or after it joined
//! them (LRO, GRO). They are cut as a card would.

use std::net::IpAddr;

use super::sight::{Sight, TCP, UDP, half};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// The frame in pieces of at most `longest` bytes; `None` if it is not one a card could have cut or joined: no TCP or
/// UDP, a fragment, or lengths that contradict the frame.
pub(super) fn segments(frame: &[u8], sight: &Sight, longest: usize) -> Option<Vec<Vec<u8>>> {
    if sight.fragment || sight.tag_bytes > 8 {
        return None;
    }
    let l4 = sight.l4?;
    let proto = sight.proto?;
    let header = match proto {
        TCP => usize::from(frame.get(l4 + 12)? >> 4) * 4,
        UDP => 8,
        _ => return None,
    };
    let body = l4.checked_add(header)?;
    let v4 = matches!(sight.ends?.0, IpAddr::V4(_));
    let claimed = match v4 {
        true => usize::from(half(frame, sight.l3 + 2)?) + sight.l3,
        false => usize::from(half(frame, sight.l3 + 4)?) + sight.l3 + 40,
    };
    let room = longest.checked_sub(body).filter(|room| *room > 0)?;
    let payload = frame.get(body..)?;
    if claimed != frame.len() || payload.is_empty() || header < 8 || body > frame.len() {
        return None;
    }

    let flags = if proto == TCP { *frame.get(l4 + 13)? } else { 0 };
    let chunks = payload.len().div_ceil(room);
    // A SYN carries no second piece: the first alone shows that it holds data.
    let wanted = if flags & SYN != 0 { 1 } else { chunks };
    let mut pieces = Vec::with_capacity(wanted);
    for (number, chunk) in payload.chunks(room).take(wanted).enumerate() {
        let mut piece = frame.get(..body)?.to_vec();
        piece.extend_from_slice(chunk);
        let length = piece.len();
        if v4 {
            put(&mut piece, sight.l3 + 2, (length - sight.l3) as u16);
            sum(&mut piece, sight.l3, l4);
        } else {
            put(&mut piece, sight.l3 + 4, (length - sight.l3 - 40) as u16);
        }
        if proto == UDP {
            put(&mut piece, l4 + 4, (length - l4) as u16);
        } else {
            let first = u32::from(half(frame, l4 + 4)?) << 16 | u32::from(half(frame, l4 + 6)?);
            let sequence = first.wrapping_add((number * room) as u32);
            put(&mut piece, l4 + 4, (sequence >> 16) as u16);
            put(&mut piece, l4 + 6, sequence as u16);
            let mut kept = flags;
            if number + 1 < chunks {
                kept &= !(FIN | PSH);
            }
            if number > 0 {
                kept &= !CWR;
            }
            *piece.get_mut(l4 + 13)? = kept;
        }
        pieces.push(piece);
    }
    Some(pieces)
}

fn put(frame: &mut [u8], at: usize, value: u16) {
    if let Some(field) = frame.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

/// The IPv4 header checksum (RFC 1071).
fn sum(frame: &mut [u8], l3: usize, end: usize) {
    put(frame, l3 + 10, 0);
    let words = frame.get(l3..end).unwrap_or_default().chunks_exact(2);
    let mut total: u32 = words.map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    put(frame, l3 + 10, !(total as u16));
}
