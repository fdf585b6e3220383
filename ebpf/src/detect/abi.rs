//! What the detectors and user space share: detectors and their numbers, thresholds, a host's state, events, evidence.
//!
//! Layouts as in [`crate::abi`]: `repr(C)`, no padding, integers only.

macro_rules! detectors {
    ($( $number:literal $name:ident $code:literal $en:literal $ja:literal; )*) => {
        /// What the detectors look for. Numbers are stable and never reused; `docs/detectors.md` has a section for each.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum Detector { $( #[doc = $en] $name = $number, )* }

        /// Every detector, in numeric order.
        pub const ALL: &[Detector] = &[ $( Detector::$name, )* ];

        impl Detector {
            /// The stable name used in policies, JSON, metrics and records.
            pub const fn code(self) -> &'static str { match self { $( Self::$name => $code, )* } }
            /// What it saw, in English.
            pub const fn en(self) -> &'static str { match self { $( Self::$name => $en, )* } }
            /// The same in Japanese.
            pub const fn ja(self) -> &'static str { match self { $( Self::$name => $ja, )* } }
            /// The detector with this number.
            pub const fn from_number(number: u32) -> Option<Self> {
                match number { $( $number => Some(Self::$name), )* _ => None }
            }
            /// The detector with this name.
            pub fn from_code(code: &str) -> Option<Self> {
                match code { $( $code => Some(Self::$name), )* _ => None }
            }
        }
    };
}

detectors! {
    1 HorizontalScan "horizontal_scan" "it tries one service at many addresses, and most do not answer" "多数のアドレスに接続を試み、大半が応答していない(水平スキャン)";
    2 VerticalScan "vertical_scan" "it tries many ports, and most are closed" "多数のポートを試し、大半が閉じている(垂直スキャン)";
    3 StealthScan "stealth_scan" "it sends TCP flags that no real connection begins with" "実在の通信では始まらないTCPフラグを送っている(ステルススキャン)";
    4 AddressSweep "address_sweep" "it asks many addresses whether they exist" "多数のアドレスの存在を探っている(アドレス探索)";
    5 FanOut "fan_out" "it talks to very many destinations in a short time" "短時間に極めて多数の宛先と通信している";
    6 SynFlood "syn_flood" "it opens TCP connections faster than they are answered" "応答を上回る速さでTCP接続を開始している(SYNフラッド)";
    7 UdpFlood "udp_flood" "it floods others with UDP" "UDPを大量に送りつけている(UDPフラッド)";
    8 IcmpFlood "icmp_flood" "it floods others with ICMP" "ICMPを大量に送りつけている(ICMPフラッド)";
    9 FragmentFlood "fragment_flood" "it floods others with fragments" "断片化パケットを大量に送りつけている(フラグメントフラッド)";
    10 DestinationFlood "destination_flood" "inside hosts together flood one destination" "内部の端末が一つの宛先に集中して送りつけている";
    11 Amplification "amplification" "it asks servers that answer with far more, for somebody else or in great number" "増幅型の応答をするサーバーに大量または他人名義で問い合わせている(リフレクション)";
    12 SpoofedSource "spoofed_source" "it sends from addresses that are not its own" "自分のものではない送信元アドレスを使っている(詐称)";
    13 IdentityChange "identity_change" "an address keeps changing its MAC, or is used by another device" "アドレスとMACの組が変わり続けている・登録と違う";
    14 RandomMac "random_mac" "many made-up MAC addresses appear" "作り物のMACアドレスが多数現れている";
    15 RogueArp "rogue_arp" "it answers ARP for an address that is not its own" "自分のものではないアドレスのARPを送っている";
    16 RogueNdp "rogue_ndp" "it plays router or answers neighbour discovery for others" "ルーターを装う・他人の近隣探索に答えている(不正RA・NDP)";
    17 RogueDhcp "rogue_dhcp" "it plays DHCP server" "DHCPサーバーを装っている";
    18 Land "land" "it sends packets whose source is their destination" "送信元と宛先が同一のパケットを送っている(LAND攻撃)";
    19 Malformed "malformed" "it sends packets whose headers contradict themselves" "ヘッダーが矛盾するパケットを送っている";
    20 WormPort "worm_port" "it tries ports outside that worms spread by" "ワームが広がるポートで外部への接続を試みている";
    21 SmtpBurst "smtp_burst" "it sends mail to many servers by itself" "直接多数のメールを送信している";
    22 BruteForce "brute_force" "it keeps logging in to one service" "一つのサービスへのログインを繰り返している(総当たり)";
    23 DnsTunnel "dns_tunnel" "its DNS questions carry more than names" "DNSの問合せに名前以上のものを載せている(DNSトンネル)";
    24 Beacon "beacon" "it calls one address outside at regular times" "外部の同じ宛先に規則正しく接続している(ビーコン)";
    25 ThreatContact "threat_contact" "it tried to reach an address on a threat list" "脅威リストの宛先に接続を試みた";
    26 TrapContact "trap_contact" "it tried to reach a trap address that nobody uses" "誰も使わない囮アドレスに接続を試みた";
    27 SlowScan "slow_scan" "it looks for hosts or services, one now and then, and nobody answers" "時間をかけて端末やサービスを探しており、応答がない(低速スキャン)";
}

/// Slots per zone and host for detectors; numbers stay below it.
pub const DETECTORS: usize = 32;

/// The detector is off.
pub const ACTION_OFF: u32 = 0;
/// Noted, nothing else.
pub const ACTION_OBSERVE: u32 = 1;
/// An incident, and an alert.
pub const ACTION_ALERT: u32 = 2;
/// What is beyond the threshold is dropped.
pub const ACTION_THROTTLE: u32 = 3;
/// What the host does of this kind is dropped for a time.
pub const ACTION_BLOCK: u32 = 4;
/// The agent puts the host in quarantine; until it has, all the host begins anew is dropped.
pub const ACTION_QUARANTINE: u32 = 5;

/// One detector's thresholds in one zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Threshold {
    /// By rate: nanoseconds that one unit takes; 0 for detectors that are not.
    pub cost: u64,
    /// By rate: how far ahead of the clock a host may get, burst times `cost`.
    pub most: u64,
    /// How long a block lasts, nanoseconds.
    pub hold: u64,
    /// By number: how many there may be.
    pub count: u32,
    /// [`ACTION_OBSERVE`] and the others.
    pub action: u32,
}

/// What is watched for in one zone under one generation's parity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Watched {
    /// [`WATCHED`] and the others; 0: nothing.
    pub flags: u32,
    /// Zero.
    pub pad: u32,
    /// By [`Detector`] number.
    pub thresholds: [Threshold; DETECTORS],
}
impl Watched {
    /// Nobody looks.
    pub const NOTHING: Self = Self {
        flags: 0,
        pad: 0,
        thresholds: [Threshold { cost: 0, most: 0, hold: 0, count: 0, action: 0 }; DETECTORS],
    };
}
/// Somebody looks.
pub const WATCHED: u32 = 1;
/// There are threat lists.
pub const WATCHED_THREATS: u32 = 1 << 1;
/// There are trap addresses.
pub const WATCHED_TRAPS: u32 = 1 << 2;
/// Somebody is exempt from something.
pub const WATCHED_EXEMPT: u32 = 1 << 3;
/// Entries of the table of [`Watched`]: two parities.
pub const WATCHED_SLOTS: u32 = 2 * crate::abi::MAX_NETS;
/// Where a generation's entry of a zone is.
#[inline(always)]
pub const fn watched_index(generation: u32, net: u16) -> u32 {
    (generation & 1) * crate::abi::MAX_NETS + (net as u32 & (crate::abi::MAX_NETS - 1))
}

/// Whose state it is: a host by address, by MAC ([`crate::abi::quarantine_mac`]) where the address is not its own, or the
/// zone itself (all zero).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct HostKey {
    /// Address, MAC or zero.
    pub addr: [u8; 16],
    /// The zone.
    pub net: u32,
}

impl HostKey {
    /// A zone's own.
    #[inline(always)]
    pub const fn zone(net: u16) -> Self {
        Self { addr: [0; 16], net: net as u32 }
    }
    /// What all of a zone share who have no state of their own. No host has this address, nor those of the next two.
    #[inline(always)]
    pub const fn crowd(net: u16) -> Self {
        Self::shared(net, 1)
    }
    /// Where newcomers are counted: those whose address is theirs apart from those whom nobody knows, or these would use up what
    /// is for the others.
    #[inline(always)]
    pub const fn newcomers(net: u16, own: bool) -> Self {
        Self::shared(net, 2 * (1 - own as u8))
    }
    /// What those of the zone share whom nobody knows and who have no state of their own.
    #[inline(always)]
    pub const fn unknown(net: u16) -> Self {
        Self::shared(net, 3)
    }
    const fn shared(net: u16, number: u8) -> Self {
        Self { addr: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number], net: net as u32 }
    }
    /// That of the MAC a packet came from.
    #[inline(always)]
    pub const fn sender(packet: &crate::packet::Packet) -> Self {
        Self { addr: crate::abi::quarantine_mac(&packet.src_mac), net: packet.net as u32 }
    }
}

/// First contacts a host remembers: sets of [`CONTACT_WAYS`]; a power of two.
pub const CONTACTS: usize = 128;
/// Contacts whose hash is the same that are told apart.
pub const CONTACT_WAYS: usize = 4;
/// Words of the sketch of distinct destinations.
pub const SPREAD_WORDS: usize = 8;
/// Bits of it.
pub const SPREAD_BITS: u32 = 64 * SPREAD_WORDS as u32;

/// What is known of one host. Written without locks: two processors may lose one another's counts, never more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Host {
    /// Last time it was looked at, `CLOCK_BOOTTIME` nanoseconds.
    pub seen: u64,
    /// When the sketch of destinations began.
    pub window: u64,
    /// By [`pace`]: until when what it sent is used up.
    pub paces: [u64; PACES],
    /// By [`block`]: until when it is refused.
    pub blocks: [u64; BLOCKS],
    /// Services it tried: tag, time, state; see `detect::walk`.
    pub contacts: [u64; CONTACTS],
    /// Distinct destinations in this window, as linear counting (Whang et al. 1990).
    pub spread: [u64; SPREAD_WORDS],
    /// Distinct addresses among failures, the same in one word.
    pub places: u64,
    /// Distinct ports among failures.
    pub ports: u64,
    /// The random walk, in quarters of a failure.
    pub walk: i32,
    /// [`crate::detect::walk`]'s epoch of `pending`.
    pub epoch: u32,
    /// Unanswered first contacts of this epoch and the one before.
    pub pending: [u32; 2],
    /// First contacts answered in them.
    pub answered: [u32; 2],
    /// The lines over which the pending ones went, a bit for each of [`LINES`].
    pub tried: [u32; 2],
    /// Addresses whose answers brought the walk down in this time, a bit for each; see `detect::walk`.
    pub credited: [u64; SPREAD_WORDS],
    /// Bits set in `spread`.
    pub spread_count: u32,
    /// The detector that last placed a block.
    pub blamed: u32,
    /// Packets refused by blocks since.
    pub refused: u32,
    /// Times the MAC changed, since `mac_tick`.
    pub mac_changes: u32,
    /// [`crate::abi::tick`] of the first of them.
    pub mac_tick: u32,
    /// Services held since anything was answered, those of the web apart, a bit for each; see `detect::walk`.
    pub held: u32,
    /// Packets kept as evidence: [`crate::abi::tick`] and how many in it.
    pub kept_tick: u32,
    /// See there.
    pub kept: u32,
    /// The same of the web.
    pub held_web: u64,
    /// Its MAC; zero before the first packet.
    pub mac: u64,
    /// By detector: [`crate::abi::tick`] of the last event.
    pub told: [u32; DETECTORS],
    /// By detector: packets that were beyond the threshold.
    pub hits: [u32; DETECTORS],
}
impl Host {
    /// Never seen.
    pub const NEW: Self = Self {
        seen: 0,
        window: 0,
        paces: [0; PACES],
        blocks: [0; BLOCKS],
        contacts: [0; CONTACTS],
        spread: [0; SPREAD_WORDS],
        places: 0,
        ports: 0,
        walk: 0,
        epoch: 0,
        pending: [0; 2],
        answered: [0; 2],
        tried: [0; 2],
        credited: [0; SPREAD_WORDS],
        spread_count: 0,
        blamed: 0,
        refused: 0,
        mac_changes: 0,
        mac_tick: 0,
        held: 0,
        kept_tick: 0,
        kept: 0,
        held_web: 0,
        mac: 0,
        told: [0; DETECTORS],
        hits: [0; DETECTORS],
    };
}
/// Lines whose state is kept apart; a power of two, no more than bits in [`Host::tried`].
pub const LINES: usize = 16;

/// What the hosts of a zone see of the lines to others; see `detect::reach`. Written without locks, like [`Host`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Reach {
    /// By line: when a service that used to answer was asked first since anybody was answered, `CLOCK_BOOTTIME` nanoseconds.
    pub asked: [u64; LINES],
    /// Last time anybody was answered.
    pub answered: [u64; LINES],
    /// [`crate::detect::walk`]'s epoch in which the line was last lost; 0: never.
    pub from: [u32; LINES],
    /// That in which it was there again; 0: not yet.
    pub until: [u32; LINES],
}
impl Reach {
    /// Nobody has asked for anything.
    pub const NEW: Self = Self { asked: [0; LINES], answered: [0; LINES], from: [0; LINES], until: [0; LINES] };
}

/// Indexes into [`Host::paces`].
pub mod pace {
    /// TCP connections begun and not yet answered.
    pub const SYN: usize = 0;
    /// UDP datagrams nobody asked for.
    pub const UDP: usize = 1;
    /// ICMP.
    pub const ICMP: usize = 2;
    /// Fragments.
    pub const FRAGMENT: usize = 3;
    /// Mail.
    pub const SMTP: usize = 4;
    /// Bytes of long DNS questions.
    pub const DNS: usize = 5;
    /// Questions to amplifiers.
    pub const AMPLIFIER: usize = 6;
    /// Worm ports.
    pub const WORM: usize = 7;
    /// Contradicting headers.
    pub const MALFORMED: usize = 8;
    /// ARP for addresses not asked for lately.
    pub const ARP: usize = 9;
    /// New contacts while a scan is throttled.
    pub const CONTACT: usize = 10;
    /// Web that the policy refused.
    pub const REFUSED_WEB: usize = 11;
    /// Answers of addresses that were heard of already.
    pub const ANSWERS: usize = 12;
}
/// Length of [`Host::paces`].
pub const PACES: usize = 13;
/// Indexes into [`Host::blocks`].
pub mod block {
    /// Everything it begins anew.
    pub const ALL: usize = 0;
    /// Services it has not been answered by before.
    pub const CONTACTS: usize = 1;
    /// TCP connections.
    pub const SYN: usize = 2;
    /// UDP.
    pub const UDP: usize = 3;
    /// ICMP.
    pub const ICMP: usize = 4;
    /// Fragments.
    pub const FRAGMENT: usize = 5;
    /// Mail.
    pub const SMTP: usize = 6;
    /// DNS.
    pub const DNS: usize = 7;
    /// Worm ports.
    pub const WORM: usize = 8;
}
/// Length of [`Host::blocks`].
pub const BLOCKS: usize = 16;

/// Hosts that were answered once, with a state of their own that no newcomer takes.
pub const MAX_HOSTS: u32 = 8_192;
/// Hosts that never were: the oldest makes room.
pub const MAX_STRANGERS: u32 = 8_192;
/// Slots of the paces kept by pair and by destination; a power of two.
pub const PAIRS: u32 = 1 << 16;
/// Addresses on threat lists.
pub const MAX_THREATS: u32 = 1 << 20;
/// Trap addresses.
pub const MAX_TRAPS: u32 = 4_096;
/// Exempt addresses and MACs, two parities.
pub const MAX_EXEMPT: u32 = 16_384;

/// Who is exempt: an address or a MAC, under one parity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ExemptKey {
    /// Address, or MAC as [`crate::abi::quarantine_mac`].
    pub addr: [u8; 16],
    /// Parity of the generation.
    pub parity: u32,
}

/// Something was seen. At most one a second, host and detector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Detection {
    /// `CLOCK_BOOTTIME` nanoseconds.
    pub time: u64,
    /// Whose doing it is: [`HostKey::addr`].
    pub host: [u8; 16],
    /// Source address of the packet.
    pub src: [u8; 16],
    /// Destination of the packet.
    pub dst: [u8; 16],
    /// Source MAC.
    pub mac: [u8; 6],
    /// Zone.
    pub net: u16,
    /// Kernel interface index.
    pub ifindex: u32,
    /// [`Detector`] number.
    pub detector: u32,
    /// What was done.
    pub action: u32,
    /// What was beyond the threshold: packets, contacts, ... since the host is known.
    pub hits: u32,
    /// The detector's own figure: distinct destinations, failures, the list's number.
    pub value: u32,
    /// The packet's reason after the detector had spoken.
    pub reason: u32,
    /// Generation.
    pub generation: u32,
    /// Stable slot of the rule plus one; 0 for none.
    pub slot: u32,
    /// Device number.
    pub device: u32,
    /// Source port.
    pub sport: u16,
    /// Destination port, or ICMP type << 8 | code.
    pub dport: u16,
    /// Outer VLAN id.
    pub vlan: u16,
    /// IP protocol.
    pub proto: u8,
    /// TCP flags.
    pub tcp_flags: u8,
    /// Packets its blocks refused.
    pub refused: u32,
    /// Until when it is blocked, `CLOCK_BOOTTIME` nanoseconds; 0: not.
    pub until: u64,
    /// EtherType.
    pub ethertype: u16,
    /// 1: nothing was seen in this packet; an earlier block of this detector refuses it.
    pub still: u8,
    /// Zero.
    pub pad: [u8; 5],
}

/// Bytes of each packet kept as evidence.
pub const KEPT_BYTES: usize = 192;
/// Packets kept, of all hosts; a power of two.
pub const KEPT: u32 = 4_096;
/// Packets kept of one host in one [`crate::abi::tick`].
pub const KEPT_OF_HOST: u32 = 64;
/// One packet of a watched host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Kept {
    /// Its number, from 1; 0: never written, or being written.
    pub number: u64,
    /// `CLOCK_BOOTTIME` nanoseconds.
    pub time: u64,
    /// [`HostKey::addr`].
    pub host: [u8; 16],
    /// Kernel interface index.
    pub ifindex: u32,
    /// Bytes on the wire.
    pub len: u32,
    /// Bytes here.
    pub kept: u32,
    /// Reason.
    pub reason: u32,
    /// Stable slot of the rule plus one; 0 for none.
    pub slot: u32,
    /// Zone or network.
    pub net: u16,
    /// [`Detector`] that spoke, 0 for none.
    pub detector: u16,
    /// The packet.
    pub bytes: [u8; KEPT_BYTES],
}

/// Which dropped (or all watched) packets are wanted live, by `sekimori capture`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Wanted {
    /// Until when, `CLOCK_BOOTTIME` nanoseconds; 0: nobody asks.
    pub until: u64,
    /// Reason number; 0: any.
    pub reason: u32,
    /// Zone or network; 0: any.
    pub net: u32,
    /// Either end's address; zero: any.
    pub addr: [u8; 16],
    /// Either port; 0: any.
    pub port: u32,
    /// IP protocol; 0: any.
    pub proto: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_fit() {
        for (position, detector) in ALL.iter().enumerate() {
            assert!((*detector as usize) < DETECTORS && *detector as u32 != 0);
            assert_eq!(Detector::from_number(*detector as u32), Some(*detector));
            assert_eq!(Detector::from_code(detector.code()), Some(*detector));
            assert!(ALL.iter().skip(position + 1).all(|other| other.code() != detector.code() && *other > *detector));
        }
    }

    #[test]
    fn shared_structs_have_no_padding() {
        assert_eq!(size_of::<Threshold>(), 32);
        assert_eq!(size_of::<Watched>(), 8 + 32 * DETECTORS);
        assert_eq!(size_of::<HostKey>(), 20);
        assert_eq!(
            size_of::<Host>(),
            16 + 8 * (PACES + BLOCKS + CONTACTS + 2 * SPREAD_WORDS) + 16 + 64 + 16 + 8 * DETECTORS
        );
        assert_eq!(size_of::<Reach>(), 24 * LINES);
        assert_eq!(size_of::<ExemptKey>(), 20);
        assert_eq!(size_of::<Detection>(), 128);
        assert_eq!(size_of::<Kept>(), 32 + 24 + KEPT_BYTES);
        assert_eq!(size_of::<Wanted>(), 40);
    }
}
