//! The command line as written.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, builder::RangedU64ValueParser};

use super::text::Lang;
use crate::{cutoff::Level, flows::query::Verdict, tokens::Right};

/// Network perimeter enforcement: judges every packet at the edge by a written policy.
#[derive(Debug, Parser)]
#[command(name = "sekimori", version, disable_help_subcommand = true)]
#[command(
    after_help = "Exit codes: 0 done or yes; 1 a clean no (invalid policy, packet dropped, not enforcing); 2 usage or failure."
)]
pub struct Cli {
    /// How to answer.
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub format: Format,
    /// Language of texts; default by LANG.
    #[arg(long, global = true, value_enum)]
    pub lang: Option<Lang>,
    /// The agent's configuration, which names the instance; default: SEKIMORI_CONFIG, then
    /// /etc/sekimori/agent.yaml.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The agent's control socket, if the configuration cannot be read.
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Numbers of rows: none is a slip, and its answer would look as if there was nothing.
fn rows() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

/// How to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON document, or one object a line for lists.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The daemon.
    Agent,
    /// Parse, validate, lint and test a policy; works without an agent.
    Check {
        /// A file or a folder; default: the configured policy.
        policy: Option<PathBuf>,
        /// Print the JSON Schema of policies instead.
        #[arg(long)]
        schema: bool,
    },
    /// Stage, verify and switch to a policy.
    Apply {
        /// A file or a folder; default: the configured policy.
        policy: Option<PathBuf>,
        /// Why; recorded.
        #[arg(long)]
        reason: Option<String>,
        /// Even if the management path would be closed.
        #[arg(long)]
        allow_management_loss: bool,
        /// Take the present time as right although a later one was seen.
        #[arg(long)]
        accept_clock: bool,
    },
    /// Enforcing or not, and why; exit 1 if not.
    Status,
    /// Cut something off at once.
    Cutoff(Cutoff),
    /// Lift a cut-off.
    Restore(Restore),
    /// Put hosts in quarantine: they get only what rules with `quarantined: permit` permit.
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// Release hosts from quarantine.
    #[command(subcommand)]
    Release(ReleaseCommand),
    /// Groups: their members, and changes at run time.
    #[command(subcommand)]
    Group(GroupCommand),
    /// Lists that others keep (block lists, threat feeds): what is used of them, and why not the rest.
    Lists {
        /// What of them; `show` if nothing is said.
        #[command(subcommand)]
        what: Option<ListsCommand>,
    },
    /// Who may use the HTTP API.
    #[command(subcommand)]
    Token(TokenCommand),
    /// The verdict on one packet; exit 1 if it would be dropped.
    Explain {
        /// Interface it enters by, or `box`.
        #[arg(long = "in", value_name = "IFACE")]
        interface: String,
        /// As 'tcp 192.168.10.17:40000 > 203.0.113.5:443'.
        packet: String,
        /// Source MAC.
        #[arg(long)]
        mac: Option<String>,
        /// A policy instead of the one in force; works without an agent.
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
        /// At this instant (RFC 3339, or local time of the policy).
        #[arg(long)]
        at: Option<String>,
    },
    /// A verdict for every packet of a capture.
    Replay {
        /// pcap or pcapng.
        capture: PathBuf,
        /// Interface the packets enter by.
        #[arg(long = "in", value_name = "IFACE", conflicts_with = "auto", required_unless_present = "auto")]
        interface: Option<String>,
        /// Each packet enters by the interface its source belongs to.
        #[arg(long)]
        auto: bool,
        /// A policy instead of the configured one.
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
        /// Judge every packet at this instant instead of its own.
        #[arg(long)]
        at: Option<String>,
    },
    /// What detectors saw.
    #[command(subcommand)]
    Incidents(IncidentsCommand),
    /// What the gate drops, as it drops it: what no capture behind it can see.
    Capture(Capture),
    /// Who talked to whom, when and by which rule, and what was refused: recorded conversations, newest last.
    Flows(Flows),
    /// The record of administrators' actions, newest last.
    Records(Records),
    /// Open the gate: remove programs, tables and the nftables guard.
    Detach {
        /// Why; recorded.
        #[arg(long)]
        reason: Option<String>,
        /// Yes, every packet shall pass unjudged.
        #[arg(long)]
        yes_open_the_gate: bool,
    },
    /// The version.
    Version,
}

/// Conversations.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Flows {
    /// Something else of them.
    #[command(subcommand)]
    pub what: Option<FlowsCommand>,
    /// One end: ADDR, PREFIX or DEVICE (a device is known by name as the one that opened a conversation).
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// The other end: ADDR or PREFIX.
    #[arg(long, value_name = "PEER")]
    pub peer: Option<String>,
    /// The port asked for.
    #[arg(long)]
    pub port: Option<u16>,
    /// tcp, udp, icmp, icmpv6 or a number.
    #[arg(long)]
    pub proto: Option<String>,
    /// Not over before: 24h (ago), 2026-12-01, 2026-12-01T09:00 (local time of this box) or with an offset.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Not begun after.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Permitted by this rule.
    #[arg(long, value_name = "ID")]
    pub rule: Option<String>,
    /// Conversations, or refused packets.
    #[arg(long, value_enum)]
    pub verdict: Option<Verdict>,
    /// What the data plane holds at this instant instead, seen at each interface.
    #[arg(long, conflicts_with_all = ["host", "peer", "port", "proto", "since", "until", "rule", "verdict"])]
    pub live: bool,
    /// Most rows.
    #[arg(long, default_value_t = 1000, value_parser = rows())]
    pub limit: usize,
}

/// What else of conversations.
#[derive(Debug, Subcommand)]
pub enum FlowsCommand {
    /// Had we known these addresses: who talked to any of them? Exit 0: somebody; 1: nobody.
    BackCheck {
        /// Addresses, prefixes, or files that list them, one a line.
        #[arg(required = true, value_name = "ADDR|PREFIX|FILE")]
        listed: Vec<String>,
        /// Not over before: 30d (ago), 2026-12-01, 2026-12-01T09:00 (local time of this box) or with an offset.
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Not begun after.
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
    },
}

/// The record.
#[derive(Debug, Args)]
pub struct Records {
    /// What of it; `list` if nothing is said.
    #[command(subcommand)]
    pub what: Option<RecordsCommand>,
    /// Most lines.
    #[arg(long, default_value_t = 100, value_parser = rows())]
    pub limit: usize,
}

/// What of the record.
#[derive(Debug, Subcommand)]
pub enum RecordsCommand {
    /// The last lines, newest last.
    List {
        /// Most lines.
        #[arg(long, default_value_t = 100, value_parser = rows())]
        limit: usize,
        /// Not before: 2026-12-01T09:00:00+09:00.
        #[arg(long, value_name = "TIME")]
        since: Option<jiff::Timestamp>,
        /// Not after.
        #[arg(long, value_name = "TIME")]
        until: Option<jiff::Timestamp>,
        /// Only this action: cutoff, restore, apply, …
        #[arg(long)]
        action: Option<String>,
        /// Only what concerned this object: 'network internet'.
        #[arg(long)]
        object: Option<String>,
    },
    /// One line, in full.
    Show {
        /// Its number.
        number: u64,
    },
    /// Whether it is whole: no line missing, changed or put in; exit 1 if not.
    Verify,
}

/// What to do with incidents.
#[derive(Debug, Subcommand)]
pub enum IncidentsCommand {
    /// The newest, newest last.
    List {
        /// Only those nobody has looked at.
        #[arg(long)]
        open: bool,
        /// Only of this host: ADDR, MAC or DEVICE.
        #[arg(long)]
        host: Option<String>,
        /// Only with an event since then: 2h, 7d, 2026-12-01T09:00:00+09:00.
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Most rows.
        #[arg(long, default_value_t = 100, value_parser = rows())]
        limit: usize,
    },
    /// One incident, in full.
    Show {
        /// Its number.
        id: u64,
    },
    /// It has been looked at; an event after this opens a new one.
    Close {
        /// Numbers, all of them or none.
        #[arg(required = true)]
        ids: Vec<u64>,
        /// What was found; recorded.
        #[arg(long)]
        reason: Option<String>,
    },
    /// One incident with its lines of the record and its packets, as JSON.
    Export {
        /// Its number.
        id: u64,
        /// Write the packets to this file instead.
        #[arg(long, value_name = "FILE")]
        pcapng: Option<PathBuf>,
    },
}

/// Live capture.
#[derive(Debug, Args)]
pub struct Capture {
    /// Only dropped for this reason: no_rule, mac_mismatch, …
    #[arg(long)]
    pub reason: Option<String>,
    /// Only of this zone or network.
    #[arg(long)]
    pub net: Option<String>,
    /// Only from or to this address.
    #[arg(long, value_name = "ADDR")]
    pub host: Option<String>,
    /// Only from or to this port.
    #[arg(long)]
    pub port: Option<u16>,
    /// Only this protocol: tcp, udp, icmp, icmpv6 or a number.
    #[arg(long)]
    pub proto: Option<String>,
    /// Stop after so many packets.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Stop after so long, at most 1h.
    #[arg(long = "for", value_name = "DURATION", default_value = "30s")]
    pub lasting: String,
    /// Write a pcapng file instead of lines; `-` for standard output.
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}

/// What to do with quarantine.
#[derive(Debug, Subcommand)]
pub enum QuarantineCommand {
    /// Put hosts in quarantine, all of them or none.
    Host {
        /// ADDR, MAC or DEVICE.
        #[arg(required = true)]
        names: Vec<String>,
        /// Why; recorded.
        #[arg(long)]
        reason: Option<String>,
        /// For so long only: 90s, 30m, 8h, 7d; else until it is released.
        #[arg(long = "for", value_name = "DURATION")]
        lasting: Option<String>,
    },
    /// Who is in quarantine, why, and what was refused since.
    List,
}

/// What to release.
#[derive(Debug, Subcommand)]
pub enum ReleaseCommand {
    /// Release hosts, all of them or none.
    Host {
        /// As they were named.
        #[arg(required = true)]
        names: Vec<String>,
        /// Why; recorded.
        #[arg(long)]
        reason: Option<String>,
    },
}

/// What to do with lists.
#[derive(Debug, Subcommand)]
pub enum ListsCommand {
    /// Each list: state, age, and why its last delivery was refused.
    Show,
    /// Read them again now; exit 1 if one is refused.
    Reload {
        /// These only; else all.
        lists: Vec<String>,
        /// Even if half of one or more is gone.
        #[arg(long)]
        accept_shrunk: bool,
        /// Why; recorded.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Whether files would be taken, and which of their lines not; works without an agent. Exit 1 if one would be refused.
    Check {
        /// Files or folders.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// auto, plain, netset, drop, drop-json, abuse-csv or hosts.
        #[arg(long = "as", value_name = "FORMAT", default_value = "auto")]
        written_as: String,
        /// A policy whose zones must not be on them; default: the configured one, if it can be read.
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
    },
}

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Let somebody use the HTTP API; a new token is shown this once and kept nowhere.
    Add {
        /// For records, and to revoke it by.
        id: String,
        /// What it may.
        #[arg(long, value_enum, conflicts_with = "receiver")]
        role: Option<Right>,
        /// It may deliver alerts to the receiver whose policy names it, and nothing else.
        #[arg(long)]
        receiver: bool,
        /// It may act on these only: `network NAME`, `zone NAME`, `host ADDR|MAC|DEVICE`, `prefix P`.
        #[arg(long, num_args = 1.., value_name = "OBJECT")]
        objects: Vec<String>,
        /// A client certificate of this subject (as RFC 4514 writes it: CN=ops,O=Town) instead of a token.
        #[arg(long, value_name = "SUBJECT")]
        certificate: Option<String>,
        /// For so long only: 8h, 90d; else until it is revoked.
        #[arg(long, value_name = "DURATION")]
        expires: Option<String>,
        /// Why; recorded.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Everybody who may.
    List,
    /// From now on it may no longer.
    Revoke {
        /// Who.
        id: String,
        /// Why; recorded.
        #[arg(long)]
        reason: Option<String>,
    },
}

/// What to do with groups.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// What the policy says, and what was changed at run time.
    List {
        /// One group, in full.
        name: Option<String>,
    },
    /// Add members, all at one instant; they stay until removed, over applies and reboots.
    Add {
        /// The group.
        name: String,
        /// Prefixes or addresses.
        #[arg(required = true)]
        prefixes: Vec<String>,
        /// Why; recorded.
        #[arg(long)]
        reason: Option<String>,
        /// For so long only: 90s, 30m, 8h, 7d.
        #[arg(long = "for", value_name = "DURATION")]
        lasting: Option<String>,
    },
    /// Take members out, all at one instant, whether of the policy or added.
    Remove {
        /// The group.
        name: String,
        /// Prefixes or addresses.
        #[arg(required = true)]
        prefixes: Vec<String>,
        /// Why; recorded.
        #[arg(long)]
        reason: Option<String>,
    },
}

/// What to cut, how and why.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Cutoff {
    /// Later, by the agent itself.
    #[command(subcommand)]
    pub plan: Option<PlanCommand>,
    /// `network NAME`, `zone NAME`, `host ADDR|MAC|DEVICE`, `prefix P`, `all`: one or more. Or `list`: what is cut off. Or
    /// `verify`, with objects or without: look at it again.
    #[arg(required = true, value_name = "OBJECT")]
    pub words: Vec<String>,
    /// Why; recorded.
    #[arg(long)]
    pub reason: Option<String>,
    /// The management path too (with `all`).
    #[arg(long)]
    pub including_management: bool,
    /// How deep.
    #[arg(long, value_enum, default_value = "drop")]
    pub level: Level,
    /// For so long only: 90s, 30m, 8h, 7d.
    #[arg(long = "for", value_name = "DURATION")]
    pub lasting: Option<String>,
    /// Until then only: 17:30, 2026-12-01T17:30 (local time of the policy), or with an offset.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Rehearse: every step and check but the cut itself.
    #[arg(long)]
    pub drill: bool,
    /// Of a drill: when the people began, to measure how long they took.
    #[arg(long, value_name = "TIME", requires = "drill")]
    pub started: Option<String>,
}

/// What to do with planned cut-offs.
#[derive(Debug, Subcommand)]
pub enum PlanCommand {
    /// Plan a cut-off: the agent carries it out by itself, over a restart or a reboot too.
    Plan(Plan),
    /// What is planned.
    Plans,
    /// Take a plan back, or put one away that was missed.
    Unplan {
        /// Its number.
        number: u64,
        /// Why; recorded.
        #[arg(long)]
        reason: Option<String>,
    },
}

/// A cut-off to come.
#[derive(Debug, Args)]
pub struct Plan {
    /// `network NAME`, `zone NAME`, `host ADDR|MAC|DEVICE`, `prefix P`, `all`: one or more.
    #[arg(required = true, value_name = "OBJECT")]
    pub words: Vec<String>,
    /// When: 18:00 (the next), 2026-12-05T18:00 (local time of the policy), '2026-12-05 18:00', '令和8年12月5日 18時', or with an offset.
    #[arg(long, value_name = "TIME")]
    pub at: String,
    /// For so long: 90s, 30m, 8h, 7d; else until somebody restores it.
    #[arg(long = "for", value_name = "DURATION", conflicts_with = "until")]
    pub lasting: Option<String>,
    /// Until then: 20:00 (the next after the beginning), or in the forms of --at.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Why; recorded, and in the notice.
    #[arg(long)]
    pub reason: Option<String>,
    /// How deep.
    #[arg(long, value_enum, default_value = "drop")]
    pub level: Level,
    /// Draft what the people concerned are told, in Japanese and English; into FILE, which must not exist, or shown.
    #[arg(long, value_name = "FILE")]
    pub notice: Option<Option<PathBuf>>,
    /// Even if it is nearer than plan_lead_time in the agent's configuration.
    #[arg(long)]
    pub urgent: bool,
}

/// A restoration.
#[derive(Debug, Args)]
pub struct Restore {
    /// As they were cut off: `network NAME`, `host …`, `all`, one or more. Or `confirm NUMBER`: what somebody else asked for.
    #[arg(required = true, value_name = "OBJECT")]
    pub words: Vec<String>,
    /// Why; recorded.
    #[arg(long)]
    pub reason: Option<String>,
    /// Only this passes again, and the rest stays cut off: `host:ADDR|MAC|DEVICE` or `service:NAME`, several or repeated. Say it
    /// again with more to widen it; a restore without it ends the cut-off.
    #[arg(long, num_args = 1.., value_name = "WHAT")]
    pub first: Vec<String>,
    /// Only show what would open.
    #[arg(long)]
    pub dry_run: bool,
}
