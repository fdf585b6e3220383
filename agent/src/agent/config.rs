//! The agent's own configuration: where an instance lives and how the administrator reaches the box.

use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;
use sekimori_ebpf::abi::MAX_MANAGEMENT;

use super::{
    document::{At, Node, Value},
    timeouts::{self, Timeouts},
};
use crate::{
    cutoff::object::read_mac,
    dataplane::{ManagementPath, XdpChoice, markbits::MAX_SHIFT},
    detect::Bounds,
    flows,
    http::Http,
    policy::words::Lasting,
};

/// Where the configuration is looked for when nothing is said.
pub const DEFAULT_PATH: &str = "/etc/sekimori/agent.yaml";
/// Longest lead time of planned cut-offs: 30 days.
const MAX_LEAD: u32 = 30 * 86_400;
/// Far more than a configuration needs.
const MAX_BYTES: u64 = 256 * 1024;
const MIB: u64 = 1 << 20;

/// One instance.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name, `[a-z0-9-]`.
    pub instance: String,
    /// The policy: a file or a folder.
    pub policy: PathBuf,
    /// State folder, 0700.
    pub state: PathBuf,
    /// This instance's pins; the parent is on a bpffs.
    pub bpffs: PathBuf,
    /// Control socket.
    pub socket: PathBuf,
    /// Where metrics are served; `None` for nowhere.
    pub metrics: Option<SocketAddr>,
    /// Where the HTTP API is served; `None` for nowhere.
    pub http: Option<Http>,
    /// Ways by which the administrator reaches the box.
    pub management: Vec<ManagementPath>,
    /// Unix groups.
    pub roles: Roles,
    /// Which XDP mode is accepted.
    pub xdp: XdpChoice,
    /// How long after the first attachment running connections are adopted.
    pub adopt_seconds: u32,
    /// Lowest mark bit in use.
    pub mark_shift: u32,
    /// Sizes of the conversation tables.
    pub flows: Flows,
    /// How long conversations may be idle.
    pub timeouts: Timeouts,
    /// How flow records are kept.
    pub flow_records: flows::Options,
    /// Seconds that a planned cut-off is to be ahead, unless it is urgent.
    pub plan_lead_time: u32,
    /// Established flows may be forwarded by the way in where nothing would be missed.
    pub fast_path: bool,
    /// Interfaces, zones and networks where they may not.
    pub fast_path_except: BTreeSet<String>,
    /// What is kept of what detectors saw.
    pub incidents: Incidents,
}

/// What is kept of what detectors saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incidents {
    /// How many, and how long events belong together.
    pub bounds: Bounds,
    /// Bytes of the packets that prove them.
    pub evidence_bytes: u64,
}

/// Unix groups that may speak to the control socket; root always may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles {
    /// May change things.
    pub operator: String,
    /// May look.
    pub viewer: String,
}
/// Sizes of the conversation tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flows {
    /// Established conversations.
    pub established: u32,
    /// Opening ones.
    pub opening: u32,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not readable.
    #[error("{path}: {source}; name the configuration with --config or SEKIMORI_CONFIG")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not understood.
    #[error("{path}:{at}")]
    Content {
        /// The file.
        path: PathBuf,
        /// Where and what.
        at: At,
    },
}

impl Config {
    /// From a file.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let read = |source| Error::Read { path: path.to_path_buf(), source };
        if fs::metadata(path).map_err(read)?.len() > MAX_BYTES {
            return Err(read(std::io::Error::other("larger than 256 KiB")));
        }
        let text = fs::read_to_string(path).map_err(read)?;
        Self::read(&text).map_err(|at| Error::Content { path: path.to_path_buf(), at })
    }

    /// From text.
    pub fn read(text: &str) -> Result<Self, At> {
        let mut config = Self::defaults();
        let root = Node::read(text)?;
        for (name, value) in root.fields(&[
            "instance",
            "policy",
            "state",
            "bpffs",
            "socket",
            "metrics",
            "http",
            "management",
            "roles",
            "xdp",
            "adopt_seconds",
            "mark_shift",
            "flows",
            "timeouts",
            "flow_records",
            "plan_lead_time",
            "fast_path",
            "fast_path_except",
            "incidents",
        ])? {
            match name {
                "instance" => config.instance = instance(value)?,
                "policy" => config.policy = absolute(value)?,
                "state" => config.state = absolute(value)?,
                "bpffs" => config.bpffs = absolute(value)?,
                "socket" => config.socket = absolute(value)?,
                "metrics" => config.metrics = metrics(value)?,
                "http" => config.http = Some(Http::read(value)?),
                "management" => config.management = management(value)?,
                "roles" => config.roles = roles(value, config.roles)?,
                "xdp" => {
                    config.xdp = match value.text("native, generic or any")? {
                        "native" => XdpChoice::Native,
                        "generic" => XdpChoice::Generic,
                        "any" => XdpChoice::Any,
                        other => {
                            return Err(value.error(format!("`{other}` is not native, generic or any")));
                        }
                    }
                }
                "adopt_seconds" => config.adopt_seconds = within(value, 0, 3600)?,
                "mark_shift" => config.mark_shift = within(value, 0, MAX_SHIFT)?,
                "flows" => config.flows = flows(value, config.flows)?,
                "timeouts" => config.timeouts = Timeouts::read(value)?,
                "flow_records" => config.flow_records = flow_records(value)?,
                "plan_lead_time" => config.plan_lead_time = plan_lead_time(value)?,
                "fast_path" => {
                    config.fast_path = match value.text("auto or off")? {
                        "auto" => true,
                        "off" => false,
                        other => return Err(value.error(format!("`{other}` is neither auto nor off"))),
                    }
                }
                "fast_path_except" => {
                    for name in value.list("interfaces, zones or networks")? {
                        let name = name.text("the name of an interface, zone or network")?;
                        config.fast_path_except.insert(name.to_owned());
                    }
                }
                "incidents" => config.incidents = incidents(value, config.incidents)?,
                _ => {}
            }
        }
        Ok(config)
    }

    fn defaults() -> Self {
        Self {
            instance: "default".into(),
            policy: "/etc/sekimori/policy".into(),
            state: "/var/lib/sekimori".into(),
            bpffs: "/sys/fs/bpf/sekimori".into(),
            socket: "/run/sekimori/control.sock".into(),
            metrics: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9464))),
            http: None,
            management: Vec::new(),
            roles: Roles { operator: "sekimori-operator".into(), viewer: "sekimori-viewer".into() },
            xdp: XdpChoice::Any,
            adopt_seconds: 60,
            mark_shift: 8,
            flows: Flows { established: 262_144, opening: 65_536 },
            timeouts: Timeouts::default(),
            flow_records: flows::Options::default(),
            plan_lead_time: 24 * 3600,
            fast_path: true,
            fast_path_except: BTreeSet::new(),
            incidents: Incidents { bounds: Bounds::default(), evidence_bytes: 256 * MIB },
        }
    }
}

fn instance(value: &Node) -> Result<String, At> {
    let name = value.text("a name")?;
    let good = (1..=32).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if good { Ok(name.to_owned()) } else { Err(value.error(format!("`{name}` is not a name of 1 to 32 of [a-z0-9-]"))) }
}

fn absolute(value: &Node) -> Result<PathBuf, At> {
    let text = value.text("an absolute path")?;
    if text.starts_with('/') && !text.contains('\0') {
        Ok(PathBuf::from(text))
    } else {
        Err(value.error(format!("`{text}` is not an absolute path")))
    }
}

fn metrics(value: &Node) -> Result<Option<SocketAddr>, At> {
    match value.text("ADDRESS:PORT or off")? {
        "off" => Ok(None),
        _ => value.parse("ADDRESS:PORT (like 127.0.0.1:9464) or off").map(Some),
    }
}

fn within(value: &Node, low: u32, high: u32) -> Result<u32, At> {
    let expected = format!("a number from {low} to {high}");
    let number: u32 = value.parse(&expected)?;
    if (low..=high).contains(&number) { Ok(number) } else { Err(value.error(format!("`{number}` is not {expected}"))) }
}

fn plan_lead_time(value: &Node) -> Result<u32, At> {
    let expected = "a time from 0s to 30d such as 24h or 5d";
    let text = value.text(expected)?;
    let seconds = timeouts::seconds(text).filter(|seconds| *seconds <= MAX_LEAD);
    seconds.ok_or_else(|| value.error(format!("`{text}` is not {expected}")))
}

fn roles(value: &Node, mut roles: Roles) -> Result<Roles, At> {
    for (name, value) in value.fields(&["operator", "viewer"])? {
        let group = value.text("a unix group")?.to_owned();
        match name {
            "operator" => roles.operator = group,
            _ => roles.viewer = group,
        }
    }
    Ok(roles)
}

fn flows(value: &Node, mut flows: Flows) -> Result<Flows, At> {
    for (name, value) in value.fields(&["established", "opening"])? {
        let number = within(value, 1024, 16_777_216)?;
        match name {
            "established" => flows.established = number,
            _ => flows.opening = number,
        }
    }
    Ok(flows)
}

fn incidents(value: &Node, mut incidents: Incidents) -> Result<Incidents, At> {
    for (name, value) in value.fields(&["keep", "episode", "evidence_mib"])? {
        match name {
            "keep" => incidents.bounds.keep = within(value, 100, 100_000)? as usize,
            "episode" => {
                let expected = "a time from 1s to 1d, like 10m";
                let lasting = Lasting::read(value.text(expected)?).filter(|lasting| (1..=86_400).contains(&lasting.0));
                let Lasting(seconds) = lasting.ok_or_else(|| value.error(format!("expected {expected}")))?;
                incidents.bounds.episode = Duration::from_secs(seconds);
            }
            _ => incidents.evidence_bytes = u64::from(within(value, 1, 65_536)?) * MIB,
        }
    }
    Ok(incidents)
}

fn flow_records(value: &Node) -> Result<flows::Options, At> {
    let mut options = flows::Options::default();
    if let Value::Scalar(text) = &value.value {
        return match text.as_str() {
            "off" => Ok(flows::Options { size: 0, ..options }),
            other => Err(value.error(format!("`{other}` is neither off nor a mapping with size, every"))),
        };
    }
    for (name, value) in value.fields(&["size", "every"])? {
        match name {
            "size" => options.size = size(value)?,
            _ => {
                let expected = "a time from 1s to 5m such as 10s";
                let text = value.text(expected)?;
                let seconds = Lasting::read(text).and_then(|Lasting(seconds)| u32::try_from(seconds).ok());
                let seconds = seconds.filter(|seconds| (1..=300).contains(seconds));
                options.every = seconds.ok_or_else(|| value.error(format!("`{text}` is not {expected}")))?;
            }
        }
    }
    Ok(options)
}

/// `2GiB`, `512MiB`: from 1 MiB to 1 TiB.
fn size(value: &Node) -> Result<u64, At> {
    let expected = "a size from 1MiB to 1024GiB such as 512MiB or 2GiB";
    let text = value.text(expected)?;
    let units = [("MiB", 20), ("GiB", 30)];
    let read = units.iter().find_map(|(unit, bits)| {
        let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
        number.checked_mul(1 << bits)
    });
    let read = read.filter(|bytes| (1 << 20..=1 << 40).contains(bytes));
    read.ok_or_else(|| value.error(format!("`{text}` is not {expected}")))
}

fn management(value: &Node) -> Result<Vec<ManagementPath>, At> {
    let items = value.list("management paths")?;
    // The data plane holds one entry a source prefix.
    let mut entries = 0;
    let mut paths = Vec::new();
    for item in items {
        let (mut interface, mut sources, mut macs, mut port) = (None, Vec::new(), Vec::new(), None);
        for (name, value) in item.fields(&["interface", "sources", "macs", "port"])? {
            match name {
                "interface" => {
                    let name = value.text("an interface name")?;
                    if name.is_empty() || name.len() > 15 || name.contains(['/', ' ']) {
                        return Err(value.error(format!("`{name}` is not an interface name")));
                    }
                    interface = Some(name.to_owned());
                }
                "sources" => {
                    for source in value.list("prefixes")? {
                        sources.push(source.parse::<IpNet>("a prefix like 192.168.10.0/24")?.trunc());
                    }
                }
                "macs" => {
                    for mac in value.list("MAC addresses")? {
                        let text = mac.text("a MAC address")?;
                        if read_mac(text).is_none() {
                            return Err(mac.error(format!("`{text}` is not a MAC address like 02:00:00:00:10:17")));
                        }
                        macs.push(text.to_owned());
                    }
                }
                _ => port = u16::try_from(within(value, 1, 65_535)?).ok(),
            }
        }
        let missing = |what: &str| item.error(format!("a management path needs `{what}`"));
        if sources.is_empty() {
            return Err(missing("sources"));
        }
        entries += sources.len();
        if entries > MAX_MANAGEMENT {
            return Err(item.error(format!("more than {MAX_MANAGEMENT} management sources in all")));
        }
        paths.push(ManagementPath {
            interface: interface.ok_or_else(|| missing("interface"))?,
            sources,
            macs,
            port: port.ok_or_else(|| missing("port"))?,
        });
    }
    Ok(paths)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const WHOLE: &str = "\
instance: town-hall
policy: /etc/sekimori/policy
state: /var/lib/sekimori
bpffs: /sys/fs/bpf/sekimori
socket: /run/sekimori/control.sock
metrics: 127.0.0.1:9464
http: {listen: 127.0.0.1:9443}
management:
  - interface: lan0
    sources: [192.168.10.0/24, \"2001:db8:10::/64\"]
    macs: [\"02:00:00:00:10:17\"]
    port: 22
roles: {operator: staff, viewer: watch}
xdp: native
adopt_seconds: 0
mark_shift: 8
flows: {established: 4096, opening: 2048}
timeouts: {tcp_established: 1d, udp_stream: 3m}
flow_records: {size: 512MiB, every: 30s}
plan_lead_time: 5d
fast_path: off
fast_path_except: [lan0, guest]
incidents: {keep: 500, episode: 30s, evidence_mib: 16}
";

    #[test]
    fn reads_the_whole_file() {
        let config = Config::read(WHOLE).unwrap();
        assert_eq!(config.instance, "town-hall");
        assert_eq!(config.metrics, Some("127.0.0.1:9464".parse().unwrap()));
        assert_eq!(config.http, Some(Http { listen: "127.0.0.1:9443".parse().unwrap(), tls: None }));
        assert_eq!(config.management[0].sources.len(), 2);
        assert_eq!(config.management[0].port, 22);
        assert_eq!(config.roles, Roles { operator: "staff".into(), viewer: "watch".into() });
        assert_eq!(config.xdp, XdpChoice::Native);
        assert_eq!(config.flows, Flows { established: 4096, opening: 2048 });
        assert_eq!(config.timeouts, Timeouts([60, 86_400, 120, 10, 30, 180, 30, 120]));
        assert_eq!(config.flow_records, flows::Options { size: 512 << 20, every: 30 });
        assert_eq!(config.plan_lead_time, 5 * 86_400);
        assert!(!config.fast_path);
        assert_eq!(config.fast_path_except, BTreeSet::from(["guest".to_owned(), "lan0".to_owned()]));
        let bounds = Bounds { keep: 500, episode: Duration::from_secs(30) };
        assert_eq!(config.incidents, Incidents { bounds, evidence_bytes: 16 * MIB });
    }

    #[test]
    fn defaults_stand_for_what_is_not_said() {
        let config = Config::read("metrics: off\n").unwrap();
        assert_eq!((config.metrics, config.http), (None, None));
        assert_eq!(config.adopt_seconds, 60);
        assert_eq!(config.flow_records, flows::Options { size: 2 << 30, every: 10 });
        assert_eq!(Config::read("flow_records: off\n").unwrap().flow_records.size, 0);
        assert_eq!(config.plan_lead_time, 86_400);
        assert_eq!(Config::read("plan_lead_time: 0s\n").unwrap().plan_lead_time, 0);
        assert!(config.fast_path && config.fast_path_except.is_empty());
        assert!(Config::read("instance: a\n").unwrap().metrics.unwrap().ip().is_loopback());
    }

    #[test]
    fn the_file_that_is_installed_is_read() {
        let config = Config::read(include_str!("../../../dist/agent.yaml")).unwrap();
        assert_eq!(config.management.len(), 1);
    }

    #[test]
    fn errors_point_at_the_place() {
        for (text, line, column, says) in [
            ("", 1, 1, "empty"),
            ("instance: A B\n", 1, 11, "[a-z0-9-]"),
            ("instance: a\nmetric: x\n", 2, 1, "unknown field `metric`"),
            ("instance: a\ninstance: b\n", 2, 1, "twice"),
            ("policy: etc/policy\n", 1, 9, "absolute"),
            ("metrics: localhost\n", 1, 10, "ADDRESS:PORT"),
            ("http: {listen: 192.0.2.1:9443}\n", 1, 16, "without `certificate`"),
            ("xdp: maybe\n", 1, 6, "native, generic or any"),
            ("fast_path: on\n", 1, 12, "neither auto nor off"),
            ("mark_shift: 10\n", 1, 13, "0 to 9"),
            ("incidents: {keep: 7}\n", 1, 19, "100 to 100000"),
            ("incidents: {episode: 2d}\n", 1, 22, "1s to 1d"),
            ("flows: {established: many}\n", 1, 22, "a number"),
            ("flows: [1]\n", 1, 8, "a mapping"),
            ("timeouts: {tcp_opening: 1m, icmp: 30}\n", 1, 35, "2h4m"),
            ("flow_records: on\n", 1, 15, "neither off"),
            ("flow_records: {size: 2GB}\n", 1, 22, "1MiB to 1024GiB"),
            ("flow_records: {size: 99999999999GiB}\n", 1, 22, "1MiB to 1024GiB"),
            ("flow_records: {every: 6m}\n", 1, 23, "1s to 5m"),
            ("flow_records: {days: 90}\n", 1, 16, "unknown field"),
            ("plan_lead_time: 24\n", 1, 17, "24h"),
            ("plan_lead_time: 31d\n", 1, 17, "30d"),
            ("management:\n  - interface: lan0\n    sources: [10.0.0.0/33]\n    port: 22\n", 3, 15, "prefix"),
            ("management:\n  - interface: lan0\n    port: 22\n", 2, 5, "sources"),
            ("management:\n  - {interface: lan0, sources: [10.0.0.0/8]}\n", 2, 5, "port"),
            ("management:\n  - {interface: l, sources: [10.0.0.0/8], macs: [xx], port: 1}\n", 2, 50, "MAC"),
            ("instance: &a b\n", 1, 11, "anchors"),
            ("instance: [\n", 2, 1, ""),
        ] {
            let at = Config::read(text).unwrap_err();
            assert_eq!((at.line, at.column), (line, column), "{text:?}: {at}");
            assert!(at.message.contains(says), "{text:?}: {at}");
        }
    }
}
