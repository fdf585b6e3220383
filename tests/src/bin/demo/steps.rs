//! The steps, in order. Each says what was tried, what came of it, and which rule or reason decided, as counted in
//! the kernel while it happened.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use sekimori_ebpf::reason::Reason;
use sekimori_tests::harness::{
    link,
    netns::Ns,
    tool::{self, Said},
    town::HOST_INTERFACE,
    townhall::{ADMIN_PC, Host, INTERNET_ROUTER, LGWAN_PC, PC_017, STRANGER, VENDOR_ROUTER},
};

use crate::{
    emergency,
    evidence::{
        Counters,
        Expected::{self, Dropped, Permitted},
    },
    infected,
    stage::{PATIENCE, Stage},
    tell::{Teller, Text, text},
};

/// All of them.
pub(crate) fn all(teller: &Teller, stage: &mut Stage) -> Result<()> {
    let start = Instant::now();
    let beginning = Counters::read(&stage.agent)?;
    gate(teller, stage)?;
    outwards(teller, stage)?;
    strangers(teller, stage)?;
    inwards(teller, stage)?;
    separated(teller, stage)?;
    emergency::policy_changes(teller, stage)?;
    emergency::cut_off(teller, stage)?;
    emergency::agent_killed(teller, stage)?;
    infected::scans(teller, stage)?;

    teller.chapter(&text("What was counted", "計数のまとめ"));
    let counted = Counters::read(&stage.agent)?.since(&beginning);
    teller.quote(&counted.table(teller.language() == "ja"));
    teller.remark(&text(
        format!("{} s; every verdict above was read from the kernel's counters.", start.elapsed().as_secs()),
        format!("{} 秒。上の判定はすべてカーネルの計数で確かめたものです。", start.elapsed().as_secs()),
    ));
    Ok(())
}

fn gate(teller: &Teller, stage: &Stage) -> Result<()> {
    teller.step(&text("The gate is up: whatever no rule permits is dropped", "関所を開設: 規則にない通信はすべて破棄"));
    teller.tried("gateway", "sekimori status");
    let said = stage.sekimori(teller, &["status"])?;
    teller.quote(&said.out);
    if !said.ok() {
        bail!("the gate does not enforce ({:?}): {}", said.code, said.err);
    }
    Ok(())
}

fn outwards(teller: &Teller, stage: &Stage) -> Result<()> {
    teller.chapter(&text("From the desks outwards", "庁内から外へ"));
    let pc = Client::of(stage, &PC_017)?;
    pc.tries(
        teller,
        &text(
            "A registered terminal reads the web; outside, only the gateway's address is seen",
            "登録端末からWeb閲覧(外からは関所のアドレスだけが見える)",
        ),
        "curl -sS -m 2 http://198.51.100.5/me",
        Permitted,
    )?;
    pc.tries(
        teller,
        &text("The same over IPv6", "IPv6でも同じ規則"),
        "curl -sS -m 2 http://[2001:db8:c0::5]/",
        Permitted,
    )?;
    pc.tries(
        teller,
        &text("It asks for a name", "名前解決"),
        "dig +short +time=2 +tries=1 @198.51.100.53 www.example.jp",
        Permitted,
    )?;
    let gateway = Client { stage, name: "gateway", ns: &stage.town.gateway };
    gateway.tries(
        teller,
        &text("The gateway itself may ask too, by a rule of its own", "関所自身の名前解決も専用の規則による"),
        "dig +short +time=2 +tries=1 @198.51.100.53 ntp.example.jp",
        Permitted,
    )?;
    let admin = Client::of(stage, &ADMIN_PC)?;
    admin.tries(
        teller,
        &text("The administrator's terminal may ping, to find faults", "管理者の端末は疎通確認(ping)ができる"),
        "ping -q -c 1 -W 1 198.51.100.5",
        Permitted,
    )?;
    pc.tries(
        teller,
        &text("Another terminal may not", "ほかの端末からはできない"),
        "ping -q -c 1 -W 1 198.51.100.5",
        Dropped(Reason::NoRule),
    )?;
    pc.tries(
        teller,
        &text("A port nobody permitted", "許可されていないポート"),
        "curl -sS -m 1 telnet://198.51.100.5:22",
        Dropped(Reason::NoRule),
    )
}

fn strangers(teller: &Teller, stage: &Stage) -> Result<()> {
    teller.chapter(&text("Somebody plugs in", "見知らぬ端末"));
    let stranger = Client::of(stage, &STRANGER)?;
    stranger.tries(
        teller,
        &text("A terminal that was never registered: not even its ARP is answered", "未登録端末はARPにも答えない"),
        "curl -sS -m 1 http://198.51.100.5/",
        Dropped(Reason::UnknownDevice),
    )?;
    // It would go on asking for the gateway with its old address, which is another reason.
    link::forget_neighbours(stranger.ns, HOST_INTERFACE)?;
    link::address(stranger.ns, HOST_INTERFACE, PC_017.v4, 32)?;
    let result = stranger.tries(
        teller,
        &text("It takes a registered terminal's address, with its own MAC", "登録端末のIPアドレスを騙る(MACは別)"),
        "curl -sS -m 1 --interface 192.168.10.17 http://198.51.100.5/",
        Dropped(Reason::MacMismatch),
    );
    link::remove_address(stranger.ns, HOST_INTERFACE, PC_017.v4, 32)?;
    result
}

fn inwards(teller: &Teller, stage: &Stage) -> Result<()> {
    teller.chapter(&text("From the Internet inwards", "インターネットから中へ"));
    let attacker = Client { stage, name: "attacker", ns: stage.town.host(&INTERNET_ROUTER)? };
    attacker.tries(
        teller,
        &text("The published web server answers", "公開Webサーバーは見える"),
        "curl -sS -m 2 --interface 198.51.100.66 http://203.0.113.10/",
        Permitted,
    )?;
    attacker.tries(
        teller,
        &text("The attacker pings the gateway", "攻撃者から関所へのping"),
        "ping -q -c 1 -W 1 -I 198.51.100.66 203.0.113.2",
        Dropped(Reason::NoRule),
    )?;
    attacker.scans(teller)?;
    attacker.tries(
        teller,
        &text("Logging in to the gateway from outside", "外部から関所へのログイン"),
        "curl -sS -m 1 --interface 198.51.100.66 telnet://203.0.113.2:22",
        Dropped(Reason::NoRule),
    )?;
    let admin = Client::of(stage, &ADMIN_PC)?;
    admin.tries(
        teller,
        &text("The administrator may, from a registered terminal", "管理者は登録端末から可能"),
        "curl -sS -m 1 telnet://192.168.10.1:22",
        Permitted,
    )
}

fn separated(teller: &Teller, stage: &Stage) -> Result<()> {
    teller.chapter(&text("LGWAN and the vendor's line", "LGWANと保守回線"));
    let lgwan_pc = Client::of(stage, &LGWAN_PC)?;
    lgwan_pc.tries(
        teller,
        &text("The LGWAN terminal uses its application", "LGWAN接続系端末からASPを利用"),
        "curl -sS -m 2 http://10.80.1.10:443/",
        Permitted,
    )?;
    lgwan_pc.tries(
        teller,
        &text("The same terminal tries the Internet", "同じ端末からインターネットへ"),
        "curl -sS -m 1 http://198.51.100.5/",
        Dropped(Reason::NoRule),
    )?;
    Client::of(stage, &PC_017)?.tries(
        teller,
        &text("An office terminal tries LGWAN", "インターネット接続系端末からLGWANへ"),
        "curl -sS -m 1 http://10.80.1.10:443/",
        Dropped(Reason::NoRule),
    )?;
    let vendor = Client { stage, name: "vendor", ns: stage.town.host(&VENDOR_ROUTER)? };
    let ssh = "curl -sS -m 1 --interface 10.77.0.20 telnet://192.168.30.10:22";
    // Maintenance has hours; what to expect depends on when this is played.
    let (_, answer) = stage.agent.json(["explain", "--in", "vnd0", "tcp 10.77.0.20:40000 > 192.168.30.10:22"])?;
    let expected = match answer["reason"].as_str().and_then(Reason::from_code) {
        Some(Reason::Rule) => Permitted,
        Some(reason) => Dropped(reason),
        None => bail!("explain gave no reason: {answer}"),
    };
    vendor.tries(
        teller,
        &text(
            "The vendor connects to the business server; the agreed hours decide",
            "保守業者は契約時間内だけ業務サーバーへ",
        ),
        ssh,
        expected,
    )?;
    vendor.tries(
        teller,
        &text("The vendor looks further", "保守業者がほかの端末へ"),
        "curl -sS -m 1 --interface 10.77.0.20 telnet://192.168.20.10:22",
        Dropped(Reason::NoRule),
    )
}

/// Somebody at a machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) name: &'static str,
    pub(crate) ns: &'a Ns,
}

impl<'a> Client<'a> {
    pub(crate) fn of(stage: &'a Stage, host: &Host) -> Result<Self> {
        Ok(Self { stage, name: host.name, ns: stage.town.host(host)? })
    }

    /// A step with one command that must succeed if it is permitted and fail if it is not.
    pub(crate) fn tries(&self, teller: &Teller, title: &Text, command: &str, expected: Expected) -> Result<()> {
        teller.step(title);
        self.does(teller, command, expected).with_context(|| format!("step: {}", teller.pick(title)))
    }

    /// The same without a heading.
    pub(crate) fn does(&self, teller: &Teller, command: &str, expected: Expected) -> Result<()> {
        teller.tried(self.name, command);
        let before = Counters::read(&self.stage.agent)?;
        let said = tool::run(&mut self.command(command), PATIENCE)?;
        let result = outcome(&said);
        teller.happened(&text(result.clone(), result));
        let counted = Counters::read(&self.stage.agent)?.since(&before);
        teller.decided(&counted.verdict(expected)?);
        // curl fetches a banner until its patience ends, and calls that a timeout: what counts is what it got.
        // ping writes its statistics either way, and tells by its exit code.
        let answered = said.ok() || (!said.out.trim().is_empty() && ping_line(&said.out).is_none());
        match (expected, answered) {
            (Permitted, true) | (Dropped(_), false) => Ok(()),
            (Permitted, false) => bail!("permitted, and yet no answer: {said:?}"),
            (Dropped(_), true) => bail!("dropped, and yet answered: {said:?}"),
        }
    }

    /// nmap against the public address.
    fn scans(&self, teller: &Teller) -> Result<()> {
        teller.step(&text("The attacker scans the public address", "攻撃者によるポートスキャン"));
        let command =
            "nmap -Pn -n -sS -S 198.51.100.66 -e eth0 --max-retries 0 -p 21-23,80,443,445,3389,8443 203.0.113.10";
        teller.tried(self.name, command);
        let before = Counters::read(&self.stage.agent)?;
        let said = tool::must(&mut self.command(command), PATIENCE)?;
        let states: Vec<_> = said.out.lines().filter(|line| line.contains("/tcp ")).collect();
        teller.quote(&states.join("\n"));
        let counted = Counters::read(&self.stage.agent)?.since(&before);
        teller.decided(&counted.verdict(Permitted)?);
        teller.decided(&counted.verdict(Dropped(Reason::NoRule))?);
        let wrong = states.iter().find(|line| {
            let published = line.starts_with("80/") || line.starts_with("443/");
            published != line.contains(" open ")
        });
        match wrong {
            Some(line) => {
                bail!("the scan found what it must not, or missed what is published: {line}")
            }
            None if states.len() < 8 => bail!("nmap reported too little: {}", said.out),
            None => Ok(()),
        }
    }

    /// A command line without quoting, as it is shown.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut words = line.split(' ');
        let mut command = self.ns.command(words.next().unwrap_or_default());
        command.args(words);
        // The machine's own proxy is not part of the town.
        for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(name);
        }
        command
    }
}

/// The line of a ping that says how many came back.
fn ping_line(out: &str) -> Option<&str> {
    out.lines().find(|line| line.contains("packets transmitted"))
}

/// One line of what a program said: its answer, else its complaint.
fn outcome(said: &Said) -> String {
    if let Some(line) = ping_line(&said.out) {
        return line.to_owned();
    }
    let line = |text: &str| text.trim().lines().next().map(|line| line.trim_end().to_owned());
    line(&said.out).or_else(|| line(&said.err)).unwrap_or_else(|| format!("exit code {:?}", said.code))
}

/// Polls until `ready`, for things that happen beside the step.
pub(crate) fn soon(what: &str, ready: impl FnMut() -> Result<Option<()>>) -> Result<()> {
    tool::until(what, Duration::from_secs(15), ready)
}
