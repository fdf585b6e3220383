//! What a packet costs: the way in, hot, in units of a fixed amount of work measured beside it.
//!
//! Eight kinds of packets through the program that is attached, by `BPF_PROG_TEST_RUN`. Their ratios to the yardstick
//! (`ebpf/src/ruler/yardstick.rs`) are in `tests/speed.baseline.json`; a kind that has become more than 15 % dearer
//! fails. Where that is meant, or a gain is to be kept: `SEKIMORI_SPEED_BASELINE=write cargo xtask test speed`.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf, EbpfLoader,
    programs::{TestRun as _, TestRunOptions, Xdp, loaded_programs},
};
use aya_obj::programs::XdpAttachType;
use ipnet::Ipv4Net;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use sekimori_tests::harness::{
    agent::{Agent, Config},
    link,
    netns::Ns,
    nft,
    packet::{Packet, flag},
    policy::{Policies, TOWN},
    raw::RawPort,
    tool,
    town::{HOST_INTERFACE, Town},
    townhall::{CLOUD_V4, CLOUD_V6, INTERNET_ROUTER, PC_017, PUBLIC_WEB_V4},
};

/// How much dearer than its baseline a kind may be.
const GROWTH: f64 = 1.15;
/// Noise only adds: a kind that looks dearer is measured again before it is believed.
const ATTEMPTS: usize = 4;
/// Interleaved samples of one attempt; the least counts.
const SAMPLES: usize = 15;
/// Packets of a sample of what is dropped, in one run.
const REPEAT: u32 = 20_000;
/// Packets of a sample of what passes, one a run: the program may have changed the frame it passed on.
const SINGLE: usize = 2_000;
const SOON: Duration = Duration::from_secs(5);
/// Tagged traffic's VLAN.
const VLAN: u16 = 20;
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;

/// A kind of packet.
struct Kind {
    name: &'static str,
    interface: &'static str,
    frame: Vec<u8>,
    passes: bool,
}

#[test]
fn no_kind_of_packet_has_become_dearer() -> Result<()> {
    let town = Town::build(&[&PC_017, &INTERNET_ROUTER])?;
    let policies = Policies::new()?;
    let list = list();
    let text: String = list.iter().map(|prefix| format!("{prefix}\n")).collect();
    fs::write(policies.path().join("listed.txt"), format!("{text}{CLOUD_V4}\n{CLOUD_V6}\n"))?;
    let agent = Agent::start(&town.gateway, &Config::new(policies.text("speed", &policy())?))?;
    converse(&town)?;

    let kinds = kinds(&list)?;
    let bench = Bench::load(&town.gateway)?;
    let baseline = baseline_path();
    let write = std::env::var_os("SEKIMORI_SPEED_BASELINE").is_some_and(|what| what == "write");
    let known: BTreeMap<String, f64> = match fs::read_to_string(&baseline) {
        Ok(text) => serde_json::from_str(&text).with_context(|| format!("reading {}", baseline.display()))?,
        Err(_) if write => BTreeMap::new(),
        Err(error) => return Err(error).with_context(|| format!("reading {}", baseline.display())),
    };
    let mut least = Least::default();
    let mut dear = Vec::new();
    for _ in 0..ATTEMPTS {
        bench.measure(&kinds, &mut least)?;
        dear = kinds.iter().filter_map(|kind| verdict(kind, &least, &known)).collect();
        // Writing takes every attempt: a baseline that noise raised would let growth through.
        if dear.is_empty() && !write {
            break;
        }
    }
    let ratios: BTreeMap<String, f64> =
        kinds.iter().map(|kind| (kind.name.to_owned(), (least.ratio(kind) * 1000.0).round() / 1000.0)).collect();
    println!("{least:#?}\n{}", serde_json::to_string_pretty(&ratios)?);
    drop(agent);
    if write {
        return Ok(fs::write(&baseline, serde_json::to_string_pretty(&ratios)? + "\n")?);
    }
    assert!(
        dear.is_empty(),
        "dearer than {} says:\n  {}\nIf that is meant: SEKIMORI_SPEED_BASELINE=write cargo xtask test speed",
        baseline.display(),
        dear.join("\n  ")
    );
    Ok(())
}

/// Says so if a kind has become too dear, or is not known at all.
fn verdict(kind: &Kind, least: &Least, known: &BTreeMap<String, f64>) -> Option<String> {
    let now = least.ratio(kind);
    match known.get(kind.name) {
        None => Some(format!("{}: {now:.3}, and there is no baseline", kind.name)),
        Some(before) if now > before * GROWTH => Some(format!("{}: {now:.3}, was {before:.3}", kind.name)),
        Some(_) => None,
    }
}

/// The town's policy with a thousand listed prefixes, and a partner behind a VLAN of the outside line.
fn policy() -> String {
    let partner = format!(
        "  partner:\n    interfaces: [wan0]\n    vlans: [{VLAN}]\n    prefixes: [198.18.0.0/15]\n    routers: [\"02:00:00:00:99:01\"]\n    \
         line: test\n    owner: test\n    survey: {{date: 2026-10-01, surveyor: a, topology: a, devices: a, security: a, impact: a}}\n"
    );
    let head = TOWN.replace("devices:\n  pc-017", &format!("{partner}devices:\n  pc-017"));
    let head = head.replace("rules:\n", "groups:\n  listed: [{file: listed.txt}]\nrules:\n");
    let listed = "{network: internet, groups: [listed]}";
    format!(
        "{head}  - {{id: out, from: office, to: {listed}, services: [udp/443, tcp/443, icmp/13], purpose: test, owner: test}}\n\
         publish:\n  - {{id: web, from: {listed}, address: {PUBLIC_WEB_V4}, services: [udp/443], \
         server: {{zone: dmz, address: 192.168.20.10}}, purpose: test, owner: test}}\n"
    )
}

/// A thousand prefixes between 20/8 and 99/8 that do not touch: every fourth a /24, every fourth a /28, the rest /32.
fn list() -> Vec<Ipv4Net> {
    let mut list: Vec<Ipv4Net> = Vec::new();
    let mut bits = 1u32;
    while list.len() < 1000 {
        bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let address = Ipv4Addr::from(((20 + (bits >> 24) % 80) << 24) | (bits >> 3) & 0x00ff_ffff);
        let length = [24, 28, 32, 32][list.len() % 4];
        let around = Ipv4Net::new_assert(address, 20).trunc();
        if list.iter().all(|other| !around.contains(&other.network())) {
            list.push(Ipv4Net::new_assert(address, length).trunc());
        }
    }
    list
}

const UDP_PORT: u16 = 40_001;
const TCP_PORT: u16 = 40_002;

fn from_pc() -> ([u8; 6], [u8; 6]) {
    sekimori_tests::harness::packet::inwards(&PC_017)
}

fn from_internet() -> ([u8; 6], [u8; 6]) {
    sekimori_tests::harness::packet::inwards(&INTERNET_ROUTER)
}

/// Real exchanges, so that there are flows to find.
fn converse(town: &Town) -> Result<()> {
    // The hosts' own stacks know nothing of these conversations, and would reset them.
    for host in [&PC_017, &INTERNET_ROUTER] {
        nft::load(
            town.host(host)?,
            "table inet mute {
                chain out {
                    type filter hook output priority 0; policy drop;
                    icmpv6 type { nd-neighbor-advert, nd-neighbor-solicit } accept
                }
            }",
        )?;
    }
    let inside = RawPort::open(town.host(&PC_017)?, HOST_INTERFACE)?;
    let outside = RawPort::open(town.host(&INTERNET_ROUTER)?, HOST_INTERFACE)?;
    let (pc, cloud) = (PC_017.v4, CLOUD_V4);
    let tell = |from: &RawPort, to: &RawPort, packet: Packet| -> Result<()> {
        let ports = packet.frame().ports();
        from.send(&packet.frame())?;
        to.expect("a packet of the conversation", SOON, |frame| frame.ports() == ports)?;
        Ok(())
    };
    tell(&inside, &outside, Packet::udp(from_pc(), (pc, UDP_PORT), (cloud, 443), b"question"))?;
    tell(&outside, &inside, Packet::udp(from_internet(), (cloud, 443), (pc, UDP_PORT), b"answer"))?;
    tell(&inside, &outside, Packet::udp(from_pc(), (PC_017.v6, UDP_PORT), (CLOUD_V6, 443), b"question"))?;
    tell(&outside, &inside, Packet::udp(from_internet(), (CLOUD_V6, 443), (PC_017.v6, UDP_PORT), b"answer"))?;
    let out = |flags, seq, ack| Packet::tcp(from_pc(), (pc, TCP_PORT), (cloud, 443), (flags, seq, ack), b"");
    let back = |flags, seq, ack| Packet::tcp(from_internet(), (cloud, 443), (pc, TCP_PORT), (flags, seq, ack), b"");
    tell(&inside, &outside, out(flag::SYN, 1000, 0))?;
    tell(&outside, &inside, back(flag::SYN | flag::ACK, 5000, 1001))?;
    tell(&inside, &outside, out(flag::ACK, 1001, 5001))
}

fn kinds(list: &[Ipv4Net]) -> Result<Vec<Kind>> {
    let beside = Ipv4Addr::from(list.first().context("no list")?.network().to_bits() - 1);
    let far = Ipv4Addr::new(150, 1, 2, 3);
    let web = PUBLIC_WEB_V4;
    let drop = |name, packet: Packet| Kind { name, interface: "wan0", frame: padded(&packet), passes: false };
    let pass = |name, packet: Packet| Kind { name, interface: "lan0", frame: padded(&packet), passes: true };
    let mut fragment = Packet::udp(from_internet(), (far, 40_000), (web, 443), b"0123456789");
    fragment.place(1480, false);
    let (pc, cloud) = (PC_017.v4, CLOUD_V4);
    Ok(vec![
        drop("far miss, dropped", Packet::udp(from_internet(), (far, 40_000), (web, 443), b"0123456789")),
        drop("near miss, dropped", Packet::udp(from_internet(), (beside, 40_000), (web, 443), b"0123456789")),
        drop(
            "tagged, dropped",
            Packet::udp(from_internet(), (Ipv4Addr::new(198, 18, 7, 7), 40_000), (web, 443), b"0123456789")
                .tag(0x8100, VLAN),
        ),
        drop("later fragment without a first, dropped", fragment),
        pass("established udp, IPv4", Packet::udp(from_pc(), (pc, UDP_PORT), (cloud, 443), b"0123456789")),
        pass("established udp, IPv6", Packet::udp(from_pc(), (PC_017.v6, UDP_PORT), (CLOUD_V6, 443), b"0123456789")),
        pass(
            "established tcp, IPv4",
            Packet::tcp(from_pc(), (pc, TCP_PORT), (cloud, 443), (flag::ACK, 1001, 5001), b""),
        ),
        // A timestamp request opens no view: every one of them is judged by the rules.
        pass("permitted by a rule", Packet::icmp(from_pc(), pc, IpAddr::from(cloud), (13, 0), 1, &[0; 12])),
    ])
}

/// As on a wire: at least 60 bytes.
fn padded(packet: &Packet) -> Vec<u8> {
    let mut bytes = packet.frame().0;
    bytes.resize(bytes.len().max(60), 0);
    bytes
}

/// Least ns seen: of kinds by name, of the yardstick and of a bare return by way of measuring.
#[derive(Debug, Default)]
struct Least {
    kinds: BTreeMap<&'static str, u64>,
    yardstick: [Option<u64>; 2],
    bare: [Option<u64>; 2],
}

impl Least {
    fn ratio(&self, kind: &Kind) -> f64 {
        let way = usize::from(kind.passes);
        let bare = self.bare[way].unwrap_or(0);
        let above = |ns: u64| ns.saturating_sub(bare).max(1) as f64;
        above(self.kinds.get(kind.name).copied().unwrap_or(u64::MAX)) / above(self.yardstick[way].unwrap_or(1))
    }
}

fn lower(least: &mut Option<u64>, ns: u64) {
    *least = Some(least.map_or(ns, |least| least.min(ns)));
}

/// The programs to run.
struct Bench<'a> {
    gateway: &'a Ns,
    ruler: Ebpf,
    ways: BTreeMap<&'static str, (Xdp, u32)>,
}

impl<'a> Bench<'a> {
    /// The attached programs of both interfaces, and the yardstick.
    fn load(gateway: &'a Ns) -> Result<Self> {
        let object = object()?;
        let mut ruler = EbpfLoader::new().load_file(&object).with_context(|| object.display().to_string())?;
        for name in ["ruler_yardstick", "ruler_drop"] {
            let program: &mut Xdp = ruler.program_mut(name).context("not a ruler")?.try_into()?;
            program.load()?;
        }
        let mut ways = BTreeMap::new();
        for interface in ["lan0", "wan0"] {
            ways.insert(interface, (attached(gateway, interface)?, link::index(gateway, interface)?));
        }
        Ok(Self { gateway, ruler, ways })
    }

    /// Takes interleaved samples of everything, keeping the least.
    fn measure(&self, kinds: &[Kind], least: &mut Least) -> Result<()> {
        self.gateway.run(|| {
            let mut cpu = CpuSet::new();
            cpu.set(std::thread::available_parallelism().map_or(0, |count| count.get() - 1))?;
            sched_setaffinity(Pid::from_raw(0), &cpu)?;
            let frame = &kinds.first().context("no kinds")?.frame;
            let (yardstick, bare) = (self.own("ruler_yardstick")?, self.own("ruler_drop")?);
            for _ in 0..SAMPLES {
                for (way, passes) in [false, true].into_iter().enumerate() {
                    lower(&mut least.bare[way], sample(bare, frame, None, passes, &[XDP_DROP])?);
                    lower(&mut least.yardstick[way], sample(yardstick, frame, None, passes, &[XDP_DROP])?);
                }
                for kind in kinds {
                    let (program, index) = self.ways.get(kind.interface).context("no such interface")?;
                    let expected: &[u32] = if kind.passes { &[XDP_PASS, XDP_REDIRECT] } else { &[XDP_DROP] };
                    let ns = sample(program, &kind.frame, Some(*index), kind.passes, expected)
                        .with_context(|| kind.name.to_owned())?;
                    let best = least.kinds.entry(kind.name).or_insert(ns);
                    *best = ns.min(*best);
                }
            }
            Ok(())
        })
    }

    fn own(&self, name: &str) -> Result<&Xdp> {
        Ok(self.ruler.program(name).context("not a ruler")?.try_into()?)
    }
}

/// ns a packet: of many in one run, or the middle one of many runs.
fn sample(program: &Xdp, frame: &[u8], interface: Option<u32>, single: bool, expected: &[u32]) -> Result<u64> {
    let mut context = Vec::new();
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    for word in [0, u32::try_from(frame.len())?, 0, interface.unwrap_or(0), 0, 0] {
        context.extend(word.to_ne_bytes());
    }
    let run = |repeat| -> Result<u64> {
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: interface.is_some().then_some(context.as_slice()),
            repeat,
            ..TestRunOptions::new()
        };
        let result = program.test_run(options)?;
        if !expected.contains(&result.return_value) {
            bail!("the program returned {}, expected one of {expected:?}", result.return_value);
        }
        Ok(u64::try_from(result.duration.as_nanos())?)
    };
    if !single {
        return run(REPEAT);
    }
    let mut times = (0..SINGLE).map(|_| run(1)).collect::<Result<Vec<_>>>()?;
    times.sort_unstable();
    times.get(SINGLE / 2).copied().context("no samples")
}

/// The XDP program that an interface has now.
fn attached(ns: &Ns, interface: &str) -> Result<Xdp> {
    let said = tool::must(ns.command("ip").args(["-json", "link", "show", "dev", interface]), SOON)?;
    let links: serde_json::Value = serde_json::from_str(&said.out)?;
    let id = links[0]["xdp"]["prog"]["id"].as_u64().with_context(|| format!("{interface} has no XDP program"))?;
    for program in loaded_programs() {
        // Programs come and go while they are listed.
        let Ok(program) = program else { continue };
        if u64::from(program.id()) == id {
            return Ok(Xdp::from_program_info(program, "way in".into(), XdpAttachType::Interface)?);
        }
    }
    bail!("{interface}: the kernel does not list program {id}")
}

fn baseline_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("speed.baseline.json")
}

/// The ruler's object: `SEKIMORI_RULER`, else the workspace's.
fn object() -> Result<PathBuf> {
    let path = std::env::var_os("SEKIMORI_RULER").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/sekimori-ruler.bpf.o"),
        PathBuf::from,
    );
    path.canonicalize().with_context(|| format!("{}: `cargo xtask build` builds it", path.display()))
}
