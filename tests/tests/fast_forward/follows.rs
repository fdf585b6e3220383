//! What changes below it: routes, neighbours, links.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use super::shared::{OUT, Running, forwarded_as};
use anyhow::{Result, ensure};
use sekimori::dataplane::maps::Maps;
use sekimori_tests::harness::{
    fast::deliver,
    fast::{Scene, Talk},
    gate::SOON,
    link::{self, plug},
    offload,
    policy::{TOWN, rule},
    raw::RawPort,
    tool,
    town::{HOST_INTERFACE, Town},
    townhall::{INTERNET, INTERNET_ROUTER, LGWAN_ROUTER, OFFICE, PC_017},
};

const NEW_MAC: [u8; 6] = [2, 0, 0, 0, 0x99, 0x77];

#[test]
fn a_route_that_moves_takes_it_away_from_the_very_next_packet() -> Result<()> {
    let mut running = Running::up(&[&LGWAN_ROUTER])?;
    let lgwan = RawPort::open(running.scene.town.host(&LGWAN_ROUTER)?, HOST_INTERFACE)?;
    for dead in [false, true] {
        if dead {
            running.scene.agent.kill9()?;
        }
        running.scene.gateway("ip route replace 198.51.100.5 via 172.16.88.1")?;
        let maps = Maps::pinned(&running.scene.agent.pins_path().join("maps"))?;
        ensure!(maps.fast.get(&0, 0)? != 0, "nothing of this is the agent's doing");
        let astray = running.talk.ask();
        if dead {
            let forwarded = running.scene.forwarded()?;
            running.a.send(&astray.frame())?;
            let seen = || Ok((running.scene.forwarded()? == forwarded + 1).then_some(()));
            tool::until("the kernel to have tried", SOON, seen)?;
        } else {
            running.refused(&astray, "lgwan out wrong_way")?;
        }
        // Nor is a conversation that already ran the other way a way back.
        running.scene.gateway("ip route del 198.51.100.5")?;
        let home = running.talk.ask();
        deliver(running.there(), &home)?;
        for port in [&running.b, &lgwan] {
            ensure!(!port.drain()?.iter().any(|frame| frame.contains(&astray.body)), "dead: {dead}");
        }
        running.fast()?;
    }
    Ok(())
}

#[test]
fn a_neighbour_that_changes_is_followed_from_the_next_packet_on() -> Result<()> {
    let mut running = Running::up(&[])?;
    let new = "02:00:00:00:99:77";
    running.scene.gateway(&format!("ip neigh replace 203.0.113.1 lladdr {new} dev wan0 nud permanent"))?;
    let ask = running.talk.ask();
    let (seen, fast) = running.scene.pass(running.there(), &ask)?;
    assert_eq!((seen.to_mac(), fast), (NEW_MAC, true));
    assert_eq!(seen.0, forwarded_as(&ask, (INTERNET.mac, NEW_MAC)).0);
    // Forgotten: the kernel asks for it again and nothing is lost.
    running.scene.gateway("ip neigh del 203.0.113.1 dev wan0")?;
    let ask = running.talk.ask();
    let seen = running.scene.slow(running.there(), &ask)?;
    assert_eq!(seen.0, forwarded_as(&ask, OUT).0);
    running.fast()
}

#[test]
fn a_link_that_goes_and_comes_back_leaves_no_hole() -> Result<()> {
    let mut running = Running::up(&[])?;
    running.scene.gateway("ip link set wan0 down")?;
    let lost = running.talk.ask();
    running.a.send(&lost.frame())?;
    running.scene.gateway("ip link set wan0 up")?;
    running.scene.gateway("ip route replace default via 203.0.113.1")?;
    tool::until("packets to pass again", SOON, || {
        let ask = running.talk.ask();
        running.a.send(&ask.frame())?;
        let deadline = Instant::now() + Duration::from_millis(100);
        while let Some(frame) = running.b.next(deadline)? {
            if frame.contains(&ask.body) {
                return Ok(Some(()));
            }
        }
        Ok(None)
    })?;
    running.fast()
}

#[test]
fn a_gateway_with_a_new_mac_forwards_what_is_sent_to_that_and_nothing_else() -> Result<()> {
    let mut running = Running::up(&[])?;
    let (old, new) = (OFFICE.mac, [2, 0, 0, 0, 0x10, 0x55]);
    running.scene.gateway("ip link set lan0 address 02:00:00:00:10:55")?;
    tool::until("the fast path by the new MAC", SOON, || {
        let mut ask = running.talk.ask();
        ask.macs.1 = new;
        Ok(running.scene.pass((&running.a, &running.b), &ask)?.1.then_some(()))
    })?;
    let astray = running.talk.ask();
    ensure!(astray.macs.1 == old);
    running.a.send(&astray.frame())?;
    let mut good = running.talk.ask();
    good.macs.1 = new;
    let marker = || running.a.send(&good.frame());
    running.b.expect_none("it", SOON, |seen| seen.contains(&astray.body), marker, |seen| seen.contains(&good.body))
}

#[test]
fn a_route_that_moves_to_another_line_of_the_network_takes_the_fast_path_with_it() -> Result<()> {
    let hosts = [&PC_017, &INTERNET_ROUTER];
    let town = Town::build(&hosts)?;
    let (router, ours) = (town.host(&INTERNET_ROUTER)?.clone(), [2, 0, 0, 0, 0x98, 2]);
    link::veth(plug(&town.gateway, "wan1").mac(ours), plug(&router, "eth1").mac(INTERNET_ROUTER.mac))?;
    offload::gro(&router, "eth1", true)?;
    link::address(&town.gateway, "wan1", Ipv4Addr::new(203, 0, 113, 98), 28)?;
    let web = rule("web", "office", "internet", "https, udp/443");
    let policy = format!("{TOWN}{web}").replacen("interfaces: [wan0]", "interfaces: [wan0, wan1]", 1);
    let scene = Scene::with(town, &hosts, true, &policy)?.quiet(&hosts)?;
    scene.usable("wan1")?;
    let (a, b) = scene.lane(&PC_017, &INTERNET_ROUTER)?;
    let other = RawPort::open(&router, "eth1")?;
    for tcp in [false, true] {
        let mut talk = if tcp { Talk::tcp(false, 4001, (&a, &b))? } else { Talk::udp(false, 4000) };
        scene.speeds_up(&mut talk, (&a, &b))?;
        scene.gateway("ip neigh replace 203.0.113.97 lladdr 02:00:00:00:99:01 dev wan1 nud permanent")?;
        scene.gateway("ip route replace 198.51.100.5 via 203.0.113.97")?;
        let ask = talk.ask();
        let seen = scene.slow((&a, &other), &ask)?;
        assert_eq!(seen.0, forwarded_as(&ask, (ours, INTERNET_ROUTER.mac)).0);
        tool::until("both ways by the other line", SOON, || {
            let out = scene.pass((&a, &other), &talk.ask())?.1;
            let mut answer = talk.answer();
            answer.macs.1 = ours;
            Ok((scene.pass((&other, &a), &answer)?.1 && out).then_some(()))
        })?;
        ensure!(!b.drain()?.iter().any(|frame| frame.contains(&ask.body)));
        scene.gateway("ip route del 198.51.100.5")?;
    }
    Ok(())
}
