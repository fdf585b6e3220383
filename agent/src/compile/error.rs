//! Why a policy cannot become tables: it asks for more than the tables hold.

use std::net::IpAddr;

use sekimori_ebpf::{
    abi::{MAX_BINDINGS, MAX_MACS, MAX_PORTS, MAX_PREFIXES, MAX_RULES, MAX_SCHEDULES, MAX_SETS},
    classify::{Line, MAX_LINES, NO_CLASS},
    detect::abi::MAX_EXEMPT,
};

use super::{
    classes::MAX_CLASSES,
    registry::{Exhausted, Kind},
};

/// Largest size of the table of addresses.
const TABLE_MIB: usize = (MAX_LINES as usize * size_of::<Line>()) >> 20;

/// A limit of the data plane, and what in the policy went past it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// More rules than a set has bits.
    #[error(
        "{count} rules, at most {MAX_RULES} are possible; the first too many is `{rule}`: merge rules that differ \
         only in addresses or services"
    )]
    Rules {
        /// Rules in the policy.
        count: usize,
        /// Id of the first one past the limit.
        rule: String,
    },
    /// More names than stable numbers, or the free ones are still in use by the previous revision.
    #[error(
        "no number is left for {} `{}` (there are {}, names dropped by the running revision keep theirs): remove \
         what is no longer used, apply, then add the new name",
        .0.kind.en(), .0.name, .0.kind.capacity()
    )]
    Numbers(Exhausted),
    /// More prefixes than the table holds.
    #[error(
        "{count} different prefixes, at most {MAX_PREFIXES} are possible; most of them come from {most}: aggregate \
         these lists"
    )]
    Prefixes {
        /// Entries needed.
        count: usize,
        /// Groups and rules with the longest lists, longest first.
        most: String,
    },
    /// Groups and lists that overlap in more ways than the tables can tell apart.
    #[error(
        "the rules' groups and addresses overlap in more than {} different ways; the first too many is at {prefix}, and \
         most come from {most}: let rules share groups, or make groups that do not overlap in part", .crowd.limit()
    )]
    Overlaps {
        /// What there are too many of.
        crowd: Crowd,
        /// The prefix at which there was no room.
        prefix: String,
        /// Groups and rules that make the most combinations.
        most: String,
    },
    /// More distinct combinations of what prefixes say than there are numbers for.
    #[error(
        "more than {NO_CLASS} different combinations of network and rules that addresses belong to; {at} needs the \
         first too many: let rules share address groups instead of overlapping in part"
    )]
    Classes {
        /// The first address of the prefix that needed one more.
        at: IpAddr,
    },
    /// The prefixes need more memory than the table of addresses may have.
    #[error("the table of addresses would exceed {} MiB: aggregate the address lists", TABLE_MIB)]
    Space,
    /// More distinct combinations of rules than the table holds.
    #[error(
        "more than {MAX_SETS} different combinations of rules; the first too many is needed by {at}: let rules \
         share groups and services instead of overlapping in part"
    )]
    Sets {
        /// What needed one more.
        at: String,
    },
    /// More distinct combinations of hours and end dates than the table holds.
    #[error(
        "more than {} different combinations of hours and end dates; the first too many is needed by {at}: let \
         permissions end on the same days", MAX_SCHEDULES - 1
    )]
    Schedules {
        /// What needed one more.
        at: String,
    },
    /// More entries than one of the smaller tables holds.
    #[error("{count} {}, at most {} are possible; {at} brings the first too many: split the policy over two boxes", .table.en(), .table.limit())]
    Entries {
        /// Which table.
        table: Table,
        /// Entries needed.
        count: usize,
        /// What brings the first one past the limit.
        at: String,
    },
    /// An IPv4 address in IPv6 clothing, which no packet may carry.
    #[error("{at}: {prefix} is an IPv4-mapped prefix, which never matches a packet: write it as IPv4")]
    Mapped {
        /// What names it.
        at: String,
        /// The prefix.
        prefix: String,
    },
}

/// What overlapping groups multiply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crowd {
    /// Combinations of rules.
    Sets,
    /// Combinations of an owner with a set of rules each way.
    Classes,
}

impl Crowd {
    /// How many there may be.
    pub const fn limit(self) -> usize {
        match self {
            Self::Sets => MAX_SETS as usize,
            Self::Classes => MAX_CLASSES,
        }
    }
}

/// Tables that a policy fills one entry at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// (interface, VLAN) pairs.
    Ports,
    /// MACs of devices and routers.
    Macs,
    /// Registered addresses.
    Bindings,
    /// Addresses and MACs that are exempt from detectors.
    Exempt,
}

impl Table {
    /// Entries it holds.
    pub const fn limit(self) -> u32 {
        match self {
            Self::Ports => MAX_PORTS,
            Self::Macs => MAX_MACS,
            Self::Bindings => MAX_BINDINGS,
            // The table holds two generations.
            Self::Exempt => MAX_EXEMPT / 2,
        }
    }

    const fn en(self) -> &'static str {
        match self {
            Self::Ports => "pairs of interface and VLAN",
            Self::Macs => "MAC addresses of devices and routers",
            Self::Bindings => "registered addresses",
            Self::Exempt => "addresses and MACs exempt from detectors",
        }
    }

    const fn ja(self) -> &'static str {
        match self {
            Self::Ports => "インターフェースとVLANの組",
            Self::Macs => "端末・ルーターのMACアドレス",
            Self::Bindings => "登録アドレス",
            Self::Exempt => "検知の対象外とするアドレス・MAC",
        }
    }

    /// An error if `used` entries, each with who brings it, are too many.
    pub(super) fn check(self, used: usize, culprit: impl FnOnce(usize) -> Option<String>) -> Result<(), CompileError> {
        let limit = self.limit() as usize;
        if used <= limit {
            return Ok(());
        }
        Err(CompileError::Entries { table: self, count: used, at: culprit(limit).unwrap_or_default() })
    }
}

impl CompileError {
    /// The same sentence in Japanese.
    pub fn ja(&self) -> String {
        match self {
            Self::Rules { count, rule } => format!(
                "規則が{count}件あり、上限{MAX_RULES}件を超えています(超えた最初の規則: `{rule}`)。\
                 宛先やサービスだけが違う規則をまとめてください"
            ),
            Self::Numbers(Exhausted { kind, name }) => format!(
                "{} `{name}` に割り当てる番号がありません(全{}個。稼働中の版から外した名前の番号はまだ再利用できません)。\
                 使わない名前を削除して適用してから、新しい名前を追加してください",
                kind.ja(),
                kind.capacity()
            ),
            Self::Prefixes { count, most } => format!(
                "アドレス範囲が{count}件あり、上限{MAX_PREFIXES}件を超えています(多いのは {most})。リストを集約してください"
            ),
            Self::Overlaps { crowd, prefix, most } => format!(
                "規則のグループやアドレスの重なり方が上限{}通りを超えています(超えた最初の箇所: {prefix}、主な原因: {most})。\
                 グループを共用するか、部分的に重ならないグループに分けてください",
                crowd.limit()
            ),
            Self::Classes { at } => format!(
                "アドレスの属するネットワークと規則の組合せが上限{NO_CLASS}通りを超えています(超えた箇所: {at})。\
                 部分的に重なる指定をやめ、アドレスのグループを共用してください"
            ),
            Self::Space => {
                format!("アドレスの表が上限{TABLE_MIB}MiBを超えます。アドレスのリストを集約してください")
            }
            Self::Sets { at } => format!(
                "規則の組合せが上限{MAX_SETS}通りを超えています(超えた箇所: {at})。\
                 部分的に重なる指定をやめ、グループやサービスを共用してください"
            ),
            Self::Schedules { at } => format!(
                "時間帯と期限の組合せが上限{}通りを超えています(超えた箇所: {at})。期限の日をそろえてください",
                MAX_SCHEDULES - 1
            ),
            Self::Entries { table, count, at } => format!(
                "{}が{count}件あり、上限{}件を超えています(超えた箇所: {at})。2台に分けてください",
                table.ja(),
                table.limit()
            ),
            Self::Mapped { at, prefix } => {
                format!("{at}: {prefix} はIPv4射影アドレスで、どのパケットにも一致しません。IPv4の形で書いてください")
            }
        }
    }
}

impl From<Exhausted> for CompileError {
    fn from(exhausted: Exhausted) -> Self {
        Self::Numbers(exhausted)
    }
}

/// How error texts name a rule, a device and so on.
pub(super) fn named(kind: Kind, name: &str) -> String {
    format!("{} `{name}`", kind.en())
}
