//! Why a packet passed or was dropped: one enum for the data plane, metrics, the command line and the docs.
//!
//! Numbers are explicit and never reused; a reason that retires keeps its number. Texts live beside the
//! names so that nothing that prints a reason can drift from it.

macro_rules! reasons {
    ($( $number:literal $name:ident $code:literal $verdict:ident $en:literal $ja:literal; )*) => {
        /// See the module documentation. `as u32` is the number counted, recorded and exported.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum Reason { $( #[doc = $en] $name = $number, )* }

        /// Every reason, in numeric order.
        pub const ALL: &[Reason] = &[ $( Reason::$name, )* ];

        impl Reason {
            /// The stable name used in JSON, metrics labels and records.
            pub const fn code(self) -> &'static str { match self { $( Self::$name => $code, )* } }
            /// One English sentence for administrators.
            pub const fn en(self) -> &'static str { match self { $( Self::$name => $en, )* } }
            /// The same sentence in Japanese.
            pub const fn ja(self) -> &'static str { match self { $( Self::$name => $ja, )* } }
            /// Whether packets with this reason pass.
            pub const fn verdict(self) -> Verdict { match self { $( Self::$name => Verdict::$verdict, )* } }
            /// The reason with this number, if one was ever assigned.
            pub const fn from_number(number: u32) -> Option<Self> {
                match number { $( $number => Some(Self::$name), )* _ => None }
            }
            /// The reason with this stable name.
            pub fn from_code(code: &str) -> Option<Self> {
                match code { $( $code => Some(Self::$name), )* _ => None }
            }
        }
    };
}

/// Pass or drop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The packet goes on.
    Pass,
    /// The packet ends here, counted.
    Drop,
}

/// Size of the counter table per network and direction; reason numbers stay below it.
pub const REASON_SLOTS: u32 = 128;

reasons! {
    // Passed.
    1 Rule "rule" Pass "a rule permits it" "規則により許可";
    2 Flow "flow" Pass "it belongs to a permitted conversation" "許可済みの通信の続き";
    3 Related "related" Pass "an ICMP error or reset for a live conversation" "確立済み通信に対するICMPエラー・リセット";
    4 Builtin "builtin" Pass "a built-in protocol the policy leaves on" "組込みの制御プロトコル";
    5 Adopted "adopted" Pass "a running connection taken over at first attachment" "導入時に引き継いだ既存の通信";
    6 Management "management" Pass "the management path, open during a cut-off" "遮断中も開いている管理経路";
    7 Fragment "fragment" Pass "a later fragment of a permitted packet" "許可済みパケットの後続断片";

    // The box cannot judge.
    10 NoPolicy "no_policy" Drop "no policy is loaded" "方針が読み込まれていない";
    11 UnknownInterface "unknown_interface" Drop "the interface belongs to no zone or network" "どの区域・外部網にも属さないインターフェース";
    12 UnknownVlan "unknown_vlan" Drop "the VLAN belongs to no zone or network on this interface" "このインターフェースで定義されていないVLAN";
    13 UnguardedSource "unguarded_source" Drop "it came from an interface nobody guards" "監視対象外のインターフェースから来た";
    14 NotJudged "not_judged" Drop "it reached the way out without a judgement at the way in" "入口で判定されずに出口へ来た";
    15 Internal "internal" Drop "a table the decision needs is missing (report this)" "判定表の内部不整合(要報告)";

    // Layer 2.
    20 Truncated "truncated" Drop "shorter than its own headers" "ヘッダーより短い";
    21 BadSourceMac "bad_source_mac" Drop "group or zero source MAC" "送信元MACがグループまたはゼロ";
    22 VlanTooDeep "vlan_too_deep" Drop "more than two VLAN tags" "VLANタグが3段以上";
    23 UnknownEtherType "unknown_ethertype" Drop "an EtherType the policy does not name" "方針にないEtherType";
    24 L2Control "l2_control" Drop "bridge control traffic the policy drops" "方針で止めているL2制御通信";

    // Layer 3.
    30 Ipv4Header "ipv4_header" Drop "an IPv4 header that contradicts itself" "IPv4ヘッダーの矛盾";
    31 Ipv4Options "ipv4_options" Drop "IPv4 options" "IPv4オプション";
    32 Ipv6Header "ipv6_header" Drop "an IPv6 header that contradicts itself" "IPv6ヘッダーの矛盾";
    33 Ipv6Extension "ipv6_extension" Drop "an IPv6 extension header out of order, unknown or too many" "IPv6拡張ヘッダーの異常";
    34 Martian "martian" Drop "an address that must not appear on a wire" "経路上に現れてはならないアドレス";
    35 Land "land" Drop "source equals destination" "送信元と宛先が同一";
    36 Multicast "multicast" Drop "multicast or broadcast no rule or built-in names" "許可されていないマルチキャスト・ブロードキャスト";
    37 Arp "arp" Drop "malformed ARP" "不正な形式のARP";
    38 Ndp "ndp" Drop "neighbour discovery outside its rules" "近隣探索の規則違反";

    // Fragments.
    40 FragmentTiny "fragment_tiny" Drop "a first fragment too small to judge, or an empty one" "判定できない小断片・空断片";
    41 FragmentOverlap "fragment_overlap" Drop "overlapping fragments; the whole datagram goes" "断片の重なり(データグラム全体を破棄)";
    42 FragmentOrphan "fragment_orphan" Drop "a fragment whose first was not permitted or not seen" "先頭断片が未許可または未着の断片";
    43 FragmentBounds "fragment_bounds" Drop "a fragment past the end of its datagram or past 65,535 bytes" "データグラム終端または65,535バイトを超える断片";
    44 FragmentNested "fragment_nested" Drop "a fragment inside a fragment" "断片ヘッダーの入れ子";
    45 FragmentTooMany "fragment_too_many" Drop "too many holes between fragments" "断片の欠落箇所が多すぎる";

    // Layer 4.
    50 L4Header "l4_header" Drop "a transport header that contradicts itself" "トランスポートヘッダーの矛盾";
    51 PortZero "port_zero" Drop "port zero" "ポート番号0";
    52 TcpFlags "tcp_flags" Drop "an impossible combination of TCP flags" "ありえないTCPフラグの組合せ";
    53 TcpNotSyn "tcp_not_syn" Drop "TCP in the middle of a conversation nobody opened" "開始されていないTCP通信の途中パケット";
    54 TcpWindow "tcp_window" Drop "outside the TCP window" "TCPウィンドウの外";
    55 TcpState "tcp_state" Drop "TCP that does not fit the conversation's state" "TCP通信の状態と合わない";
    56 TcpSynData "tcp_syn_data" Drop "data in a SYN" "SYNにデータが含まれる";
    57 IcmpUnrelated "icmp_unrelated" Drop "an ICMP error about no live conversation" "生きた通信に対応しないICMPエラー";
    58 IcmpType "icmp_type" Drop "an ICMP type that is never let through" "通過させないICMP種別";

    // Cut-off.
    60 CutAll "cut_all" Drop "everything is cut off" "全遮断中";
    61 CutNetwork "cut_network" Drop "this network or zone is cut off" "この外部網・区域は遮断中";
    62 CutHost "cut_host" Drop "this host or prefix is cut off" "この端末・アドレス範囲は遮断中";
    63 Quarantined "quarantined" Drop "the host is in quarantine and no rule for quarantined hosts permits it" "隔離中の端末で、隔離中も有効な規則がない";
    64 Blocked "blocked" Drop "a detector blocks what the host does, for a time" "検知により一時的に遮断中の端末の通信";
    65 Throttled "throttled" Drop "more than a detector lets the host do" "検知の上限を超えた通信";
    66 Held "held" Drop "too many first contacts at once that nobody has answered yet" "応答のない新規接続が多すぎるため保留";

    // Identity.
    70 SpoofedSource "spoofed_source" Drop "a source that does not live on this side" "この側に存在しない送信元アドレス";
    71 UnknownDevice "unknown_device" Drop "a device that is not registered" "登録されていない端末";
    72 MacMismatch "mac_mismatch" Drop "an address used with another device's MAC, or the reverse" "登録されたIPアドレスとMACの組と一致しない";
    73 UnknownRouter "unknown_router" Drop "not one of this network's routers" "この外部網の登録ルーターではない";
    74 DeviceExpired "device_expired" Drop "the device's registration has ended" "端末の登録期限切れ";
    75 OwnAddress "own_address" Drop "the box's own address as a source from outside" "自機アドレスを詐称した送信元";
    76 Unlisted "unlisted" Drop "an address that no rule names" "どの規則にも含まれないアドレス";

    // Rules and flows.
    80 NoRule "no_rule" Drop "no rule permits it" "許可する規則がない";
    81 RuleClosed "rule_closed" Drop "the rule that would permit it is outside its hours" "許可する規則が時間外";
    82 FlowEnded "flow_ended" Drop "the conversation's permission ended (policy or time)" "通信の許可が終了した(方針変更・時間)";
    83 WrongWay "wrong_way" Drop "leaving by a network it was not judged for" "判定された外部網とは別の出口";
    84 NoFlow "no_flow" Drop "a reply to a conversation the box does not know" "対応する通信のない応答";
    85 WrongServer "wrong_server" Drop "a published service led to another server" "公開サービスが別のサーバーに導かれた";
    86 TableFull "table_full" Drop "the conversation table refused a new entry" "通信表に空きがない";
    87 NotLocal "not_local" Drop "addressed to the box by a conversation that is not the box's" "自機の通信ではないのに自機に届いた";
    88 TooManyFlows "too_many_flows" Drop "more conversations at once than the rule allows" "規則の同時通信数の上限を超えた";
    89 TooFast "too_fast" Drop "new conversations faster than the rule allows" "規則の新規通信の頻度の上限を超えた";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_fit_the_counter_table() {
        for (position, reason) in ALL.iter().enumerate() {
            assert!((*reason as u32) < REASON_SLOTS);
            assert_eq!(Reason::from_number(*reason as u32), Some(*reason));
            assert_eq!(Reason::from_code(reason.code()), Some(*reason));
            assert!(ALL.iter().skip(position + 1).all(|other| other.code() != reason.code() && *other > *reason));
        }
    }

    /// The data plane tells pass from drop by one comparison.
    #[test]
    fn passing_reasons_come_first() {
        for reason in ALL {
            assert_eq!(
                reason.verdict() == Verdict::Pass,
                (*reason as u32) < Reason::NoPolicy as u32,
                "{}",
                reason.code()
            );
        }
    }
}
