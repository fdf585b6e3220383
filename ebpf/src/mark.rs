//! What the way in tells the way out: 23 bits in packet metadata and then in the socket buffer's mark.
//!
//! `kind` 2 bits, generation parity 1 bit, network 8 bits, rule 12 bits, lowest first. The parity lets the way out use
//! the tables the packet was judged by even if a switch falls in between: the older generation's tables stay
//! until the next one is staged.
//!
//! Nobody asks the mark of a reply for its network and rule. Bits that say reply and name a network mean: forward, and on the
//! list of a cut that is restored in stages ([`listed`]).

/// Bits in use, before shifting.
pub const BITS: u32 = 23;
/// All of them.
pub const MASK: u32 = (1 << BITS) - 1;

/// Not judged.
pub const KIND_NONE: u32 = 0;
/// In the initiator's direction, to be forwarded.
pub const KIND_FORWARD: u32 = 1;
/// In the other direction, to be forwarded.
pub const KIND_REPLY: u32 = 2;
/// For the box itself, or a built-in.
pub const KIND_LOCAL: u32 = 3;

/// Packs a mark.
#[inline(always)]
pub const fn encode(kind: u32, generation: u32, net: u16, rule: u16) -> u32 {
    let head = kind | ((generation & 1) << 2);
    if kind == KIND_REPLY { head } else { head | ((net as u32 & 0xff) << 3) | ((rule as u32 & 0xfff) << 11) }
}
/// The kind.
#[inline(always)]
pub const fn kind(mark: u32) -> u32 {
    if is_listed(mark) { KIND_FORWARD } else { mark & 3 }
}
/// The same mark, on the list; only of [`KIND_FORWARD`].
#[inline(always)]
pub const fn listed(mark: u32) -> u32 {
    if mark & 3 == KIND_FORWARD { (mark & !3) | KIND_REPLY } else { mark }
}
/// Whether the way in found the conversation on the list.
#[inline(always)]
pub const fn is_listed(mark: u32) -> bool {
    mark & 3 == KIND_REPLY && net(mark) != 0
}
/// The generation's parity.
#[inline(always)]
pub const fn parity(mark: u32) -> u32 {
    (mark >> 2) & 1
}
/// The network or zone it must leave by.
#[inline(always)]
pub const fn net(mark: u32) -> u16 {
    ((mark >> 3) & 0xff) as u16
}
/// The rule's index.
#[inline(always)]
pub const fn rule(mark: u32) -> u16 {
    ((mark >> 11) & 0xfff) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        for kind_in in [KIND_NONE, KIND_FORWARD, KIND_REPLY, KIND_LOCAL] {
            for (generation, net_in, rule_in) in [(0, 0, 0), (7, 255, 4095), (8, 1, 2048), (u32::MAX, 250, 1)] {
                let mark = encode(kind_in, generation, net_in, rule_in);
                assert_eq!(mark & !MASK, 0);
                let (net_out, rule_out) = if kind_in == KIND_REPLY { (0, 0) } else { (net_in, rule_in) };
                assert_eq!(
                    (kind(mark), parity(mark), net(mark), rule(mark)),
                    (kind_in, generation & 1, net_out, rule_out)
                );
                assert!(!is_listed(mark));
            }
        }
    }

    #[test]
    fn on_the_list_is_forward_with_a_sign() {
        let mark = encode(KIND_FORWARD, 7, 3, 4095);
        let sign = listed(mark);
        assert!(is_listed(sign) && sign & !MASK == 0);
        assert_eq!((kind(sign), parity(sign), net(sign), rule(sign)), (KIND_FORWARD, 1, 3, 4095));
        assert_eq!(listed(sign), sign);
        for other in [KIND_NONE, KIND_REPLY, KIND_LOCAL] {
            let mark = encode(other, 7, 3, 1);
            assert_eq!(listed(mark), mark);
        }
    }
}
