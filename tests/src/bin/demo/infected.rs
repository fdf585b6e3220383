//! A terminal inside turns on others: it is stopped at the gate, and there is an incident that says what it did.

use anyhow::{Result, bail};
use sekimori_ebpf::reason::Reason;
use sekimori_tests::harness::{
    tool,
    townhall::{ADMIN_PC, PC_017},
};
use serde_json::Value;

use crate::{
    evidence::{
        Counters,
        Expected::{Dropped, Permitted},
    },
    stage::{PATIENCE, Stage},
    steps::{Client, soon},
    tell::{Teller, text},
};

/// Eighty web servers that nobody at this desk ever asked for. The policy permits the web.
const SCAN: &str = "nmap -Pn -n -sS -p 443 --max-retries 0 -T4 198.51.100.100-180";
/// First contacts that may leave before a scan is stopped: ten, and two for what was answered before.
const MOST: u64 = 12;

/// A scan by what the policy permits, its incident, and who is not troubled.
pub(crate) fn scans(teller: &Teller, stage: &Stage) -> Result<()> {
    teller.chapter(&text("A terminal turns malicious", "庁内端末が攻撃を始める"));
    teller.step(&text(
        "Malware at a desk looks for web servers outside; the policy permits the web, and yet a dozen is the end of it",
        "端末の不正プログラムが外部のWebサーバーを探索。Webは許可されているが、12件までで止まる",
    ));
    let pc = Client::of(stage, &PC_017)?;
    teller.tried(pc.name, SCAN);
    let before = Counters::read(&stage.agent)?;
    tool::must(&mut pc.command(SCAN), PATIENCE)?;
    let counted = Counters::read(&stage.agent)?.since(&before);
    let left = counted.opened();
    teller.happened(&text(format!("{left} of 81 addresses were tried"), format!("81件のうち {left} 件に接続を試みた")));
    if !(1..=MOST).contains(&left) {
        bail!("{left} first contacts left, not 1 to {MOST}: {counted:?}");
    }
    teller.decided(&counted.verdict(Dropped(Reason::Held))?);

    teller.step(&text("There is an incident, with the packets as evidence", "インシデントと、証拠のパケット"));
    let mut id = String::new();
    soon("an incident of the scan", || {
        let said = stage.agent.cli(["incidents", "list", "--format", "json"])?;
        let incidents = said.out.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
        let scan = incidents.iter().find(|incident| incident["detector"] == "horizontal_scan");
        Ok(scan.map(|scan| id = scan["id"].to_string()))
    })?;
    for command in [&["incidents", "list"][..], &["incidents", "show", &id]] {
        teller.tried("gateway", &format!("sekimori {}", command.join(" ")));
        let said = stage.sekimori(teller, command)?;
        teller.quote(&said.out);
        if !said.ok() || !said.out.contains("horizontal_scan") {
            bail!("the incident is not shown: {said:?}");
        }
    }

    teller.step(&text(
        "Its neighbour works on, and so does what the terminal used before",
        "ほかの端末にも、この端末が以前から使っていた相手にも影響なし",
    ));
    Client::of(stage, &ADMIN_PC)?.does(teller, "curl -sS -m 2 http://198.51.100.5/", Permitted)?;
    pc.does(teller, "curl -sS -m 2 http://198.51.100.5/", Permitted)
}
