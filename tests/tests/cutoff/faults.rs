//! When the disk refuses: the cut takes effect, and everybody hears what is wrong.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use sekimori_tests::harness::{
    agent,
    stream::Stream,
    tool,
    townhall::{DNS_V4, INTERNET_ROUTER, PC_017},
};
use serde_json::json;

use crate::scene::{OFTEN, Scene, asked, scene_with};

const SOON: Duration = Duration::from_secs(10);

/// A file system of its own for the state folder; gone with this.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    fn new(size: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("sk-disk-").tempdir()?;
        let mut mount = Command::new("mount");
        let options = format!("size={size},mode=0700");
        tool::must(mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()), SOON)?;
        Ok(Self { folder })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().to_path_buf()
    }

    /// Nothing is written any more. The kernel refuses to say so of the file system itself while files are open for writing.
    fn read_only(&self) -> Result<()> {
        let mut bind = Command::new("mount");
        tool::must(bind.arg("--bind").arg(self.folder.path()).arg(self.folder.path()), SOON)?;
        let mut mount = Command::new("mount");
        tool::must(mount.args(["-o", "remount,bind,ro"]).arg(self.folder.path()), SOON).map(drop)
    }

    /// After [`Self::read_only`].
    fn writable(&self) {
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }

    /// Nothing more goes on it.
    fn fill(&self) -> Result<()> {
        let file = self.folder.path().join("ballast");
        let mut bytes = vec![0u8; 1 << 20];
        while !bytes.is_empty() {
            let mut written = fs::read(&file).unwrap_or_default();
            written.extend(&bytes);
            if fs::write(&file, written).is_err() {
                bytes.truncate(bytes.len() / 2);
            }
        }
        ensure!(fs::write(self.folder.path().join("more"), [0u8; 4096]).is_err(), "the disk is not full");
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a killed agent may still have files open.
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}

fn lines(state: &Path) -> Result<usize> {
    Ok(fs::read_to_string(state.join("records.jsonl"))?.lines().count())
}

#[test]
fn with_the_disk_full_the_cut_takes_effect_says_so_and_outlives_the_agent() -> Result<()> {
    let disk = Disk::new("3m")?;
    let Scene { mut agent, town, _policies } = scene_with(vec![("state", json!(disk.path()))])?;
    let query = Stream::to_server(town.host(&PC_017)?, None, town.host(&INTERNET_ROUTER)?, (DNS_V4, 53), OFTEN)?;
    query.flows(20)?;
    let before = lines(&disk.path())?;
    disk.fill()?;
    let (code, done) = asked(&agent, &["cutoff", "network", "internet", "--reason", "worm"])?;
    query.stands_still(20)?;
    assert_eq!(code, Some(1), "{done}");
    assert_eq!(done["objects"][0]["in_force"], json!(true), "{done}");
    let said = done["error"]["message"].as_str().context("no error")?;
    assert!(said.contains("cutoff.json") && said.contains("No space"), "{said}");
    // A restoration can wait for the record; it is refused, and changes nothing.
    let refused = agent.cli(["restore", "network", "internet", "--reason", "clean"])?;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    query.stands_still(20)?;
    let (_, status) = asked(&agent, &["status"])?;
    assert!(status["faults"].as_array().is_some_and(|faults| !faults.is_empty()), "{status}");
    // Not even the death of the agent lifts what is on no disk.
    agent.kill9()?;
    fs::remove_file(disk.path().join("ballast"))?;
    agent.spawn()?;
    agent.wait_until_enforcing()?;
    query.stands_still(20)?;
    let restored = agent.cli(["restore", "network", "internet", "--reason", "clean"])?;
    assert!(restored.ok(), "{restored:?}");
    query.flows(20)?;
    assert!(lines(&disk.path())? > before);
    let (code, verified) = asked(&agent, &["records", "verify"])?;
    assert_eq!(code, Some(0), "{verified}");
    Ok(())
}

#[test]
fn what_could_not_be_recorded_is_named_by_the_next_line_that_can() -> Result<()> {
    let disk = Disk::new("3m")?;
    let Scene { agent, town, _policies } = scene_with(vec![("state", json!(disk.path()))])?;
    disk.fill()?;
    // The last page of the file may have room for a few lines more.
    let mut lost = false;
    for _ in 0..20 {
        let (code, done) = asked(&agent, &["cutoff", "host", "pc-017", "--reason", "worm"])?;
        assert_eq!(code, Some(1), "{done}");
        lost = done["error"]["message"].as_str().is_some_and(|said| said.contains("NOT recorded"));
        if lost {
            break;
        }
    }
    assert!(lost, "the record always had room");
    let before = lines(&disk.path())?;
    fs::remove_file(disk.path().join("ballast"))?;
    let again = agent.cli(["cutoff", "host", "pc-017", "--reason", "worm, recorded"])?;
    assert!(again.ok(), "{again:?}");
    let text = fs::read_to_string(disk.path().join("records.jsonl"))?;
    let told = text
        .lines()
        .skip(before)
        .find(|line| line.contains("\"unrecorded\""))
        .context("nothing is said of the lost lines")?;
    assert!(told.contains("host pc-017"), "{told}");
    let (code, verified) = asked(&agent, &["records", "verify"])?;
    assert_eq!((code, &verified["whole"]), (Some(0), &json!(true)), "{verified}");
    drop(town);
    Ok(())
}

#[test]
fn with_the_state_folder_read_only_the_cut_takes_effect_and_says_what_is_wrong() -> Result<()> {
    let disk = Disk::new("8m")?;
    let Scene { agent, town, _policies } = scene_with(vec![("state", json!(disk.path()))])?;
    let query = Stream::to_server(town.host(&PC_017)?, None, town.host(&INTERNET_ROUTER)?, (DNS_V4, 53), OFTEN)?;
    query.flows(20)?;
    disk.read_only()?;
    let (code, done) = asked(&agent, &["cutoff", "network", "internet", "--reason", "worm"])?;
    query.stands_still(20)?;
    assert_eq!(code, Some(1), "{done}");
    let said = done["error"]["message"].as_str().context("no error")?;
    assert!(said.contains("Read-only"), "{said}");
    disk.writable();
    Ok(())
}

/// A cut by hand that left no note: the tables alone tell the agent, and it tells everybody else.
#[test]
fn a_cut_without_a_note_is_seen_by_a_running_agent() -> Result<()> {
    let disk = Disk::new("8m")?;
    let Scene { agent, town, _policies } = scene_with(vec![("state", json!(disk.path()))])?;
    disk.read_only()?;
    let program = agent::program()?.with_file_name("sekimori-cut");
    let mut command = town.gateway.command(program.to_str().context("a path of ours")?);
    command.arg("--bpffs").arg(agent.pins_path()).arg("--state").arg(disk.path());
    let said = tool::run(command.args(["--reason", "worm", "network", "internet"]), SOON)?;
    ensure!(said.code == Some(1), "{said:?}");
    tool::until("the agent to list it", SOON, || {
        Ok(agent.cli(["cutoff", "list"])?.out.contains("network internet").then_some(()))
    })?;
    disk.writable();
    let restored = agent.cli(["restore", "network", "internet", "--reason", "clean"])?;
    ensure!(restored.ok(), "{restored:?}");
    Ok(())
}

/// The disk went read-only and the agent died: whoever is frightened names a device, and it is cut; the agent comes back and guards.
#[test]
fn with_the_state_folder_read_only_and_no_agent_a_device_is_cut() -> Result<()> {
    let disk = Disk::new("8m")?;
    let Scene { mut agent, town, _policies } = scene_with(vec![("state", json!(disk.path()))])?;
    let query = Stream::to_server(town.host(&PC_017)?, None, town.host(&INTERNET_ROUTER)?, (DNS_V4, 53), OFTEN)?;
    query.flows(20)?;
    agent.kill9()?;
    disk.read_only()?;
    let said = agent.cli(["cutoff", "host", "pc-017", "--reason", "worm"])?;
    query.stands_still(20)?;
    ensure!(said.code == Some(1) && said.err.contains("Read-only"), "{said:?}");
    let listed = agent.cli(["cutoff", "list"])?;
    ensure!(listed.out.contains(&PC_017.v4.to_string()), "{listed:?}");
    agent.spawn()?;
    let up = tool::until("the agent to guard", SOON, || {
        let (code, status) = asked(&agent, &["status"])?;
        ensure!(status["agent_running"] == true && status["enforcing"] == true, "{code:?} {status}");
        Ok(Some(()))
    });
    up.with_context(|| agent.log())?;
    query.stands_still(20)?;
    disk.writable();
    Ok(())
}

/// A note that somebody took away is no note that nothing was cut.
#[test]
fn after_a_reboot_without_the_note_everything_is_cut_and_said_to_be() -> Result<()> {
    let Scene { mut agent, town, _policies } = scene_with(Vec::new())?;
    let query = Stream::to_server(town.host(&PC_017)?, None, town.host(&INTERNET_ROUTER)?, (DNS_V4, 53), OFTEN)?;
    query.flows(20)?;
    agent.stop()?;
    fs::remove_dir_all(agent.pins_path())?;
    fs::remove_file(agent.state_path().join("cutoff.json"))?;
    agent.spawn()?;
    agent.wait_until_enforcing()?;
    query.stands_still(20)?;
    let (_, status) = asked(&agent, &["status"])?;
    assert!(status["faults"].to_string().contains("cutoff.json"), "{status}");
    let restored = agent.cli(["restore", "all", "--reason", "nothing was cut"])?;
    assert!(restored.ok(), "{restored:?}");
    query.flows(20)?;
    agent.restart()?;
    query.flows(20)?;
    let (_, status) = asked(&agent, &["status"])?;
    assert_eq!(status["faults"], json!([]), "{status}");
    Ok(())
}

/// Nobody can read the answer; the cut is a cut, and no code says that nothing was done.
#[test]
fn a_cut_whose_answer_cannot_be_written_is_one() -> Result<()> {
    let Scene { agent, town, _policies } = scene_with(Vec::new())?;
    let query = Stream::to_server(town.host(&PC_017)?, None, town.host(&INTERNET_ROUTER)?, (DNS_V4, 53), OFTEN)?;
    for redirect in [">/dev/full", ">/dev/full 2>/dev/full", ">&- 2>&-", "2>&1 | :"] {
        query.flows(20)?;
        let line = format!("{{ \"$0\" cutoff network internet --reason worm; echo $? >&9; }} 9>\"$1\" {redirect}");
        let code = agent.state_path().join("code");
        let mut shell = town.gateway.command("sh");
        shell.args(["-c", &line]).arg(agent::program()?).arg(&code).env("SEKIMORI_CONFIG", agent.config_path());
        tool::run(&mut shell, SOON)?;
        query.stands_still(20)?;
        let code = fs::read_to_string(code)?;
        assert!(matches!(code.trim(), "0" | "1"), "{redirect}: {code}");
        let restored = agent.cli(["restore", "network", "internet", "--reason", "clean"])?;
        assert!(restored.ok(), "{restored:?}");
    }
    Ok(())
}
