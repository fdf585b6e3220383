//! Where packets enter and leave, and what is said about each.

use super::super::test_bytes::*;
use super::*;

const PC: ([u8; 4], u16) = ([192, 168, 10, 17], 40000);
const CLOUD: ([u8; 4], u16) = ([198, 51, 100, 5], 443);
const PUBLIC: ([u8; 4], u16) = ([203, 0, 113, 10], 443);
const REAL: ([u8; 4], u16) = ([192, 168, 20, 10], 8443);
const SYN: u8 = 2;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;

fn office(body: &[u8]) -> Vec<u8> {
    ethernet(mac(0x10, 1), mac(0x10, 0x17), &[], 0x0800, body)
}
fn internet(body: &[u8]) -> Vec<u8> {
    ethernet(mac(0x99, 2), mac(0x99, 1), &[], 0x0800, body)
}
fn ways<F>(judge: &Witness<F>) -> Vec<&str> {
    judge.asked.iter().map(|asked| asked.way.as_str()).collect()
}

#[test]
fn by_one_interface_only_the_way_in_is_judged() {
    let frames = [office(&tcp(PC, CLOUD, SYN, 1, b"")), internet(&tcp(CLOUD, PC, SYN_ACK, 1, b""))];
    let mut judge = Witness::new(|_, _| says(Reason::Rule));
    let (lines, summary, ended) = replay(&capture(&frames), &mut judge, &options(Entry::Interface("lan0".into())));
    assert!(ended.is_ok());
    assert_eq!(ways(&judge), ["in lan0", "in lan0"]);
    assert_eq!((summary.packets, summary.passed), (2, 2));
    assert_eq!(judge.asked[0].frame, frames[0]);
    assert_eq!(lines[0]["time"], "2026-12-01T01:00:00Z");
    assert_eq!(judge.asked[1].now - judge.asked[0].now, 1_000_000);
}

#[test]
fn a_line_has_the_contracts_fields() {
    let frames = [internet(&tcp(CLOUD, PUBLIC, SYN, 1, b"")), office(&tcp(PC, CLOUD, SYN, 1, b""))];
    let mut judge = Witness::new(|way, _| match way {
        "in wan0" => Judged { rule: Some(0), ..says(Reason::Rule) },
        "in lan0" => says(Reason::NoRule),
        _ => says(Reason::Flow),
    });
    let (lines, _, _) = replay(&capture(&frames), &mut judge, &options(Entry::Auto));
    let of = |line: usize| ["n", "verdict", "reason", "rule"].map(|key| lines[line][key].clone());
    assert_eq!(of(0), [serde_json::json!(1), "pass".into(), "rule".into(), "city-web".into()]);
    assert_eq!(of(1), [serde_json::json!(2), "drop".into(), "no_rule".into(), serde_json::Value::Null]);
}

#[test]
fn each_packet_enters_where_its_source_lives_and_leaves_where_it_goes() {
    let frames = [
        office(&tcp(PC, CLOUD, SYN, 1, b"")),
        internet(&tcp(CLOUD, PC, SYN_ACK, 1, b"")),
        office(&tcp(PC, ([10, 80, 9, 1], 80), SYN, 1, b"")),
        office(&tcp(PC, ([192, 168, 10, 1], 22), SYN, 1, b"")),
    ];
    let mut judge = Witness::new(|_, _| says(Reason::Rule));
    let (lines, _, _) = replay(&capture(&frames), &mut judge, &options(Entry::Auto));
    let expected = [
        "in lan0",
        "out wan0 from lan0 7",
        "in wan0",
        "out lan0 from wan0 7",
        "in lan0",
        "out lgw0 from lan0 7",
        "in lan0",
    ];
    assert_eq!(ways(&judge), expected);
    assert_eq!(lines[3]["out"], serde_json::Value::Null, "what is for the box does not leave");
}

#[test]
fn a_drop_at_the_way_in_is_final_and_a_drop_at_the_way_out_is_the_verdict() {
    let frames = [office(&tcp(PC, CLOUD, SYN, 1, b""))];
    let mut judge = Witness::new(|_, _| says(Reason::NoRule));
    assert!(replay(&capture(&frames), &mut judge, &options(Entry::Auto)).2.is_ok());
    assert_eq!(ways(&judge), ["in lan0"]);
    let mut judge = Witness::new(|way, _| says(if way.starts_with("in") { Reason::Rule } else { Reason::WrongWay }));
    let (lines, _, _) = replay(&capture(&frames), &mut judge, &options(Entry::Auto));
    assert_eq!((&lines[0]["verdict"], &lines[0]["reason"]), (&"drop".into(), &"wrong_way".into()));
}

#[test]
fn a_packet_from_the_box_is_judged_on_its_way_out_as_the_boxs() {
    let frames = [ethernet(
        mac(0x99, 1),
        mac(0x99, 2),
        &[],
        0x0800,
        &udp(([203, 0, 113, 2], 9), ([198, 51, 100, 53], 53), b"?"),
    )];
    let mut judge = Witness::new(|_, _| says(Reason::Rule));
    let (lines, _, _) = replay(&capture(&frames), &mut judge, &options(Entry::Auto));
    assert_eq!(ways(&judge), ["out wan0 from box"]);
    assert_eq!((&lines[0]["in"], &lines[0]["note"][0]), (&serde_json::Value::Null, &"from_box".into()));
}

#[test]
fn a_published_server_is_reached_and_answers_as_through_dnat() {
    let from_server = ethernet(mac(0x20, 1), mac(0x20, 0x10), &[], 0x0800, &tcp(REAL, CLOUD, SYN_ACK, 5, b""));
    let seen_outside = ethernet(mac(0x99, 1), mac(0x99, 2), &[], 0x0800, &tcp(PUBLIC, CLOUD, SYN_ACK, 5, b""));
    let frames = [internet(&tcp(CLOUD, PUBLIC, SYN, 1, b"")), from_server.clone(), seen_outside.clone()];
    let mut judge = Witness::new(|way, _| match way {
        "in wan0" => Judged { rule: Some(0), ..says(Reason::Rule) },
        _ => says(Reason::Flow),
    });
    assert!(replay(&capture(&frames), &mut judge, &options(Entry::Auto)).2.is_ok());
    let expected =
        ["in wan0", "out dmz0 from wan0 7", "in dmz0", "out wan0 from dmz0 7", "in dmz0", "out wan0 from dmz0 7"];
    assert_eq!(ways(&judge), expected);
    let inside = &judge.asked[1].frame;
    assert_eq!((&inside[30..34], &inside[36..38]), (&REAL.0[..], &REAL.1.to_be_bytes()[..]));
    assert_eq!(judge.asked[3].frame[26..38], seen_outside[26..38], "the client sees the public address");
    assert_eq!(judge.asked[4].frame[6..], from_server[6..], "what was seen outside is played as the server sent it");
    for asked in &judge.asked {
        assert!(sums_hold(&asked.frame), "{}: a checksum broke", asked.way);
    }
}

#[test]
fn a_reply_captured_inside_enters_with_the_routers_mac() {
    // Captured on lan0: the reply already carries the box's MAC, learned from the request.
    let reply = ethernet(mac(0x10, 0x17), mac(0x10, 1), &[], 0x0800, &tcp(CLOUD, PC, SYN_ACK, 1, b""));
    let frames = [office(&tcp(PC, CLOUD, SYN, 1, b"")), reply.clone()];
    let mut judge = Witness::new(|_, _| says(Reason::Rule));
    let (lines, _, _) = replay(&capture(&frames), &mut judge, &options(Entry::Auto));
    assert_eq!(judge.asked[2].frame[6..12], mac(0x99, 1));
    assert_eq!(lines[1]["note"][0], "sent_on");
    // A MAC nobody was seen to use as a gateway is left alone, for the programs to drop.
    let mut judge = Witness::new(|_, _| says(Reason::Rule));
    assert!(replay(&capture(&[reply]), &mut judge, &options(Entry::Auto)).2.is_ok());
    assert_eq!(judge.asked[0].frame[6..12], mac(0x10, 1));
}

#[test]
fn tags_follow_the_side_but_unknown_tags_are_left_to_the_programs() {
    let body = tcp(([192, 168, 60, 11], 1), PC, SYN, 1, b"");
    let camera = |tags: &[u16]| ethernet(mac(0x60, 1), mac(0x60, 0x11), tags, 0x0800, &body);
    let frames = [camera(&[60]), camera(&[]), camera(&[99]), camera(&[60, 1, 2])];
    let mut judge = Witness::new(|way, frame| {
        says(if way == "in lan1" && frame[15] == 60 { Reason::Rule } else { Reason::UnknownVlan })
    });
    let (lines, _, _) = replay(&capture(&frames), &mut judge, &options(Entry::Auto));
    let asked: Vec<_> =
        judge.asked.iter().filter(|asked| asked.way == "in lan1").map(|asked| asked.frame.clone()).collect();
    assert_eq!(asked, [camera(&[60]), camera(&[60]), camera(&[99]), camera(&[60, 1, 2])]);
    assert_eq!(lines[1]["note"][0], "retagged");
    let out = judge.asked.iter().find(|asked| asked.way.starts_with("out lan0")).unwrap();
    assert_eq!(out.frame, camera(&[]), "it leaves untagged");
}

#[test]
fn what_names_no_source_enters_by_its_mac_or_by_the_default_network() {
    let stp = ethernet([1, 0x80, 0xc2, 0, 0, 0], mac(0x44, 4), &[], 0x0027, &[0x42; 40]);
    let dhcp = udp(([0, 0, 0, 0], 68), ([255; 4], 67), b"?");
    let frames = [stp, ethernet([0xff; 6], mac(0x10, 0x17), &[], 0x0800, &dhcp)];
    let mut judge = Witness::new(|_, _| says(Reason::Builtin));
    let (lines, _, _) = replay(&capture(&frames), &mut judge, &options(Entry::Auto));
    assert_eq!(ways(&judge), ["in wan0", "in lan0"]);
    assert_eq!(lines[0]["note"][0], "placed");
}

#[test]
fn a_frame_without_a_header_is_truncated_and_never_run() {
    let mut bytes = pcap(false, false, 1);
    bytes.extend(record(false, 1, 0, 0, b""));
    bytes.extend(record(false, 1, 0, 13, &[1; 13]));
    for entry in [Entry::Auto, Entry::Interface("lan0".into())] {
        let mut judge = Witness::new(|_, _| says(Reason::Rule));
        let (lines, _, _) = replay(&bytes, &mut judge, &options(entry));
        assert!(judge.asked.is_empty());
        assert!(lines.iter().all(|line| line["reason"] == "truncated" && line["verdict"] == "drop"), "{lines:?}");
        assert_eq!(lines.len(), 2);
    }
}

#[test]
fn a_frame_cut_by_the_snaplen_is_padded_to_its_length_on_the_wire() {
    let whole = office(&udp(PC, CLOUD, &[0; 500]));
    let mut bytes = pcap(false, false, 1);
    bytes.extend(record(false, 1, 0, whole.len() as u32, &whole[..60]));
    bytes.extend(record(false, 1, 0, u32::MAX, &whole[..60]));
    let mut judge = Witness::new(|_, _| says(Reason::Rule));
    let (lines, _, _) = replay(&bytes, &mut judge, &options(Entry::Interface("lan0".into())));
    assert_eq!((judge.asked.len(), &judge.asked[0].frame), (1, &whole));
    assert_eq!(lines[0]["note"][0], "padded");
    assert_eq!((&lines[1]["verdict"], &lines[1]["reason"]), (&"drop".into(), &"too_large".into()));
}

#[test]
fn a_long_frame_is_handed_over_whole_and_said_to_be_judged_by_its_head() {
    // What a capture shows before the card cuts it (TSO) or after it joined it (LRO).
    let frames = [office(&tcp(PC, CLOUD, ACK, 100, &[7; 60_000])), office(&udp(PC, CLOUD, &[7; 3000]))];
    let mut judge = Witness::new(|_, _| says(Reason::Flow));
    let (lines, _, _) = replay(&capture(&frames), &mut judge, &options(Entry::Auto));
    assert_eq!(judge.asked[0].frame, frames[0]);
    assert_eq!(lines[0]["note"], serde_json::json!(["head"]));
    assert_eq!(lines[1]["note"], serde_json::json!([]));
}

#[test]
fn times_are_the_captures_own_unless_another_is_given() {
    let mut bytes = pcap(false, true, 1);
    for second in [100_000, 99_000, 200_000] {
        bytes.extend(record(false, second, 0, 60, &office(&udp(PC, CLOUD, b"?"))));
    }
    let mut judge = Witness::new(|_, _| says(Reason::Rule));
    let (lines, _, _) = replay(&bytes, &mut judge, &options(Entry::Interface("lan0".into())));
    let seconds: Vec<_> = judge.asked.iter().map(|asked| asked.now / 1_000_000_000).collect();
    assert_eq!(seconds, [100_000, 100_000, 200_000]);
    assert!(lines[1]["note"].as_array().unwrap().contains(&"clock_back".into()));
    assert_eq!(judge.clocks.len(), 2, "schedules are laid out again a day later");

    let at: Timestamp = "2026-12-01T10:00:00+09:00".parse().unwrap();
    let mut judge = Witness::new(|_, _| says(Reason::Rule));
    let given = Options { at: Some(at), ..options(Entry::Interface("lan0".into())) };
    let (lines, _, _) = replay(&bytes, &mut judge, &given);
    assert!(judge.asked.iter().all(|asked| i128::from(asked.now) == at.as_nanosecond()));
    assert_eq!((judge.clocks, lines[2]["time"].as_str()), (vec![at], Some("2026-12-01T01:00:00Z")));
}

#[test]
fn the_table_speaks_both_languages() {
    let frames = [office(&tcp(PC, CLOUD, SYN, 1, b""))];
    for (lang, words) in [(Lang::Ja, ["遮断", "許可する規則がない"]), (Lang::En, ["drop", "no rule permits it"])]
    {
        let mut judge = Witness::new(|_, _| says(Reason::NoRule));
        let text = Options { format: Format::Text, lang, ..options(Entry::Auto) };
        let mut out = Vec::new();
        run(&capture(&frames)[..], &policy(), &mut judge, &text, &mut out, &mut Summary::default()).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("tcp 192.168.10.17:40000 > 198.51.100.5:443"), "{out}");
        assert!(words.iter().all(|word| out.contains(word)), "{out}");
    }
}
