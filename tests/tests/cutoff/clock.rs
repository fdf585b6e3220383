//! The clock is set while the gate works: cutting, proving and restoring do not ask what time it is, and a span is a span.

use std::{ffi::OsString, fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use sekimori_tests::harness::{
    stream::Stream,
    tool,
    townhall::{ADMIN_PC, DNS_V4, INTERNET_ROUTER, PC_017},
};
use serde_json::json;

use crate::scene::{OFTEN, Scene, asked, cut, recorded, restore, said, scene_in};

const SOON: Duration = Duration::from_secs(20);
const DAY: i64 = 86_400;

/// The wall clock of one process, which a file moves (`faketime(1)`); its other clocks are the machine's.
struct WallClock {
    folder: tempfile::TempDir,
}

impl WallClock {
    fn new() -> Result<Self> {
        let clock = Self { folder: tempfile::tempdir()? };
        clock.moved("+0")?;
        Ok(clock)
    }

    fn moved(&self, by: &str) -> Result<()> {
        Ok(fs::write(self.file(), by)?)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("clock")
    }

    /// Where the library is, `faketime` itself knows.
    fn environment(&self) -> Result<Vec<(&'static str, OsString)>> {
        let mut faketime = Command::new("faketime");
        let library = tool::must(faketime.args(["-f", "+0", "sh", "-c", "echo $LD_PRELOAD"]), SOON)?;
        Ok(vec![
            ("LD_PRELOAD", library.out.trim().into()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().into()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("DONT_FAKE_MONOTONIC", "1".into()),
        ])
    }
}

#[test]
fn set_back_a_day_the_cut_takes_effect_holds_and_says_so() -> Result<()> {
    let clock = WallClock::new()?;
    let Scene { mut agent, town, _policies } = scene_in(clock.environment()?, Vec::new(), "")?;
    let internet = town.host(&INTERNET_ROUTER)?;
    let query = Stream::to_server(town.host(&PC_017)?, None, internet, (DNS_V4, 53), OFTEN)?;
    let other = Stream::to_server(town.host(&ADMIN_PC)?, None, internet, (INTERNET_ROUTER.v4, 53), OFTEN)?;
    query.flows(20)?;
    other.flows(20)?;
    said(&agent, &["cutoff", "host", "pc-017", "--for", "2h", "--reason", "worm"])?;
    query.stands_still(20)?;

    clock.moved("-1d")?;
    let (_, status) = asked(&agent, &["status"])?;
    let behind = status["clock"]["behind_seconds"].as_i64().context("no figure")?;
    assert!((DAY - 60..=DAY + 60).contains(&behind), "{behind}");
    let text = agent.cli(["status"])?;
    assert!(text.out.contains("clock"), "{text:?}");
    // A time that this clock calls to come may be over: it is not planned for, and nothing is cut by that.
    let plan = ["cutoff", "plan", "network", "internet", "--at", "23:59", "--urgent", "--reason", "maintenance"];
    let refused = agent.cli(plan)?;
    assert!(refused.code == Some(1) && refused.err.contains("--accept-clock"), "{refused:?}");
    let (_, status) = asked(&agent, &["status"])?;
    assert!(status["plans"].is_null(), "{status}");
    other.flows(20)?;
    // What was cut before stays cut, and what is cut now is cut now.
    query.stands_still(20)?;
    let (code, done) = asked(&agent, &["cutoff", "network", "internet", "--reason", "worm"])?;
    assert_eq!((code, &done["objects"][0]["in_force"]), (Some(0), &json!(true)), "{done}");
    other.stands_still(20)?;
    let (code, proof) = asked(&agent, &["cutoff", "verify"])?;
    assert_eq!((code, &proof["proven"]), (Some(0), &json!(true)), "{proof}");

    agent.kill9()?;
    other.stands_still(20)?;
    agent.restart()?;
    other.stands_still(20)?;
    query.stands_still(20)?;
    restore(&agent, &["network", "internet"])?;
    tool::until("the network to be restored", SOON, || Ok(other.flows(20).ok()))?;
    query.stands_still(20)?;

    // The lines keep their order whatever the clock says, and tell what it said.
    let (code, verified) = asked(&agent, &["records", "verify"])?;
    assert_eq!((code, &verified["whole"]), (Some(0), &json!(true)), "{verified}");
    let lines = recorded(&agent, &["cutoff"])?;
    let times: Vec<_> = lines.iter().filter_map(|line| line["time"].as_str()).collect();
    assert!(times.len() == 2 && times[1] < times[0], "{times:?}");

    // Its two hours are two hours, whatever the clock says; a person may end them.
    let (_, listed) = asked(&agent, &["status"])?;
    let rest = left(&clock, &listed)?;
    assert!((7_000..=7_200).contains(&rest), "{rest} s left: {listed}");
    cut(&agent, &["zone", "dmz"])?;
    restore(&agent, &["host", "pc-017"])?;
    tool::until("pc-017 to be restored", SOON, || Ok(query.flows(20).ok()))
}

/// Seconds until the first cut lifts itself, as the agent's clock says it.
fn left(clock: &WallClock, listed: &serde_json::Value) -> Result<i64> {
    let until: Timestamp = listed["cutoffs"][0]["until"].as_str().context("no end")?.parse()?;
    let moved = fs::read_to_string(clock.file())?;
    let days: i64 = moved.trim().trim_end_matches('d').parse()?;
    Ok(until.as_second() - Timestamp::now().as_second() - days * DAY)
}

/// Whoever sets the clock forward, or a server that does, ends no cut before its time, over restarts of the agent too.
#[test]
fn set_forward_a_day_a_cut_for_two_hours_holds_and_one_for_seconds_ends() -> Result<()> {
    let clock = WallClock::new()?;
    let Scene { mut agent, town, _policies } = scene_in(clock.environment()?, Vec::new(), "")?;
    let internet = town.host(&INTERNET_ROUTER)?;
    let query = Stream::to_server(town.host(&PC_017)?, None, internet, (DNS_V4, 53), OFTEN)?;
    query.flows(20)?;
    said(&agent, &["cutoff", "host", "pc-017", "--for", "2h", "--reason", "worm"])?;
    query.stands_still(20)?;
    clock.moved("+1d")?;
    // The agent has looked at its cuts since: another one, that is over soon, is restored.
    said(&agent, &["cutoff", "zone", "dmz", "--for", "3s", "--reason", "worm"])?;
    tool::until("the other cut to end", SOON, || {
        let (_, listed) = asked(&agent, &["status"])?;
        Ok(listed["cutoffs"].as_array().filter(|cuts| cuts.len() == 1).map(drop))
    })?;
    query.stands_still(20)?;
    let (_, listed) = asked(&agent, &["status"])?;
    let rest = left(&clock, &listed)?;
    assert!((7_000..=7_200).contains(&rest), "{rest} s left: {listed}");
    agent.kill9()?;
    agent.restart()?;
    query.stands_still(20)?;
    restore(&agent, &["host", "pc-017"])?;
    tool::until("pc-017 to be restored", SOON, || Ok(query.flows(20).ok()))
}
