//! What a frightened administrator types: slips are named, whatever was meant is done, and nobody takes a message for a success.

use anyhow::{Result, ensure};
use jiff::{SignedDuration, Timestamp};
use sekimori_tests::harness::{
    agent::Agent,
    townhall::{CLOUD_V4, PC_017},
};
use serde_json::{Value, json};

use crate::scene::{Scene, asked, cut, recorded, restore, scene};

/// A cut that must not happen; what is said of it.
fn slip(agent: &Agent, words: &[&str]) -> Result<String> {
    let said = agent.cli([&["cutoff"], words].concat())?;
    ensure!(said.code == Some(2), "{words:?}: {said:?}");
    ensure!(said.err.contains("NOTHING WAS CUT OFF"), "{words:?}: {said:?}");
    let list = agent.cli(["cutoff", "list", "--format", "json"])?;
    ensure!(list.out.trim().is_empty(), "{words:?}: {list:?}");
    Ok(said.err)
}

#[test]
fn a_slip_is_named_and_so_is_that_nothing_was_cut() -> Result<()> {
    let Scene { agent, town: _town, _policies } = scene()?;
    for (words, parts) in [
        (&["internet", "--reason", "worm"][..], &["`internet`", "network internet"][..]),
        (&["192.0.2.7", "--reason", "worm"], &["host 192.0.2.7"]),
        (&["192.0.2.0/24", "--reason", "worm"], &["prefix 192.0.2.0/24"]),
        (&["network", "--reason", "worm"], &["`network` needs a name"]),
        (&["network", "intranet", "--reason", "worm"], &["`intranet`", "perhaps `network internet`"]),
        (&["zone", "internet", "--reason", "worm"], &["perhaps `network internet`"]),
        (&["network", "office", "--reason", "worm"], &["perhaps `zone office`"]),
        (&["host", "pc-07", "--reason", "worm"], &["`pc-07`", "perhaps `host pc-017`"]),
        (&["host", "office", "--reason", "worm"], &["perhaps `zone office`"]),
        (&["network", "internet"], &["--reason"]),
        (&["network", "internet", "--reason", "worm", "on", "pc-017"], &["`on`", "--reason \"worm …\""]),
        (&["network", "internet", "--reason", "worm", "--fro", "2h"], &["--fro"]),
    ] {
        let said = slip(&agent, words)?;
        for part in parts {
            ensure!(said.contains(part), "{words:?}: {part} is not in {said}");
        }
    }
    let said = agent.cli(["cutoff", "host", "pc-07", "--reason", "感染", "--lang", "ja"])?;
    ensure!(said.err.contains("`host pc-017` のこと") && said.err.contains("何も遮断していません"), "{said:?}");
    // A slip in a drill never was to cut anything.
    let said = agent.cli(["cutoff", "network", "intranet", "--drill", "--reason", "drill"])?;
    ensure!(said.code == Some(2) && !said.err.contains("NOTHING"), "{said:?}");
    Ok(())
}

/// "`--for 2`" is no reason to let a worm out: the cut stands, without an end, and whoever typed it hears so.
#[test]
fn a_slip_in_the_end_cuts_without_one_and_says_so() -> Result<()> {
    let Scene { mut agent, town, _policies } = scene()?;
    let row = |agent: &Agent| -> Result<Value> {
        let list = agent.cli(["cutoff", "list", "--format", "json"])?;
        Ok(serde_json::from_str(list.out.trim())?)
    };
    for (end, part) in [
        (&["--for", "2"][..], "`2` is not a duration"),
        (&["--for", "0s"], "`0s`"),
        (&["--for", "99999999d"], "`99999999d`"),
        (&["--for", "two hours", "--until", "17:30"], "`two hours`"),
        (&["--for", "2h", "--until", "17:30"], "either"),
        (&["--until", "soon"], "`soon` is not a time"),
        (&["--until", "2020-01-01T00:00"], "is over"),
    ] {
        let words = [&["cutoff", "network", "internet", "--reason", "worm"], end].concat();
        // Rehearsed, or planned, there is time to write it anew.
        let drill = agent.cli(words.iter().copied().chain(["--drill"]))?;
        ensure!(drill.code == Some(2) && !drill.out.contains("DRILL"), "{end:?}: {drill:?}");
        let said = agent.cli(words.iter().copied())?;
        ensure!(said.code == Some(1) && said.out.contains("PROVEN"), "{end:?}: {said:?}");
        ensure!(said.err.contains("WITHOUT an end") && said.err.contains(part), "{end:?}: {said:?}");
        ensure!(!town.ping(&PC_017, CLOUD_V4)?, "{end:?}");
        let row = row(&agent)?;
        ensure!(row["object"] == json!("network internet") && row["until"].is_null(), "{end:?}: {row}");
        let line = recorded(&agent, &["cutoff"])?.pop().unwrap_or_default();
        ensure!(line["result"]["message"].to_string().contains("WITHOUT an end"), "{end:?}: {line}");
        restore(&agent, &["network", "internet"])?;
    }
    let (code, done) = asked(&agent, &["cutoff", "network", "internet", "--for", "2", "--reason", "worm"])?;
    ensure!(code == Some(1) && done["error"]["code"] == json!("endless"), "{done}");
    restore(&agent, &["network", "internet"])?;
    agent.stop()?;
    let said = agent.cli(["cutoff", "network", "internet", "--for", "2", "--reason", "worm", "--lang", "ja"])?;
    ensure!(said.code == Some(1) && said.err.contains("期限なしで遮断しました"), "{said:?}");
    ensure!(row(&agent)?["until"].is_null() && !town.ping(&PC_017, CLOUD_V4)?);
    Ok(())
}

/// One name of several is wrong: the others are cut all the same. A restoration of several can wait, and is all or none.
#[test]
fn what_is_known_of_several_is_cut_and_the_rest_is_named() -> Result<()> {
    let Scene { mut agent, town, _policies } = scene()?;
    let words = ["cutoff", "network", "intranet", "network", "internet", "host", "pc-07", "--reason", "worm"];
    let drill = agent.cli(words.iter().copied().chain(["--drill"]))?;
    ensure!(drill.code == Some(2) && drill.err.contains("`intranet`"), "{drill:?}");
    for running in [true, false] {
        if !running {
            agent.stop()?;
        }
        ensure!(town.ping(&PC_017, CLOUD_V4)?);
        let (code, done) = asked(&agent, &words)?;
        ensure!(code == Some(2) && done["error"]["code"] == json!("unknown"), "{running}: {done}");
        let said = done["error"]["message"].to_string();
        for part in
            ["NOT everything", "`intranet`", "perhaps `network internet`", "`pc-07`", "Cut off: network internet"]
        {
            ensure!(said.contains(part), "{running}: {part} is not in {said}");
        }
        let became: Vec<&Value> = done["objects"].as_array().into_iter().flatten().map(|row| &row["done"]).collect();
        ensure!(became == [&json!("cut"), &json!("unknown"), &json!("unknown")], "{running}: {done}");
        ensure!(done["proof"]["proven"] == json!(true) && !town.ping(&PC_017, CLOUD_V4)?, "{running}: {done}");
        let list = agent.cli(["cutoff", "list", "--format", "json"])?;
        ensure!(list.out.lines().count() == 1, "{running}: {list:?}");
        let line = recorded(&agent, &["cutoff"])?.pop().unwrap_or_default();
        let message = line["result"]["message"].to_string();
        ensure!(message.contains("network intranet") && message.contains("host pc-07"), "{running}: {line}");
        let absent = agent.cli(["restore", "network", "internet", "zone", "office", "--reason", "clean"])?;
        ensure!(absent.code == Some(1) && !town.ping(&PC_017, CLOUD_V4)?, "{running}: {absent:?}");
        restore(&agent, &["network", "internet"])?;
    }
    Ok(())
}

/// Without an agent the cut falls before its end is looked at.
#[test]
fn a_second_cut_without_an_agent_shortens_nothing() -> Result<()> {
    let Scene { mut agent, town: _town, _policies } = scene()?;
    agent.stop()?;
    let row = || -> Result<Value> {
        let list = agent.cli(["cutoff", "list", "--format", "json"])?;
        Ok(serde_json::from_str(list.out.trim())?)
    };
    cut(&agent, &["network", "internet"])?;
    for end in [&["--until", "2020-01-01T00:00"][..], &["--for", "2"]] {
        let said = agent.cli([&["cutoff", "network", "internet", "--reason", "again"], end].concat())?;
        ensure!(said.code == Some(1) && said.err.contains("WITHOUT an end"), "{said:?}");
        ensure!(row()?["until"].is_null(), "what was cut before stays");
    }
    let (code, done) = asked(&agent, &["cutoff", "network", "internet", "--reason", "again", "--for", "1h"])?;
    ensure!(code == Some(0) && done["objects"][0]["done"] == json!("cut_again"), "{done}");
    ensure!(row()?["until"].is_null(), "no end is later than any");
    Ok(())
}

#[test]
fn what_an_input_method_writes_is_understood() -> Result<()> {
    let Scene { agent, town: _town, _policies } = scene()?;
    for words in [
        &["cutoff", "ｎｅｔｗｏｒｋ", "ｉｎｔｅｒｎｅｔ", "－－ｒｅａｓｏｎ", "不審な　通信"][..],
        &["cutoff　network　internet", "—reason", "不審な　通信", "--for", "２時間"],
        &["cutoff", "network", "internet", "--reason", "不審な　通信", "--until", "２３：５９"],
    ] {
        let (code, done) = asked(&agent, words)?;
        ensure!(code == Some(0), "{words:?}: {done}");
        let list = agent.cli(["cutoff", "list", "--format", "json"])?;
        let row: Value = serde_json::from_str(list.out.trim())?;
        let seen = (&row["object"], &row["reason"]);
        ensure!(seen == (&json!("network internet"), &json!("不審な　通信")), "{words:?}: {row}");
        restore(&agent, &["network", "internet"])?;
    }
    Ok(())
}

#[test]
fn ends_are_said_in_the_zone_in_which_they_are_read() -> Result<()> {
    let Scene { agent, town: _town, _policies } = scene()?;
    let now = Timestamp::now().in_tz("Asia/Tokyo")?;
    let soon = now.checked_add(SignedDuration::from_mins(90))?;
    let written = soon.strftime("%H:%M").to_string();
    let (code, done) = asked(&agent, &["cutoff", "network", "internet", "--until", &written, "--reason", "worm"])?;
    ensure!(code == Some(0), "{done}");
    let until = done["objects"][0]["until"].as_str().unwrap_or_default().to_owned();
    ensure!(until == soon.strftime("%Y-%m-%dT%H:%M:00+09:00").to_string(), "{until}");
    restore(&agent, &["network", "internet"])?;
    // A whole date is what it says.
    let dated = now.checked_add(SignedDuration::from_hours(48))?.strftime("%Y-%m-%dT%H:%M").to_string();
    let (code, done) = asked(&agent, &["cutoff", "network", "internet", "--until", &dated, "--reason", "worm"])?;
    ensure!(code == Some(0) && !done["notes"].to_string().contains("tomorrow"), "{done}");
    restore(&agent, &["network", "internet"])?;
    // A time of day that has been is tomorrow's, and that is said. Midnight of today always has been.
    let written = "00:00".to_owned();
    let (code, done) = asked(&agent, &["cutoff", "network", "internet", "--until", &written, "--reason", "worm"])?;
    ensure!(code == Some(0) && done["notes"].to_string().contains("tomorrow"), "{done}");
    restore(&agent, &["network", "internet"])
}

#[test]
fn a_drill_began_lately_or_its_start_is_a_slip() -> Result<()> {
    let Scene { agent, town: _town, _policies } = scene()?;
    let now = Timestamp::now().in_tz("Asia/Tokyo")?;
    let drill = |started: &str| {
        asked(&agent, &["cutoff", "network", "internet", "--drill", "--started", started, "--reason", "yearly drill"])
    };
    let began = now.checked_sub(SignedDuration::from_mins(5))?;
    for written in [began.strftime("%H:%M").to_string(), began.strftime("%H時%M分").to_string()] {
        let (code, done) = drill(&written)?;
        let took = done["people_seconds"].as_i64().unwrap_or_default();
        ensure!(code == Some(0) && (300..400).contains(&took), "{written}: {done}");
    }
    for (hours, what) in [(1, "to come"), (-13, "long ago")] {
        let written = now.checked_add(SignedDuration::from_hours(hours))?.strftime("%Y-%m-%dT%H:%M").to_string();
        let (code, done) = drill(&written)?;
        ensure!(code == Some(2) && done["error"].to_string().contains("No drill was done"), "{what}: {done}");
    }
    let in_an_hour = now.checked_add(SignedDuration::from_hours(1))?.strftime("%H:%M").to_string();
    ensure!(drill(&in_an_hour)?.0 == Some(2), "a time of day to come was yesterday's");
    Ok(())
}

#[test]
fn a_restoration_says_what_keeps_its_object_shut() -> Result<()> {
    let Scene { agent, town: _town, _policies } = scene()?;
    cut(&agent, &["all"])?;
    let said = agent.cli(["restore", "network", "internet", "--reason", "clean"])?;
    ensure!(said.code == Some(1) && said.err.contains("`sekimori restore all`"), "{said:?}");
    restore(&agent, &["all"])?;
    // One machine by two names, and an address inside a prefix. The machine's other address is not in it.
    let objects = ["host", "192.168.10.17", "host", "pc-017", "host", "192.168.10.19", "prefix", "192.168.10.16/30"];
    cut(&agent, &objects)?;
    let opens = |object: &[&str]| -> Result<String> {
        let (code, done) = asked(&agent, &[&["restore"], object, &["--reason", "clean"]].concat())?;
        ensure!(code == Some(0), "{done}");
        Ok(done["opens"].to_string())
    };
    let said = opens(&["host", "192.168.10.17"])?;
    ensure!(said.contains("stays shut") && said.contains("host pc-017"), "{said}");
    let said = opens(&["host", "pc-017"])?;
    ensure!(!said.contains("stays shut"), "{said}");
    let said = opens(&["host", "192.168.10.19"])?;
    ensure!(said.contains("stays shut") && said.contains("prefix 192.168.10.16/30"), "{said}");
    let said = opens(&["prefix", "192.168.10.16/30"])?;
    ensure!(!said.contains("stays shut"), "{said}");
    Ok(())
}

/// Test packets of proofs are nobody's, however often somebody looks.
#[test]
fn what_was_refused_was_sent_by_somebody() -> Result<()> {
    let Scene { agent, town: _town, _policies } = scene()?;
    for object in [&["host", "10.77.0.10"][..], &["prefix", "10.77.0.0/30"], &["network", "lgwan"]] {
        cut(&agent, object)?;
        let (mut refused, mut probes) = (0, 0);
        for _ in 0..5 {
            let (code, proof) = asked(&agent, &[&["cutoff", "verify"], object].concat())?;
            let seen = &proof["objects"][0];
            ensure!(code == Some(0) && seen["probes_dropped"].as_u64() > Some(1), "{proof}");
            refused = seen["refused_packets"].as_u64().unwrap_or(u64::MAX);
            probes += seen["probes_dropped"].as_u64().unwrap_or_default();
        }
        // The box itself says a word now and then on its lines.
        let most = if matches!(object[0], "host" | "prefix") { 0 } else { probes / 2 };
        ensure!(refused <= most, "{object:?}: {refused} refused, {probes} test packets");
        let list = agent.cli(["cutoff", "list", "--format", "json"])?;
        let row: Value = serde_json::from_str(list.out.trim())?;
        ensure!(row["refused_packets"].as_u64() <= Some(most), "{row}");
        restore(&agent, object)?;
    }
    Ok(())
}

#[test]
fn a_plan_for_a_time_of_day_is_the_next_one_and_says_what_it_overlaps() -> Result<()> {
    let Scene { agent, town: _town, _policies } = scene()?;
    let soon = Timestamp::now().in_tz("Asia/Tokyo")?.checked_add(SignedDuration::from_hours(3))?;
    let at = soon.strftime("%H:%M").to_string();
    let words = ["cutoff", "plan", "network", "internet", "--at", &at, "--for", "2h", "--urgent", "--reason", "line"];
    let (code, first) = asked(&agent, &words)?;
    ensure!(code == Some(0) && first["notes"].is_null(), "{first}");
    ensure!(first["plan"]["at"] == json!(soon.strftime("%Y-%m-%dT%H:%M:00+09:00").to_string()), "{first}");
    let (code, second) = asked(&agent, &words)?;
    ensure!(code == Some(0) && second["notes"].to_string().contains("plan 1"), "{second}");
    Ok(())
}
