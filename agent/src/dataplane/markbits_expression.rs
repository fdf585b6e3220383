//! Mark bits in nftables expressions: bit by bit, what is copied from the mark, what is constant, what was looked at.

use serde_json::Value;

/// What is known of the bits of a value.
#[derive(Debug, Clone, Copy, Default)]
struct Bits {
    /// Equal to the same bit of the mark.
    same: u32,
    /// Always zero.
    zero: u32,
    /// Always one.
    one: u32,
    /// Mark bits that decide the same bit of the value.
    seen: u32,
    /// Mark bits that went somewhere in the value.
    lost: u32,
}

/// The mark bits that an expression or statement looks at.
pub(super) fn read(value: &Value) -> u32 {
    let bits = weigh(value);
    bits.seen | bits.lost
}

/// The mark bits that change, or may, when the mark becomes this value. Bits that decide others count as well.
pub(super) fn written(value: &Value) -> u32 {
    let bits = weigh(value);
    !bits.same | bits.lost
}

fn weigh(value: &Value) -> Bits {
    match value {
        Value::Number(number) => {
            number.as_u64().and_then(|number| u32::try_from(number).ok()).map_or_else(Bits::default, constant)
        }
        Value::Object(object) => {
            if value["meta"]["key"] == "mark" {
                return Bits { same: u32::MAX, seen: u32::MAX, ..Bits::default() };
            }
            for (name, join) in [("&", and as fn(Bits, Bits) -> Bits), ("|", or), ("^", xor)] {
                // Newer nft puts a chain of the same operator into one list.
                let operands = object.get(name).and_then(Value::as_array).map(|all| all.iter().map(weigh));
                if let Some(joined) = operands.and_then(|all| all.reduce(join)) {
                    return joined;
                }
            }
            scattered(object.values())
        }
        Value::Array(items) => scattered(items.iter()),
        _ => Bits::default(),
    }
}

/// Shifts, maps, comparisons, statements: any bit may go anywhere.
fn scattered<'v>(parts: impl Iterator<Item = &'v Value>) -> Bits {
    Bits { lost: parts.fold(0, |all, part| all | read(part)), ..Bits::default() }
}

fn constant(value: u32) -> Bits {
    Bits { zero: !value, one: value, ..Bits::default() }
}

fn and(a: Bits, b: Bits) -> Bits {
    Bits {
        same: (a.same & b.one) | (b.same & a.one) | (a.same & b.same),
        zero: a.zero | b.zero,
        one: a.one & b.one,
        seen: (a.seen & !b.zero) | (b.seen & !a.zero),
        lost: a.lost | b.lost,
    }
}

fn or(a: Bits, b: Bits) -> Bits {
    Bits {
        same: (a.same & b.zero) | (b.same & a.zero) | (a.same & b.same),
        zero: a.zero & b.zero,
        one: a.one | b.one,
        seen: (a.seen & !b.one) | (b.seen & !a.one),
        lost: a.lost | b.lost,
    }
}

fn xor(a: Bits, b: Bits) -> Bits {
    Bits {
        same: (a.same & b.zero) | (b.same & a.zero),
        zero: (a.zero & b.zero) | (a.one & b.one),
        one: (a.zero & b.one) | (a.one & b.zero),
        seen: a.seen | b.seen,
        lost: a.lost | b.lost,
    }
}

/// The mark bits in a rule as nft writes those of `iptables`: `meta mark & 0xf0 == 0x10`, `mark set mark or 0x1`.
/// All bits where the mark is used in a way that is not understood.
pub(super) fn of_text(rule: &str) -> u32 {
    // A comment may say anything.
    let mut plain = String::new();
    for (index, part) in rule.split('"').enumerate() {
        // The name of a match that nft cannot write out stands in quotes, as in `xt match "mark"`.
        let name = matches!(part, "mark" | "MARK" | "connmark" | "CONNMARK");
        plain.push_str(if index % 2 == 0 || name { part } else { " " });
    }
    let words: Vec<&str> = plain.split_whitespace().collect();
    // The connection's own mark is another field.
    let packets =
        |index: &usize| words[*index].to_ascii_lowercase().ends_with("mark") && !words[..*index].ends_with(&["ct"]);
    let Some(first) = (0..words.len()).find(packets) else {
        return 0;
    };
    let number = |word: &str| word.strip_prefix("0x").and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let (mut bits, mut known, mut masked, mut set) = (0, false, false, false);
    for pair in words[first..].windows(2) {
        set |= pair[1] == "set";
        let Some(value) = number(pair[1]) else {
            continue;
        };
        known = true;
        match pair[0] {
            "&" | "and" => {
                bits |= if set { !value } else { value };
                masked = true;
            }
            "|" | "or" | "^" | "xor" => {
                bits |= value;
                masked = true;
            }
            "==" | "!=" if masked => {}
            _ => return u32::MAX,
        }
    }
    if known { bits } else { u32::MAX }
}
