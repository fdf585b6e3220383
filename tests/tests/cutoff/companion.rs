//! Without the agent: `sekimori-cut`, and `sekimori cutoff` by itself.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use sekimori_tests::harness::{
    agent::{self, Agent},
    tool::{self, Said},
    town::Town,
};
use serde_json::json;

use crate::scene::{A_WHILE, Scene, Traffic, asked, recorded, restore, scene};

const SOON: Duration = Duration::from_secs(10);

fn by_hand(agent: &Agent, town: &Town, words: &[&str]) -> Result<Said> {
    let program = agent::program()?.with_file_name("sekimori-cut");
    let mut command = town.gateway.command(program.to_str().context("a path of ours")?);
    command.arg("--bpffs").arg(agent.pins_path()).arg("--state").arg(agent.state_path()).args(words);
    tool::run(&mut command, SOON)
}

#[test]
fn the_companion_cuts_with_the_agent_dead_and_the_agent_takes_it_over() -> Result<()> {
    let Scene { mut agent, town, _policies } = scene()?;
    let traffic = Traffic::start(&town)?;
    traffic.query.flows(20)?;
    agent.kill9()?;
    let said = by_hand(&agent, &town, &["--reason", "the button", "network", "internet", "host", "192.168.30.31"])?;
    assert!(said.ok() && said.out.contains("tables directly"), "{said:?}");
    traffic.query.stands_still(20)?;
    traffic.own.stands_still(20)?;
    traffic.lgwan.stands_still(20)?;
    agent.restart()?;
    traffic.query.stands_still(20)?;
    let (_, status) = asked(&agent, &["status"])?;
    let cuts = status["cutoffs"].to_string();
    assert!(cuts.contains("network internet") && cuts.contains("host 192.168.30.31"), "{cuts}");
    let line = recorded(&agent, &["cutoff"])?.pop().context("no line")?;
    assert_eq!((&line["reason"], &line["actor"]["uid"]), (&json!("the button"), &json!(0)), "{line}");
    assert!(!agent.state_path().join("cut-by-hand.jsonl").exists());
    restore(&agent, &["network", "internet", "host", "192.168.30.31"])?;
    traffic.query.flows(20)?;
    traffic.lgwan.flows(20)?;
    Ok(())
}

/// A button has no terminal.
#[test]
fn the_companion_needs_nobody_who_listens() -> Result<()> {
    let Scene { mut agent, town, _policies } = scene()?;
    let traffic = Traffic::start(&town)?;
    traffic.query.flows(20)?;
    agent.kill9()?;
    let program = agent::program()?.with_file_name("sekimori-cut");
    let mut shell = town.gateway.command("sh");
    let line = "\"$0\" --bpffs \"$1\" --state \"$2\" --reason button network internet >/dev/full 2>/dev/full";
    let silent = tool::run(shell.args(["-c", line]).arg(program).arg(agent.pins_path()).arg(agent.state_path()), SOON)?;
    assert_eq!(silent.code, Some(0), "{silent:?}");
    traffic.query.stands_still(20)?;
    assert!(agent.state_path().join("cut-by-hand.jsonl").exists());
    Ok(())
}

#[test]
fn the_companion_cuts_beside_a_running_agent_which_lifts_nothing_of_it() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    let traffic = Traffic::start(&town)?;
    traffic.query.flows(20)?;
    asked(&agent, &["cutoff", "network", "lgwan", "--reason", "worm"])?;
    let began = Instant::now();
    let said = by_hand(&agent, &town, &["--reason", "the button", "network", "internet"])?;
    assert!(said.ok(), "{said:?}");
    // Every write of the agent goes over the tables: it must find what it did not write itself.
    restore(&agent, &["network", "lgwan"])?;
    traffic.query.stands_still(20)?;
    traffic.lgwan.flows(20)?;
    tool::until("the agent to take it over", SOON, || {
        let (_, status) = asked(&agent, &["status"])?;
        Ok(status["cutoffs"].to_string().contains("network internet").then_some(()))
    })?;
    println!("taken over {:?} after the button", began.elapsed());
    assert!(asked(&agent, &["cutoff", "verify"])?.0 == Some(0));
    // What it cannot understand it does not half do.
    for bad in
        [&["--reason", "x", "network", "intranet"][..], &["--reason", "x", "host", "pc-017"], &["network", "lgwan"]]
    {
        let said = by_hand(&agent, &town, bad)?;
        assert_eq!(said.code, Some(2), "{bad:?}: {said:?}");
        assert!(said.err.contains("NOTHING WAS CUT OFF") || said.err.contains("NOT cut off"), "{bad:?}: {said:?}");
    }
    let help = tool::run(Command::new(agent::program()?.with_file_name("sekimori-cut")).arg("--help"), SOON)?;
    assert!(help.ok() && help.out.starts_with("usage:"), "{help:?}");
    traffic.lgwan.flows(20)?;
    restore(&agent, &["network", "internet"])?;
    traffic.query.flows(20)?;
    Ok(())
}

#[test]
fn the_command_line_cuts_by_itself_while_no_agent_runs() -> Result<()> {
    let Scene { mut agent, town, _policies } = scene()?;
    let traffic = Traffic::start(&town)?;
    traffic.query.flows(20)?;
    agent.kill9()?;
    let (code, done) = asked(&agent, &["cutoff", "network", "internet", "--reason", "worm"])?;
    assert_eq!((code, &done["objects"][0]["done"]), (Some(0), &json!("cut")), "{done}");
    assert!(done["notes"].to_string().contains("no agent runs"), "{done}");
    assert_eq!(done["proof"]["proven"], json!(true), "{done}");
    traffic.query.stands_still(20)?;
    agent.restart()?;
    traffic.query.stands_still(20)?;
    let line = recorded(&agent, &["cutoff"])?.pop().context("no line")?;
    assert_eq!((&line["reason"], &line["from"]), (&json!("worm"), &json!("cli")), "{line}");
    restore(&agent, &["network", "internet"])?;
    traffic.query.flows(20)?;
    Ok(())
}

/// The button, then the power: the tables are gone, and the note is not.
#[test]
fn a_cut_by_hand_outlives_a_reboot_before_any_agent_saw_it() -> Result<()> {
    let Scene { mut agent, town, _policies } = scene()?;
    let traffic = Traffic::start(&town)?;
    traffic.query.flows(20)?;
    agent.kill9()?;
    let said = by_hand(&agent, &town, &["--reason", "the button", "network", "internet"])?;
    assert!(said.ok(), "{said:?}");
    std::fs::remove_dir_all(agent.pins_path())?;
    tool::must(town.gateway.command("nft").args(["flush", "ruleset"]), SOON)?;
    town.translate()?;
    agent.spawn()?;
    agent.wait_until_enforcing()?;
    traffic.query.stands_still(50)?;
    let line = recorded(&agent, &["cutoff"])?.pop().context("no line")?;
    assert_eq!((&line["reason"], &line["objects"]), (&json!("the button"), &json!(["network internet"])), "{line}");
    agent.restart()?;
    traffic.query.stands_still(20)?;
    assert_eq!(recorded(&agent, &["cutoff"])?.len(), 1, "taken once");
    restore(&agent, &["network", "internet"])?;
    traffic.query.flows(20)?;
    Ok(())
}

/// A hanging agent takes the request and says nothing, and packets pass meanwhile.
#[test]
fn the_command_line_cuts_past_an_agent_that_hangs() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    let traffic = Traffic::start(&town)?;
    traffic.query.flows(20)?;
    agent.signal(Signal::SIGSTOP)?;
    let said = agent.cli(["cutoff", "network", "internet", "--reason", "worm"])?;
    assert!(said.code == Some(1) && said.err.contains("cut off, by writing the tables past the agent"), "{said:?}");
    traffic.query.stands_still(20)?;
    let named = agent.cli(["cutoff", "host", "pc-017", "--reason", "worm"])?;
    assert!(named.code == Some(2) && named.err.contains("NOTHING WAS CUT OFF"), "{named:?}");
    agent.signal(Signal::SIGCONT)?;
    tool::until("the agent to prove it", SOON, || Ok(agent.cli(["cutoff", "verify"])?.ok().then_some(())))?;
    restore(&agent, &["network", "internet"])?;
    Ok(())
}

/// Somebody cut it for good, or the management path too; a second cut without the agent takes nothing of that away.
#[test]
fn a_second_cut_without_the_agent_narrows_nothing() -> Result<()> {
    let Scene { mut agent, town, _policies } = scene()?;
    let traffic = Traffic::start(&town)?;
    traffic.ssh.flows(10_000)?;
    for object in [&["network", "lgwan"][..], &["all", "--including-management"]] {
        crate::scene::cut(&agent, object)?;
    }
    agent.kill9()?;
    for object in [&["network", "lgwan", "--for", "1s"][..], &["all"]] {
        let (code, done) = asked(&agent, &[&["cutoff"], object, &["--reason", "again"]].concat())?;
        assert_eq!((code, &done["objects"][0]["done"]), (Some(0), &json!("cut_again")), "{done}");
        traffic.ssh.stands_still(A_WHILE)?;
    }
    agent.restart()?;
    let listed = agent.cli(["cutoff", "list", "--format", "json"])?.out;
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(!listed.contains("until"), "{listed}");
    traffic.ssh.stands_still(A_WHILE)?;
    Ok(())
}

/// The disk takes everything and answers nothing. What cuts has cut before it asks the disk, says so, and ends.
#[test]
fn a_disk_that_hangs_silences_nobody_who_cuts() -> Result<()> {
    let Scene { mut agent, town, _policies } = scene()?;
    let traffic = Traffic::start(&town)?;
    traffic.query.flows(20)?;
    // Whoever opens a pipe that nobody reads waits, as for a disk that is gone.
    let state = agent.state_path();
    let hang = |name: &str| -> Result<()> {
        let path = state.join(name);
        let _ = std::fs::remove_file(&path);
        Ok(nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU)?)
    };
    hang("cut-by-hand.jsonl")?;
    agent.signal(Signal::SIGSTOP)?;
    let said = by_hand(&agent, &town, &["--reason", "the button", "network", "internet"])?;
    assert!(said.code == Some(1) && said.out.contains("cut off") && said.err.contains("not answered"), "{said:?}");
    traffic.query.stands_still(20)?;
    let said = agent.cli(["cutoff", "network", "lgwan", "--reason", "worm"])?;
    assert!(said.code == Some(1) && said.err.contains("cut off, by writing the tables past the agent"), "{said:?}");
    assert!(said.err.contains("not answered"), "{said:?}");
    traffic.lgwan.stands_still(20)?;
    agent.kill9()?;
    hang("records.jsonl")?;
    let program = agent::program()?;
    let mut command = town.gateway.command("timeout");
    command.args(["8"]).arg(program).arg("--config").arg(agent.config_path());
    let said = tool::run(command.args(["cutoff", "zone", "dmz", "--reason", "worm"]), SOON)?;
    assert!(said.code == Some(124) && said.err.contains("CUT OFF: it is in the tables"), "{said:?}");
    traffic.upload.stands_still(A_WHILE)?;
    Ok(())
}

/// Of several, a hanging agent keeps only what nobody but it can tell.
#[test]
fn past_an_agent_that_hangs_what_can_be_cut_is_cut() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    let traffic = Traffic::start(&town)?;
    traffic.query.flows(20)?;
    agent.signal(Signal::SIGSTOP)?;
    let said = agent.cli(["cutoff", "host", "pc-017", "network", "internet", "--reason", "worm"])?;
    assert!(said.code == Some(2) && said.err.contains("NOT cut off: host pc-017"), "{said:?}");
    traffic.query.stands_still(20)?;
    agent.signal(Signal::SIGCONT)?;
    tool::until("the agent to prove it", SOON, || Ok(agent.cli(["cutoff", "verify"])?.ok().then_some(())))?;
    Ok(())
}

/// A user who may not, and one who is not root while no agent runs: neither takes the message for a success.
#[test]
fn without_agent_and_root_nothing_is_cut_and_that_is_said() -> Result<()> {
    let Scene { mut agent, town, _policies } = scene()?;
    let traffic = Traffic::start(&town)?;
    let folders = [agent.config_path(), agent.socket_path()];
    for folder in folders.iter().filter_map(|path| path.parent()) {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
    }
    let as_nobody = |agent: &Agent| -> Result<Said> {
        let mut command = town.gateway.command("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(agent::program()?);
        command.arg("--config").arg(agent.config_path()).arg("--socket").arg(agent.socket_path());
        tool::run(command.args(["cutoff", "network", "internet", "--reason", "worm"]), SOON)
    };
    let said = as_nobody(&agent)?;
    assert!(!said.ok() && said.err.contains("NOTHING WAS CUT OFF"), "{said:?}");
    agent.stop()?;
    let said = as_nobody(&agent)?;
    assert!(!said.ok() && said.err.contains("NOTHING WAS CUT OFF"), "{said:?}");
    traffic.query.flows(20)?;
    Ok(())
}
