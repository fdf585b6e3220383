//! What the rules permit, for whom and until when; everything else is `no_rule`.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use sekimori_tests::harness::{
    frame::Frame,
    gate::{DNS_RULE, Gate, POISON, SOON, is_marker},
    packet::{Packet, flag, inwards},
    service::{Server, connect, tcp_exchange, udp_exchange, udp_socket},
    tool,
    townhall::{
        ADMIN_PC, ATTACKER_V4, CLOUD_V4, CLOUD_V6, DNS_V4, DNS_V6, Host, INTERNET, INTERNET_ROUTER, LGWAN_PC, OFFICE,
        PC_017, WEB,
    },
};

fn rule(id: &str, from: &str, to: &str, services: &str, more: &str) -> String {
    format!(
        "
  - id: {id}
    from: {from}
    to: {to}
    services: [{services}]
    {more}
    purpose: test
    owner: test
"
    )
}

#[test]
fn a_permitted_host_reaches_the_permitted_ports_and_no_other() -> Result<()> {
    let web = rule("office-web", "{zone: office, devices: [pc-017]}", "internet", "http, https", "");
    let gate = Gate::up(&[&PC_017, &INTERNET_ROUTER], &format!("rules:{DNS_RULE}{web}"))?;
    let _web = Server::tcp_echo(gate.town.host(&INTERNET_ROUTER)?, 443)?;
    let here = gate.town.host(&PC_017)?;
    gate.drops(&[], || {
        tcp_exchange(here, None, (CLOUD_V4, 443), b"page?", SOON)?;
        tcp_exchange(here, None, (CLOUD_V6, 443), b"page?", SOON)
    })?;
    assert_eq!(gate.counted()?.flows.get("office-web"), Some(&2));

    let lane = gate.way_out()?;
    for to in [IpAddr::from(CLOUD_V4), CLOUD_V6.into()] {
        let src: IpAddr = if to.is_ipv4() { PC_017.v4.into() } else { PC_017.v6.into() };
        let syn = |port| Packet::tcp(inwards(&PC_017), (src, 4000), (to, port), (flag::SYN, 1, 0), &[]);
        for port in [22, 79, 81, 442, 444, 65_535] {
            let closed = |frame: &Frame| frame.ports() == Some((4000, port));
            gate.drops(&[("office in no_rule", 1)], || {
                lane.from.send(&syn(port).frame())?;
                let marker = || lane.from.send(&lane.marker);
                lane.to.expect_none("the SYN", SOON, closed, marker, is_marker)
            })
            .with_context(|| format!("{to} {port}"))?;
        }
        // The right port over the wrong protocol, the right service at the wrong server, and protocols nobody named.
        let udp = Packet::udp(inwards(&PC_017), (src, 4000), (to, 443), POISON);
        let dns = Packet::udp(inwards(&PC_017), (src, 4000), (to, 53), POISON);
        let ping = Packet::ping(inwards(&PC_017), src, to, 9, POISON);
        let gre = Packet::raw(inwards(&PC_017), src, to, 47, POISON);
        for packet in [udp, dns, ping, gre] {
            gate.refuses(&lane, &[packet.frame()], &[("office in no_rule", 1)])
                .with_context(|| format!("{packet:?}"))?;
        }
    }
    Ok(())
}

#[test]
fn a_rule_for_one_device_is_not_its_neighbours() -> Result<()> {
    let web = rule("admin-web", "{zone: office, devices: [admin-pc]}", "internet", "udp/443", "");
    let gate = Gate::up(&[&PC_017, &INTERNET_ROUTER], &format!("rules:{DNS_RULE}{web}"))?;
    let lane = gate.way_out()?;
    let ask = |host| {
        let host: &Host = host;
        Packet::udp(inwards(host), (host.v4, 4000), (CLOUD_V4, 443), POISON).frame()
    };
    gate.refuses(&lane, &[ask(&PC_017)], &[("office in no_rule", 1)])?;
    gate.admits(&lane, &ask(&ADMIN_PC), POISON)?;
    Ok(())
}

#[test]
fn zones_reach_each_other_only_by_rule_and_one_way() -> Result<()> {
    let own = rule("own-web", "office", "{zone: dmz, addresses: [192.168.20.10]}", "tcp/8443, udp/8443", "");
    let gate = Gate::up(&[&PC_017, &WEB, &LGWAN_PC, &INTERNET_ROUTER], &format!("rules:{DNS_RULE}{own}"))?;
    let web = gate.port(&WEB)?;
    let _own = Server::tcp_echo(gate.town.host(&WEB)?, 8443)?;
    let here = gate.town.host(&PC_017)?;
    let reach = || tcp_exchange(here, None, (WEB.v4, 8443), b"page?", SOON);
    gate.drops(&[], reach)?;
    assert_eq!(gate.counted()?.flows.get("own-web"), Some(&1));

    let pc = gate.port(&PC_017)?;
    let to = |host: &Host, port| Packet::udp(inwards(&PC_017), (PC_017.v4, 4000), (host.v4, port), POISON).frame();
    for (frame, there) in [(to(&WEB, 22), &web), (to(&LGWAN_PC, 8443), &gate.port(&LGWAN_PC)?)] {
        gate.drops(&[("office in no_rule", 1)], || {
            pc.send(&frame)?;
            reach()?;
            ensure!(!there.drain()?.iter().any(|seen| seen.contains(POISON)), "{frame:?} arrived");
            Ok(())
        })?;
    }
    // The server may answer, and not ask.
    for host in [&PC_017, &LGWAN_PC] {
        let there = gate.port(host)?;
        let ask = Packet::udp(inwards(&WEB), (WEB.v4, 8443), (host.v4, 4001), POISON).frame();
        gate.drops(&[("dmz in no_rule", 1)], || {
            web.send(&ask)?;
            reach()?;
            ensure!(!there.drain()?.iter().any(|seen| seen.contains(POISON)), "{ask:?} arrived");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn the_box_asks_and_is_asked_only_by_rules_of_its_own() -> Result<()> {
    let rules = [
        rule("box-dns", "box", r#"{network: internet, addresses: [198.51.100.53, "2001:db8:c0::53"]}"#, "dns", ""),
        rule("box-admin", "{zone: office, devices: [admin-pc]}", "box", "ssh, udp/4022", ""),
    ]
    .concat();
    let gate = Gate::up(&[&PC_017, &ADMIN_PC, &INTERNET_ROUTER], &format!("rules:{DNS_RULE}{rules}"))?;
    let internet = gate.town.host(&INTERNET_ROUTER)?;
    let _names = (Server::udp_echo(internet, DNS_V4, 53)?, Server::udp_echo(internet, DNS_V6, 53)?);
    let (inside, outside) = (gate.port(&PC_017)?, gate.port(&INTERNET_ROUTER)?);
    let gateway = &gate.town.gateway;
    let ask = || {
        udp_exchange(gateway, None, (DNS_V4, 53), b"name?", SOON)?;
        udp_exchange(gateway, None, (DNS_V6, 53), b"name?", SOON)
    };
    gate.drops(&[], ask)?;
    assert_eq!(gate.counted()?.flows.get("box-dns"), Some(&2));

    for (to, port) in [(DNS_V4, 54), (ATTACKER_V4, 53), (PC_017.v4, 53)] {
        let zone = if to == PC_017.v4 { "office" } else { "internet" };
        outside.drain()?;
        gate.drops(&[(&format!("{zone} out no_rule"), 1)], || {
            // A drop on the way out may come back to the sender as an error; the counter tells what happened.
            udp_socket(gateway, None, (to, port), SOON)?.send(POISON).ok();
            ask()?;
            let seen = [outside.drain()?, inside.drain()?].concat();
            ensure!(!seen.iter().any(|frame| frame.contains(POISON)), "the box reached {to}:{port}");
            Ok(())
        })?;
    }

    // Asked: by the administrator's terminal alone, and never from outside.
    let _ssh = Server::udp_echo(gateway, OFFICE.v4.0, 4022)?;
    let knock =
        |host: &Host, to: Ipv4Addr, port| Packet::udp(inwards(host), (host.v4, 4000), (to, port), POISON).frame();
    for (port, frame, counter) in [
        (&inside, knock(&PC_017, OFFICE.v4.0, 4022), "office in no_rule"),
        (&inside, knock(&ADMIN_PC, OFFICE.v4.0, 4023), "office in no_rule"),
        (&outside, knock(&INTERNET_ROUTER, INTERNET.v4.0, 4022), "internet in unlisted"),
    ] {
        port.drain()?;
        gate.drops(&[(counter, 1)], || {
            port.send(&frame)?;
            ask()?;
            ensure!(!port.drain()?.iter().any(|seen| seen.contains(POISON)), "{frame:?} was answered");
            Ok(())
        })?;
    }
    let admin = gate.town.host(&ADMIN_PC)?;
    gate.drops(&[], || udp_exchange(admin, None, (OFFICE.v4.0, 4022), b"how are you?", SOON))?;
    assert_eq!(gate.counted()?.flows.get("box-admin"), Some(&1));
    Ok(())
}

/// A rule that ends soon, in force and with time left; the instant it ends.
fn ending(gate: &Gate) -> Result<Timestamp> {
    for margin in [4, 8, 16, 32] {
        let end = Timestamp::now() + margin.seconds();
        let web = rule("short", "office", "internet", "https, udp/443", &format!("until: \"{end:.0}\""));
        gate.apply(&format!("rules:{DNS_RULE}{web}"))?;
        let end: Timestamp = format!("{end:.0}").parse()?;
        // Applying takes its time on a busy machine.
        if Timestamp::now() + 2.seconds() < end {
            return Ok(end);
        }
    }
    bail!("applying a policy takes longer than 30 s")
}

fn wait_for(end: Timestamp) -> Result<()> {
    tool::until("the rule's end", Duration::from_secs(40), || Ok((Timestamp::now() > end).then_some(())))
}

#[test]
fn a_rule_ends_on_time_and_its_flows_end_with_it() -> Result<()> {
    let mut gate = Gate::up(&[&PC_017, &INTERNET_ROUTER], &format!("rules:{DNS_RULE}"))?;
    closes_on_time(&mut gate, false)
}

#[test]
fn a_rule_ends_on_time_with_the_agent_killed() -> Result<()> {
    let mut gate = Gate::up(&[&PC_017, &INTERNET_ROUTER], &format!("rules:{DNS_RULE}"))?;
    closes_on_time(&mut gate, true)
}

fn closes_on_time(gate: &mut Gate, killed: bool) -> Result<()> {
    let internet = gate.town.host(&INTERNET_ROUTER)?.clone();
    let here = gate.town.host(&PC_017)?.clone();
    let _web = Server::tcp_echo(&internet, 443)?;
    let _quic = Server::udp_echo(&internet, CLOUD_V4, 443)?;
    let lane = gate.way_out()?;
    let before = gate.counted()?;
    let end = ending(gate)?;
    let mut stream = connect(&here, None, (CLOUD_V4, 443), SOON)?;
    let socket = udp_socket(&here, None, (CLOUD_V4, 443), SOON)?;
    let mut exchange = |text: &[u8]| -> Result<()> {
        stream.write_all(text)?;
        stream.read_exact(&mut vec![0; text.len()])?;
        Ok(())
    };
    exchange(b"in time")?;
    socket.send(b"in time")?;
    socket.recv(&mut [0; 100])?;
    ensure!(Timestamp::now() < end, "too slow to have tried anything in time");
    if killed {
        gate.agent.kill9()?;
    }
    wait_for(end)?;

    lane.to.drain()?;
    // Two kinds of packets of flows that ran, and two that would open one.
    socket.send(POISON)?;
    stream.write_all(POISON)?;
    let syn = Packet::tcp(inwards(&PC_017), (PC_017.v4, 4000), (CLOUD_V4, 443), (flag::SYN, 1, 0), &[]);
    let first = Packet::udp(inwards(&PC_017), (PC_017.v4, 4000), (CLOUD_V4, 443), POISON);
    lane.from.send(&syn.frame())?;
    lane.from.send(&first.frame())?;
    let late = |frame: &Frame| frame.ips().is_some_and(|(_, dst)| dst == CLOUD_V4);
    let marker = || lane.from.send(&lane.marker);
    lane.to.expect_none("something after the end", SOON, late, marker, is_marker)?;
    if killed {
        gate.agent.restart()?;
    }
    let mut drops = gate.counted()?.since(&before).drops();
    // The sender repeats its data; each time it is the middle of a conversation that is over.
    drops.remove("office in tcp_not_syn");
    drops.retain(|name, _| !name.ends_with(" multicast"));
    let expected = [("office in flow_ended".to_owned(), 2), ("office in rule_closed".to_owned(), 2)].into();
    ensure!(drops == expected, "{drops:?}, expected {expected:?}");
    Ok(())
}

#[test]
fn outside_its_hours_a_rule_is_closed_and_says_so() -> Result<()> {
    // An hour that begins in two.
    let from = (Timestamp::now() + 2.hours()).to_zoned(TimeZone::get("Asia/Tokyo")?);
    let to = &from + 1.hour();
    let (from, to) = (from.strftime("%H:%M"), to.strftime("%H:%M"));
    let web = rule("later", "office", "internet", "udp/443", "hours: later");
    let hours = format!("hours:\n  later: {{days: [mon-sun], from: \"{from}\", to: \"{to}\"}}\n");
    let gate = Gate::up(&[&PC_017, &INTERNET_ROUTER], &format!("rules:{DNS_RULE}{web}{hours}"))?;
    let lane = gate.way_out()?;
    let ask = Packet::udp(inwards(&PC_017), (PC_017.v4, 4000), (CLOUD_V4, 443), POISON).frame();
    gate.refuses(&lane, &[ask], &[("office in rule_closed", 1)])
}
