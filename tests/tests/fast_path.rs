//! Where the fast path may be used: off, at once and with the reason, wherever something of somebody else's would be missed,
//! and on again when it is gone. How packets take it is not asked here.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, bail};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType, tc::TcAttachOptions};
use sekimori::dataplane::{maps::Maps, object};
use sekimori_ebpf::abi::{IFACE_FAST_IN, IFACE_FAST_OUT, IFACE_GUARDED};
use sekimori_tests::harness::{
    agent::{Agent, Config},
    link, nft, offload,
    policy::{Policies, rule},
    tool,
    town::{HOST_INTERFACE, Town},
    townhall::{INTERNET_ROUTER, PC_017},
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);

struct Scene {
    agent: Agent,
    _policies: Policies,
    town: Town,
}

/// The office and the Internet, both behind veths that take what XDP forwards.
fn scene(change: impl FnOnce(&mut Config)) -> Result<Scene> {
    let town = Town::build(&[&PC_017, &INTERNET_ROUTER])?;
    for host in [&PC_017, &INTERNET_ROUTER] {
        offload::gro(town.host(host)?, HOST_INTERFACE, true)?;
    }
    let policies = Policies::new()?;
    let mut config = Config::new(policies.town("policy", &[rule("names", "office", "internet", "dns")])?);
    change(&mut config);
    let agent = Agent::start(&town.gateway, &config)?;
    Ok(Scene { agent, _policies: policies, town })
}

/// What status says of one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    way_in: bool,
    way_out: bool,
    codes: BTreeSet<String>,
}

impl Scene {
    fn said(&self, interface: &str) -> Result<Said> {
        let (_, status) = self.agent.json(["status"])?;
        let found = status["interfaces"].as_array().and_then(|all| all.iter().find(|one| one["name"] == interface));
        let fast = &found.with_context(|| format!("no {interface} in {status}"))?["fast_path"];
        let reasons = fast["reasons"].as_array().context("no reasons")?;
        let codes = reasons.iter().filter_map(|reason| reason["code"].as_str().map(str::to_owned)).collect();
        Ok(Said { way_in: fast["in"] == true, way_out: fast["out"] == true, codes })
    }

    fn network(&self, name: &str) -> Result<Value> {
        let (_, status) = self.agent.json(["status"])?;
        let found = status["fast_path"].as_array().and_then(|all| all.iter().find(|one| one["network"] == name));
        found.cloned().with_context(|| format!("no {name} in {status}"))
    }

    /// What the data plane was told: in, out, and the epoch without which neither means anything.
    fn told(&self, interface: &str) -> Result<(bool, bool, u32)> {
        let maps = Maps::pinned(&self.agent.pins_path().join("maps"))?;
        let entry = maps.ifaces.get(&link::index(&self.town.gateway, interface)?, 0)?;
        assert_ne!(entry.flags & IFACE_GUARDED, 0);
        Ok((entry.flags & IFACE_FAST_IN != 0, entry.flags & IFACE_FAST_OUT != 0, maps.fast.get(&0, 0)?))
    }

    /// Waits until status and data plane agree that an interface is used so, and, if it is not, for this reason alone.
    fn becomes(&self, interface: &str, (way_in, way_out): (bool, bool), code: &str) -> Result<()> {
        let what = format!("{interface} to be in {way_in}, out {way_out} for {code:?}");
        tool::until(&what, SOON, || {
            let (said, told) = (self.said(interface)?, self.told(interface)?);
            let codes: BTreeSet<String> = [code.to_owned()].into_iter().filter(|code| !code.is_empty()).collect();
            if said == (Said { way_in, way_out, codes })
                && (told.0, told.1) == (way_in, way_out)
                && (told.2 != 0 || !(way_in || way_out))
            {
                return Ok(Some(()));
            }
            bail!("{said:?}, the data plane {told:?}")
        })
    }

    fn on(&self, interface: &str) -> Result<()> {
        self.becomes(interface, (true, true), "")
    }

    fn gateway(&self, line: &str) -> Result<()> {
        let mut words = line.split(' ');
        let mut command = self.town.gateway.command(words.next().context("no command")?);
        tool::must(command.args(words), SOON).map(drop)
    }
}

#[test]
fn a_plain_routed_town_uses_it_everywhere() -> Result<()> {
    let scene = scene(|_| ())?;
    for (interface, network) in [("lan0", "office"), ("wan0", "internet")] {
        scene.on(interface)?;
        assert_eq!(scene.network(network)?, json!({"network": network, "on": true, "reasons": []}));
        let metrics = scene.agent.metrics()?;
        assert!(metrics.contains(&format!("sekimori_fast_path{{interface=\"{interface}\"}} 1")), "{metrics}");
    }
    let dmz = scene.network("dmz")?;
    assert_eq!((&dmz["on"], &dmz["reasons"][0]["code"]), (&json!(false), &json!("not_attached")));
    Ok(())
}

#[test]
fn netfilter_rules_of_somebody_else_turn_it_off_where_they_are_met() -> Result<()> {
    let scene = scene(|_| ())?;
    scene.on("lan0")?;
    scene.on("wan0")?;
    let (_, _, epoch) = scene.told("wan0")?;
    nft::load(
        &scene.town.gateway,
        "table ip host { chain in { type filter hook input priority 0; tcp dport 22 accept; }; }",
    )?;
    nft::load(
        &scene.town.gateway,
        "table ip nat { chain out { type nat hook postrouting priority srcnat; oifname \"wan0\" masquerade; }; }",
    )?;
    scene.becomes("wan0", (false, false), "nat")?;
    // A rule about the Internet's interface alone; while it is looked at there is no epoch at all.
    scene.on("lan0")?;
    let network = scene.network("internet")?;
    assert_eq!(network["reasons"][0]["about"], "nft ip nat out");
    assert!(scene.told("lan0")?.2 > epoch, "what flows learnt before the rule came must be void");
    let metrics = scene.agent.metrics()?;
    assert!(metrics.contains("sekimori_fast_path{interface=\"wan0\"} 0"), "{metrics}");
    scene.gateway("nft delete table ip nat")?;
    scene.on("wan0")?;
    nft::load(
        &scene.town.gateway,
        "table inet other { chain f { type filter hook forward priority 5; policy accept; }; }",
    )?;
    nft::load(&scene.town.gateway, "add rule inet other f counter")?;
    scene.becomes("wan0", (false, false), "netfilter")?;
    scene.becomes("lan0", (false, false), "netfilter")?;
    scene.gateway("nft flush chain inet other f")?;
    scene.on("lan0")?;
    scene.on("wan0")
}

#[test]
fn whatever_else_acts_on_packets_turns_it_off_until_it_is_gone() -> Result<()> {
    let scene = scene(|_| ())?;
    let none = (false, false);
    // What brings it, what takes it away, where it shows, what is left there, why.
    type Case<'a> = (&'a [&'a str], &'a [&'a str], &'a str, (bool, bool), &'a str);
    let cases: [Case<'_>; 6] = [
        (&["ip rule add fwmark 7 lookup 100"], &["ip rule del fwmark 7"], "lan0", none, "routing_rule"),
        (
            &[
                "tc qdisc add dev lan0 clsact",
                "tc filter add dev lan0 ingress protocol all u32 match u32 0 0 flowid 1:1",
            ],
            &["tc filter del dev lan0 ingress"],
            "lan0",
            (false, true),
            "tc",
        ),
        (
            &["tc qdisc add dev wan0 root tbf rate 10mbit burst 10kb latency 50ms"],
            &["tc qdisc del dev wan0 root"],
            "wan0",
            (true, false),
            "shaping",
        ),
        (
            &["ip xfrm policy add src 10.0.0.0/8 dst 10.0.0.0/8 dir fwd"],
            &["ip xfrm policy delete src 10.0.0.0/8 dst 10.0.0.0/8 dir fwd"],
            "wan0",
            none,
            "ipsec",
        ),
        (&["sysctl -qw net.ipv4.ip_forward=0"], &["sysctl -qw net.ipv4.ip_forward=1"], "lan0", none, "forwarding_off"),
        (&["ip link add link wan0 name mv0 type macvlan"], &["ip link del mv0"], "wan0", none, "upper_device"),
    ];
    for (comes, goes, interface, left, code) in cases {
        scene.on(interface).with_context(|| format!("before {comes:?}"))?;
        comes.iter().try_for_each(|line| scene.gateway(line))?;
        scene.becomes(interface, left, code)?;
        goes.iter().try_for_each(|line| scene.gateway(line))?;
        scene.on(interface)?;
    }
    Ok(())
}

#[test]
fn a_veth_is_no_way_out_while_its_peer_takes_no_frames_from_xdp() -> Result<()> {
    let scene = scene(|_| ())?;
    scene.on("lan0")?;
    let pc = scene.town.host(&PC_017)?;
    offload::gro(pc, HOST_INTERFACE, false)?;
    scene.becomes("lan0", (true, false), "no_transmit")?;
    offload::gro(pc, HOST_INTERFACE, true)?;
    scene.on("lan0")
}

#[test]
fn a_foreign_program_behind_ours_turns_it_off() -> Result<()> {
    let scene = scene(|_| ())?;
    scene.on("wan0")?;
    let foreign = scene.town.gateway.run(|| {
        let mut ebpf = object::load_private(16)?;
        let program: &mut SchedClassifier =
            ebpf.program_mut(object::PROGRAM_MARK).context("no such program")?.try_into()?;
        program.load()?;
        let last = TcAttachOptions::TcxOrder(LinkOrder::last());
        program.attach_with_options("wan0", TcAttachType::Egress, last)?;
        Ok(ebpf)
    })?;
    scene.becomes("wan0", (true, false), "tc")?;
    drop(foreign);
    scene.on("wan0")
}

#[test]
fn generic_xdp_and_the_administrator_keep_it_off() -> Result<()> {
    let generic = scene(|config| config.xdp = "generic")?;
    generic.becomes("lan0", (false, false), "generic_xdp")?;
    let off = scene(|config| config.extra.push(("fast_path", json!("off"))))?;
    off.becomes("lan0", (false, false), "configured_off")?;
    let except = scene(|config| config.extra.push(("fast_path_except", json!(["internet", "nobody"]))))?;
    except.becomes("wan0", (false, false), "configured_off")?;
    except.on("lan0")?;
    assert!(except.agent.json(["status"])?.1["faults"].to_string().contains("nobody"));
    Ok(())
}

#[test]
fn an_agent_that_comes_back_takes_away_what_became_forbidden_and_keeps_the_rest() -> Result<()> {
    let mut scene = scene(|_| ())?;
    scene.on("lan0")?;
    scene.on("wan0")?;
    scene.agent.kill9()?;
    let (way_in, way_out, before) = scene.told("wan0")?;
    assert!(way_in && way_out && before != 0, "a dead agent's decisions stand");
    assert_eq!(scene.said("wan0")?, Said { way_in, way_out, codes: BTreeSet::new() }, "and status says so");
    scene.agent.restart()?;
    let same = || Ok((scene.told("wan0")? == (true, true, before)).then_some(()));
    // Whatever had to settle anew would have a new epoch.
    tool::until("the fast path to be as it was", SOON, same)?;
    scene.agent.kill9()?;
    nft::load(
        &scene.town.gateway,
        "table ip nat { chain out { type nat hook postrouting priority srcnat; oifname \"wan0\" masquerade; }; }",
    )?;
    scene.agent.restart()?;
    assert_ne!(scene.told("wan0")?.2, before, "before anything is known, nothing that was learnt may count");
    scene.becomes("wan0", (false, false), "nat")?;
    scene.on("lan0")?;
    assert!(scene.told("wan0")?.2 > before);
    Ok(())
}

#[test]
fn tables_of_the_old_iptables_turn_it_off() -> Result<()> {
    let scene = scene(|_| ())?;
    scene.on("lan0")?;
    // Listing is enough to load a table; nothing tells of it, so a look a minute has to find it.
    scene.gateway("iptables-legacy -t filter -L -n")?;
    tool::until("the old table to be seen", SOON, || {
        Ok(scene.said("lan0")?.codes.contains("legacy_iptables").then_some(()))
    })?;
    scene.becomes("lan0", (false, false), "legacy_iptables")
}
