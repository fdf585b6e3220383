//! Rules, hours, published servers, the box's own packets.
use super::*;

#[test]
fn rules_by_place_address_device_and_service() {
    let mut court = Court::new();
    let to = |court: &mut Court, dst: &str, dport: u16| {
        court.state = OracleState::default();
        court.pc_sends(&ip("192.168.10.17", dst, 6), &syn(40_000, dport))
    };
    assert_eq!(to(&mut court, "198.51.100.5", 443), "rule");
    assert_eq!(to(&mut court, "198.51.100.5", 444), "no_rule");
    assert_eq!(to(&mut court, "192.168.20.10", 443), "no_rule");
    assert_eq!(to(&mut court, "192.168.10.1", 22), "rule");
    court.policy.rules[0].from.devices = Some(vec![0]);
    assert_eq!(to(&mut court, "198.51.100.5", 443), "rule");
    court.policy.rules[0].from.devices = Some(Vec::new());
    assert_eq!(to(&mut court, "198.51.100.5", 443), "no_rule");
    court.policy.rules[0].from.devices = None;
    court.policy.rules[0].from.prefixes = Some(vec!["192.168.10.16/31".parse().unwrap()].into());
    assert_eq!(to(&mut court, "198.51.100.5", 443), "rule");
    court.policy.rules[0].to.prefixes = Some(vec!["198.51.100.4/32".parse().unwrap()].into());
    assert_eq!(to(&mut court, "198.51.100.5", 443), "no_rule");
}

#[test]
fn hours_and_ends() {
    let mut court = Court::new();
    let (to_web, bytes) = pc_to_web();
    let minutes = court.now.to_zoned(court.policy.timezone.clone());
    let minute = minutes.hour() as u16 * 60 + minutes.minute() as u16;
    let today = minutes.date().weekday().to_monday_zero_offset() as u8;
    court.policy.hours =
        vec![Hours { name: "now".into(), spans: vec![(today, minute, minute + 1)], closed_on_holidays: true }];
    court.policy.rules[0].hours = Some(0);
    court.wait(40);
    assert_eq!(court.pc_sends(&to_web, &bytes), "rule");
    court.wait(25);
    assert_eq!(court.pc_sends(&ip("192.168.10.17", "198.51.100.6", 6), &bytes), "rule_closed");
    assert_eq!(court.pc_sends(&to_web, &bytes), "flow_ended", "the deadline came with the hour");
    court.policy.hours[0].spans = vec![(today, 0, 1440)];
    assert_eq!(court.pc_sends(&to_web, &bytes), "rule");
    court.policy.holidays = vec![minutes.date()];
    court.state = OracleState::default();
    assert_eq!(court.pc_sends(&to_web, &bytes), "rule_closed");
    court.policy.rules[0].hours = None;
    court.policy.rules[0].until = Some(court.now);
    assert_eq!(court.pc_sends(&to_web, &bytes), "rule_closed");
}

#[test]
fn the_first_open_rule_decides() {
    let mut court = Court::new();
    let mut second = court.policy.rules[0].clone();
    second.id = "second".into();
    court.policy.rules.push(second);
    court.policy.rules[0].until = Some(court.now);
    let (to_web, bytes) = pc_to_web();
    let frame = ether(BOX, PC, &port("lan0"), 0x0800, &to_web.bytes(&bytes));
    let event = Event { number: 0, frame, way: Way::In { interface: "lan0".into() }, now: court.now };
    let verdict = judge(&court.policy, &mut court.state, &event);
    assert_eq!((verdict.reason.code(), verdict.rule.as_deref()), ("rule", Some("second")));
}

#[test]
fn published_servers() {
    let asks = (ip("198.51.100.7", "203.0.113.10", 6), syn(50_000, 443));
    let real = (ip("198.51.100.7", "192.168.20.10", 6), syn(50_000, 8443));
    let other = (ip("198.51.100.7", "192.168.20.11", 6), syn(50_000, 8443));
    let same_port = (ip("198.51.100.7", "192.168.20.10", 6), syn(50_000, 443));
    for (interface, (ip, bytes), reason) in [
        ("dmz0", &real, "flow"),
        ("dmz0", &other, "wrong_server"),
        ("dmz0", &same_port, "wrong_server"),
        ("lan0", &real, "wrong_way"),
    ] {
        let mut court = Court::new();
        assert_eq!(court.internet_sends(&asks.0, &asks.1), "rule");
        assert_eq!(court.leaves(interface, ip, bytes), reason);
    }
    let mut court = Court::new();
    assert_eq!(court.internet_sends(&real.0, &real.1), "no_rule");
}

#[test]
fn the_box_itself() {
    let mut court = Court::new();
    let query = (ip("203.0.113.2", "8.8.8.8", 17), udp(5_353, 53, 5));
    let answer = (ip("8.8.8.8", "203.0.113.2", 17), udp(53, 5_353, 5));
    assert_eq!(court.internet_sends(&answer.0, &answer.1), "no_rule");
    assert_eq!(court.leaves_as("wan0", &query.0, &query.1, Origin::Box), "rule");
    assert_eq!(court.internet_sends(&answer.0, &answer.1), "flow");
    assert_eq!(court.leaves_as("wan0", &query.0, &query.1, Origin::Box), "flow");
    assert_eq!(court.leaves_as("lan0", &query.0, &query.1, Origin::Box), "wrong_way");
    assert_eq!(court.leaves_as("wan0", &query.0, &udp(5_353, 54, 5), Origin::Box), "no_rule");
    assert_eq!(court.leaves_as("wan0", &query.0, &query.1, Origin::Unguarded), "unguarded_source");
    assert_eq!(court.leaves_as("wan0", &query.0, &query.1, Origin::Unmarked), "not_judged");
    court.policy.rules.retain(|rule| rule.id != "box-dns");
    court.state.revision += 1;
    assert_eq!(court.internet_sends(&answer.0, &answer.1), "flow_ended");
    court.policy.rules.clear();
    assert_eq!(court.internet_sends(&answer.0, &answer.1), "unlisted");
}
