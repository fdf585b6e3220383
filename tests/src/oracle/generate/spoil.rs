//! Breaking frames that were right.

use super::rng::Rng;
use crate::oracle::ip::ones_complement;

/// Sometimes hands back a broken copy, sometimes a padded one, mostly the frame itself.
pub fn maybe(rng: &mut Rng, frame: Vec<u8>) -> Vec<u8> {
    if rng.chance(90) { frame } else { spoil(rng, frame) }
}

/// Breaks (or pads) a frame.
pub fn spoil(rng: &mut Rng, mut frame: Vec<u8>) -> Vec<u8> {
    match rng.below(9) {
        0 => {
            let len = 14 + rng.below(frame.len().saturating_sub(14));
            frame.truncate(len.max(14));
        }
        1 => frame.extend([0; 6]),
        2 => frame[6] ^= 1,
        3 => {
            let tags = 1 + rng.below(3);
            for _ in 0..tags {
                let vid = *rng.pick(&[0u8, 0, 10, 101, 200]);
                let kind = rng.pick(&[[0x81, 0x00], [0x88, 0xa8], [0x91, 0x00]]).to_owned();
                let tag = [kind[0], kind[1], *rng.pick(&[0u8, 0x20, 0xf0]) & 0xf0, vid];
                frame.splice(12..12, tag);
            }
        }
        4 => {
            let kind: [u8; 2] = *rng.pick(&[[0x86, 0xdd], [0x08, 0x00], [0x08, 0x06], [0x88, 0x63], [0x00, 0x26]]);
            frame[12..14].copy_from_slice(&kind);
        }
        _ => {
            let room = frame.len().min(100) - 12;
            let at = 12 + rng.below(room);
            frame[at] ^= 1 << rng.below(8);
            if rng.chance(80) {
                mend(&mut frame);
            }
        }
    }
    frame
}

/// Puts the IPv4 header checksum right again, so that what was broken is reached.
pub fn mend(frame: &mut [u8]) {
    let mut at = 12;
    while frame.len() > at + 2 && [[0x81, 0x00], [0x88, 0xa8], [0x91, 0x00]].contains(&[frame[at], frame[at + 1]]) {
        at += 4;
    }
    if frame.get(at..at + 2) != Some(&[0x08, 0x00]) {
        return;
    }
    let start = at + 2;
    let Some(first) = frame.get(start) else {
        return;
    };
    let len = usize::from(first & 15) * 4;
    if len < 20 || frame.len() < start + len {
        return;
    }
    frame[start + 10..start + 12].copy_from_slice(&[0, 0]);
    let sum = !ones_complement(&frame[start..start + len]);
    frame[start + 10..start + 12].copy_from_slice(&sum.to_be_bytes());
}
