//! Changes of policy, the emergency switch, and a dead agent: all under live traffic.

use std::{fs, path::PathBuf, process::Child, time::Duration};

use anyhow::{Context as _, Result, bail};
use sekimori_ebpf::reason::Reason;
use sekimori_tests::harness::{
    tool,
    townhall::{LGWAN_PC, PC_017},
};

use crate::{
    evidence::{
        Counters,
        Expected::{Dropped, Permitted},
    },
    machines::DOWNLOAD,
    stage::Stage,
    steps::{Client, soon},
    tell::{Teller, Text, text},
};

const GET_FILE: &str = "curl -sS -m 50 http://198.51.100.5/file";
const GET_TRIAL: &str = "curl -sS -m 1 http://198.51.100.5:8080/";

/// A refused edit, then a good one, during a download.
pub(crate) fn policy_changes(teller: &Teller, stage: &Stage) -> Result<()> {
    teller.chapter(&text("The policy changes", "方針の変更"));
    let pc = Client::of(stage, &PC_017)?;
    let edit = stage.policy.join("zz-trial.yaml");

    teller.step(&text(
        "An edit with a typing error is refused; what runs stays as it was",
        "書き間違いのある変更は拒否され、動作中の方針はそのまま",
    ));
    fs::write(&edit, trial_rule("ofice"))?;
    let revision = revision(stage)?;
    teller.tried("gateway", "sekimori apply policy");
    let said = stage.sekimori(teller, &["apply", path(&stage.policy)?])?;
    teller.quote(&said.out);
    teller.quote(&said.err);
    if said.ok() {
        bail!("a policy with a mistake was applied: {}", said.out);
    }
    if self::revision(stage)? != revision {
        bail!("a refused policy changed the revision in force");
    }

    teller.step(&text("Corrected, it is applied in the middle of a download", "訂正して、ダウンロードの最中に適用"));
    pc.does(teller, GET_TRIAL, Dropped(Reason::NoRule))?;
    fs::write(&edit, trial_rule("office"))?;
    let mut download = Download::start(pc)?;
    download.reaches(DOWNLOAD / 8)?;
    teller.tried("gateway", "sekimori apply policy");
    let said = stage.sekimori(teller, &["apply", path(&stage.policy)?])?;
    teller.quote(&said.out);
    if !said.ok() {
        bail!("the corrected policy was refused: {}{}", said.out, said.err);
    }
    let at_switch = download.size();
    pc.does(teller, GET_TRIAL, Permitted)?;
    download.finishes()?;
    teller.happened(&text(
        format!(
            "the download ran through the switch (at {} KiB) and is complete: {} KiB",
            at_switch / 1024,
            DOWNLOAD / 1024
        ),
        format!("ダウンロードは切替え({} KiB時点)をまたいで完了: {} KiB", at_switch / 1024, DOWNLOAD / 1024),
    ));
    Ok(())
}

/// The Internet is cut off in the middle of a download, and restored.
pub(crate) fn cut_off(teller: &Teller, stage: &Stage) -> Result<()> {
    teller.chapter(&text("Emergency: the Internet turns dangerous", "緊急遮断"));
    let pc = Client::of(stage, &PC_017)?;
    teller.step(&text("Cut off in the middle of a download", "ダウンロードの最中に遮断"));
    let mut download = Download::start(pc)?;
    download.reaches(DOWNLOAD / 4)?;
    switch(teller, stage, "cutoff", &text("malware on a partner site", "取引先サイトからの不正プログラム"))?;
    let at_cut = download.size();
    pc.does(teller, "curl -sS -m 1 http://198.51.100.5/", Dropped(Reason::CutNetwork))?;
    let later = download.size();
    // What the client had received before the cut may reach its file a moment after.
    if later > at_cut + 256 * 1024 {
        bail!("the download went on after the cut: {at_cut} bytes, then {later}");
    }
    teller.happened(&text(
        format!("the download stands still at {} of {} KiB", later / 1024, DOWNLOAD / 1024),
        format!("ダウンロードは {} / {} KiB で停止", later / 1024, DOWNLOAD / 1024),
    ));
    teller.step(&text("LGWAN is not touched", "LGWANには影響なし"));
    Client::of(stage, &LGWAN_PC)?.does(teller, "curl -sS -m 2 http://10.80.1.10:443/", Permitted)?;

    teller.step(&text("Restored", "復旧"));
    switch(teller, stage, "restore", &text("partner site cleaned", "取引先サイトの駆除完了を確認"))?;
    download.finishes()?;
    teller.happened(&text(
        "the same download goes on and is complete".to_owned(),
        "同じダウンロードが再開し、完了".to_owned(),
    ));
    Ok(())
}

/// The agent is killed; what it put into the kernel goes on.
pub(crate) fn agent_killed(teller: &Teller, stage: &mut Stage) -> Result<()> {
    teller.chapter(&text("The agent dies", "エージェントの停止"));
    teller.step(&text(
        "kill -9: the gate stays shut, and open conversations go on",
        "強制終了しても関所は閉じたまま、許可済みの通信は継続",
    ));
    let before = Counters::read(&stage.agent)?;
    let mut download = Download::start(Client::of(stage, &PC_017)?)?;
    download.reaches(DOWNLOAD / 8)?;
    teller.tried("gateway", "kill -9 $(pidof sekimori)");
    stage.agent.kill9()?;
    let denied = "curl -sS -m 1 telnet://198.51.100.5:22";
    let pc = Client::of(stage, &PC_017)?;
    teller.tried(pc.name, denied);
    let said = tool::run(&mut pc.command(denied), Duration::from_secs(5))?;
    if !said.out.is_empty() {
        bail!("with the agent dead, a denied connection was answered: {}", said.out);
    }
    teller.happened(&said_nothing(&said.err));
    stage.agent.restart()?;
    download.finishes()?;
    teller.happened(&text(
        "agent started again; the download never noticed",
        "エージェント再起動。ダウンロードは途切れず完了",
    ));
    let counted = Counters::read(&stage.agent)?.since(&before);
    teller.decided(&counted.verdict(Dropped(Reason::NoRule))?);
    Ok(())
}

fn said_nothing(complaint: &str) -> Text {
    let line = complaint.trim().to_owned();
    text(line.clone(), line)
}

/// `cutoff` or `restore` of the Internet.
fn switch(teller: &Teller, stage: &Stage, verb: &str, reason: &Text) -> Result<()> {
    let reason = teller.pick(reason);
    teller.tried("gateway", &format!("sekimori {verb} network internet --reason '{reason}'"));
    let said = stage.sekimori(teller, &[verb, "network", "internet", "--reason", reason])?;
    teller.quote(&said.out);
    if !said.ok() {
        bail!("{verb}: {:?} {}{}", said.code, said.out, said.err);
    }
    Ok(())
}

fn revision(stage: &Stage) -> Result<serde_json::Value> {
    let (_, status) = stage.agent.json(["status"])?;
    let revision = status["revision"].clone();
    if revision.is_null() {
        bail!("status names no revision: {status}");
    }
    Ok(revision)
}

/// A permission for a trial, from a zone that may be misspelt.
fn trial_rule(from: &str) -> String {
    format!(
        "version: 1
rules:
  - id: trial-portal
    from: {from}
    to: {{network: internet, addresses: [198.51.100.5]}}
    services: [tcp/8080]
    purpose: trial of a booking portal
    owner: 情報管理課
"
    )
}

fn path(path: &std::path::Path) -> Result<&str> {
    path.to_str().context("the temporary folder has a name that is not UTF-8")
}

/// A download that runs beside the steps.
#[derive(Debug)]
struct Download {
    curl: Child,
    file: PathBuf,
}

impl Download {
    fn start(client: Client<'_>) -> Result<Self> {
        let file = client.stage.folder.path().join("download");
        fs::write(&file, b"")?;
        let curl = client
            .command(GET_FILE)
            .arg("-o")
            .arg(&file)
            // Written as it comes, so that the file's size is the progress.
            .arg("--no-buffer")
            .spawn()
            .context("starting curl")?;
        Ok(Self { curl, file })
    }

    fn size(&self) -> usize {
        fs::metadata(&self.file).ok().and_then(|meta| usize::try_from(meta.len()).ok()).unwrap_or(0)
    }

    fn reaches(&mut self, bytes: usize) -> Result<()> {
        soon(&format!("{bytes} bytes of the download"), || Ok((self.size() >= bytes).then_some(())))
    }

    fn finishes(&mut self) -> Result<()> {
        let code = tool::wait(&mut self.curl, Duration::from_secs(30))?;
        if code != Some(0) || self.size() != DOWNLOAD {
            bail!("the download ended with {code:?} after {} of {DOWNLOAD} bytes", self.size());
        }
        Ok(())
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // Already over if the step went well.
        self.curl.kill().ok();
        self.curl.wait().ok();
    }
}
