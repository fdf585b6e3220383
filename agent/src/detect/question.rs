//! What a DNS question in a kept packet asks for, and whether a person could have thought of it.
//!
//! The data plane weighs questions by length and rate; here their names are read, from the evidence of an incident, so that it
//! can say what a person looks for: long labels, many of them, and letters as evenly mixed as only encodings are (Shannon's
//! entropy; names of hosts have 2.5 to 3.5 bits a letter, base32 nearly 5, base128 more).

/// The name and type of a question.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The name, as text; other bytes as `\ddd` (RFC 4343).
    pub name: String,
    /// The type, as a number.
    pub kind: u16,
    /// Length of the longest label, bytes.
    pub longest: usize,
    /// Bits a byte, over all labels but the last two.
    pub entropy: f64,
}

/// A DNS header's length (RFC 1035, 4.1.1).
const HEADER: usize = 12;
/// Bytes of the longest name (RFC 1035, 2.3.4).
const LONGEST: usize = 255;

/// Reads the question in a frame to UDP port 53, as far as it was kept.
pub fn of_frame(frame: &[u8]) -> Option<Question> {
    let number = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    let mut at = 12;
    while matches!(number(at)?, 0x8100 | 0x88a8) {
        at += 4;
    }
    let (kind, at) = (number(at)?, at + 2);
    let (protocol, udp) = match kind {
        0x0800 => (*frame.get(at + 9)?, at + usize::from(*frame.get(at)? & 0xf) * 4),
        0x86dd => (*frame.get(at + 6)?, at + 40),
        _ => return None,
    };
    if protocol != 17 || number(udp + 2)? != 53 {
        return None;
    }
    read(frame.get(udp + 8..)?)
}

/// Reads the question of a UDP payload; `None` if it is no query or does not fit.
pub fn read(payload: &[u8]) -> Option<Question> {
    let flags = *payload.get(2)?;
    let questions = u16::from_be_bytes([*payload.get(4)?, *payload.get(5)?]);
    // A response, or nothing asked.
    if flags & 0x80 != 0 || questions == 0 {
        return None;
    }
    let mut at = HEADER;
    let mut labels: Vec<&[u8]> = Vec::new();
    loop {
        let length = usize::from(*payload.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        // No compression in a question's only name.
        if length > 63 || at + length > HEADER + LONGEST {
            return None;
        }
        labels.push(payload.get(at..at + length)?);
        at += length;
    }
    let kind = u16::from_be_bytes([*payload.get(at)?, *payload.get(at + 1)?]);
    let own = labels.len().saturating_sub(2);
    let name = labels.iter().map(|label| text(label)).collect::<Vec<_>>().join(".");
    Some(Question {
        name,
        kind,
        longest: labels.iter().map(|label| label.len()).max().unwrap_or(0),
        entropy: entropy(&labels[..own].concat()),
    })
}

/// Bits a byte.
fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in bytes {
        counts[usize::from(byte.to_ascii_lowercase())] += 1;
    }
    let all = bytes.len() as f64;
    let part = |count: &u32| f64::from(*count) / all;
    counts.iter().filter(|count| **count != 0).map(part).map(|part| -part * part.log2()).sum()
}

fn text(label: &[u8]) -> String {
    let mut text = String::new();
    for &byte in label {
        if byte.is_ascii_graphic() && byte != b'.' && byte != b'\\' {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("\\{byte:03}"));
        }
    }
    text
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "tests")]
mod tests {
    use super::*;

    fn asks(labels: &[&[u8]], kind: u16) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in labels {
            bytes.push(u8::try_from(label.len()).expect("short"));
            bytes.extend_from_slice(label);
        }
        bytes.push(0);
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&[0, 1]);
        bytes
    }

    #[test]
    fn a_plain_name_is_read() {
        let question = read(&asks(&[b"www", b"city", b"example", b"jp"], 1)).expect("a question");
        assert_eq!((question.name.as_str(), question.kind, question.longest), ("www.city.example.jp", 1, 7));
        assert!(question.entropy < 3.0, "{question:?}");
    }

    #[test]
    fn an_encoded_name_is_told_by_its_letters() {
        let label: Vec<u8> = (0..60_u8).map(|n| b"abcdefghijklmnopqrstuvwxyz234567"[usize::from(n) * 7 % 32]).collect();
        let question = read(&asks(&[&label, &label, b"t", b"example", b"jp"], 16)).expect("a question");
        assert!(question.entropy > 4.5 && question.longest == 60, "{question:?}");
    }

    #[test]
    fn unprintable_bytes_are_escaped() {
        let question = read(&asks(&[b"a.b\x00", b"jp"], 1)).expect("a question");
        assert_eq!(question.name, "a\\046b\\000.jp");
    }

    #[test]
    fn a_question_is_found_in_its_frame() {
        let mut frame = vec![0; 12];
        frame.extend_from_slice(&[0x81, 0, 0, 10, 8, 0, 0x45]);
        frame.extend_from_slice(&[0; 8]);
        frame.push(17);
        frame.extend_from_slice(&[0; 10]);
        frame.extend_from_slice(&[0x9c, 0x40, 0, 53, 0, 0, 0, 0]);
        frame.extend_from_slice(&asks(&[b"www", b"example", b"jp"], 28));
        assert_eq!(of_frame(&frame).map(|question| question.kind), Some(28));
        for cut in 0..frame.len() {
            assert_eq!(of_frame(&frame[..cut]).is_some(), cut >= frame.len() - 2, "{cut}");
        }
    }

    #[test]
    fn no_bytes_whatever_make_it_panic() {
        let whole = asks(&[b"www", b"example", b"jp"], 1);
        for cut in 0..whole.len() {
            for flip in 0..=255_u8 {
                let mut bytes = whole[..cut].to_vec();
                if let Some(byte) = bytes.last_mut() {
                    *byte = flip;
                }
                read(&bytes);
            }
        }
        assert!(read(&[0xff; 600]).is_none());
    }
}
