//! From arguments to what they mean: nothing after this step looks at the command line again.

use std::path::PathBuf;

use super::{
    args::{Cli, Command, Format, GroupCommand, QuarantineCommand, ReleaseCommand},
    capture, cut, flows, incidents, lists, records,
    text::{self, Lang},
    token,
};
use crate::{
    agent::config::{self, Config},
    api::protocol::{Apply, Ask, GroupChange, PlanAsk, Question, TokenAsk},
    cutoff::{Object, dates},
    tokens::Secret,
};

/// What to do, where, and how to answer.
#[derive(Debug)]
pub struct Order {
    /// Language.
    pub lang: Lang,
    /// Text or JSON.
    pub format: Format,
    /// Where the instance is.
    pub place: Place,
    /// What.
    pub work: Work,
}

/// Where the instance is.
#[derive(Debug, Clone)]
pub struct Place {
    /// The configuration's path, named or the usual one.
    pub config: PathBuf,
    /// Control socket, if named.
    pub socket: Option<PathBuf>,
}

impl Place {
    /// The configuration.
    pub fn load(&self) -> Result<Config, config::Error> {
        Config::load(&self.config)
    }
}

/// What to do.
#[derive(Debug)]
pub enum Work {
    /// Run the daemon.
    Agent,
    /// Ask an instance.
    Ask(Ask),
    /// Let somebody use the HTTP API; the token is made here and shown here.
    NewToken(Box<TokenAsk>, Secret),
    /// Ask who talked to any of these; in parts, if they are more than one request holds.
    BackCheck(flows::List),
    /// Plan a cut-off; its notice goes into the file, if one is named.
    Plan(Box<PlanAsk>, Option<PathBuf>),
    /// Check a policy on disk; `None`: the configured one.
    Check(Option<PathBuf>),
    /// Look at list files on disk.
    CheckLists(lists::ListCheck),
    /// Print the schema.
    Schema,
    /// Explain by a policy on disk.
    Explain(PathBuf, Question),
    /// Follow what is dropped.
    Capture(capture::Capture),
    /// Export an incident, its packets into a file.
    Export(u64, PathBuf),
    /// Judge a capture.
    Replay(Replay),
    /// Print the version.
    Version,
}

/// A capture to judge.
#[derive(Debug, Clone)]
pub struct Replay {
    /// The capture.
    pub capture: PathBuf,
    /// Entering interface; `None`: by each packet's source.
    pub interface: Option<String>,
    /// Policy; `None`: the configured one.
    pub policy: Option<PathBuf>,
    /// Instant for all packets.
    pub at: Option<String>,
}

/// Arguments that do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The second step.
pub fn mean(cli: Cli) -> Result<Order, (Usage, Lang)> {
    let lang = cli.lang.unwrap_or_else(Lang::from_environment);
    let named = cli.config.or_else(|| std::env::var_os("SEKIMORI_CONFIG").map(PathBuf::from));
    let place = Place { config: named.unwrap_or_else(|| config::DEFAULT_PATH.into()), socket: cli.socket };
    match work(cli.command, lang) {
        Ok(work) => Ok(Order { lang, format: cli.format, place, work }),
        Err(usage) => Err((usage, lang)),
    }
}

fn work(command: Command, lang: Lang) -> Result<Work, Usage> {
    let reason = |reason| needs_reason(reason, lang);
    Ok(match command {
        Command::Agent => Work::Agent,
        Command::Check { schema: true, .. } => Work::Schema,
        Command::Check { policy, .. } => Work::Check(policy),
        Command::Apply { policy, reason, allow_management_loss, accept_clock } => {
            let path = policy.map(std::path::absolute).transpose().map_err(|error| Usage(error.to_string()))?;
            Work::Ask(Ask::Apply(Apply { path, reason, allow_management_loss, accept_clock }))
        }
        Command::Status => Work::Ask(Ask::Status {}),
        Command::Cutoff(cutoff) => cut::cutoff(cutoff, lang)?,
        Command::Restore(restore) => cut::restore(restore, lang)?,
        Command::Quarantine(QuarantineCommand::List) => Work::Ask(Ask::Quarantines {}),
        Command::Quarantine(QuarantineCommand::Host { names, reason: why, lasting }) => {
            let seconds = lasting.map(|text| lasts(&text).ok_or_else(|| Usage(text::quarantine_duration(lang, text))));
            let (objects, reason) = (hosts(&names, lang)?, reason(why)?);
            Work::Ask(Ask::Quarantine { objects, reason, lasting: seconds.transpose()? })
        }
        Command::Release(ReleaseCommand::Host { names, reason: why }) => {
            Work::Ask(Ask::Release { objects: hosts(&names, lang)?, reason: reason(why)? })
        }
        Command::Group(GroupCommand::List { name }) => Work::Ask(Ask::Groups { name }),
        Command::Group(GroupCommand::Add { name, prefixes, reason: why, lasting }) => {
            let seconds = lasting.map(|text| lasts(&text).ok_or_else(|| Usage(text::group_duration(lang, text))));
            let (reason, seconds) = (reason(why)?, seconds.transpose()?);
            Work::Ask(Ask::Group(GroupChange { group: name, add: true, prefixes, reason, seconds }))
        }
        Command::Group(GroupCommand::Remove { name, prefixes, reason: why }) => {
            let reason = reason(why)?;
            Work::Ask(Ask::Group(GroupChange { group: name, add: false, prefixes, reason, seconds: None }))
        }
        Command::Lists { what } => lists::mean(what, lang)?,
        Command::Token(token) => token::mean(token, lang)?,
        Command::Explain { interface, packet, mac, policy, at } => {
            let question = Question { interface, packet, mac, at };
            match policy {
                Some(policy) => Work::Explain(policy, question),
                None => Work::Ask(Ask::Explain(question)),
            }
        }
        Command::Replay { capture, interface, auto: _, policy, at } => {
            Work::Replay(Replay { capture, interface, policy, at })
        }
        Command::Incidents(command) => incidents::mean(command, lang)?,
        Command::Capture(capture) => Work::Capture(capture::mean(capture, lang)?),
        Command::Flows(flows) => flows::flows(flows, lang)?,
        Command::Records(records) => records::records(records, lang)?,
        Command::Detach { reason: why, yes_open_the_gate } => {
            let reason = reason(why)?;
            if !yes_open_the_gate {
                return Err(Usage(text::detach_confirm(lang)));
            }
            Work::Ask(Ask::Detach { reason })
        }
        Command::Version => Work::Version,
    })
}

/// A reason that says something.
pub(super) fn needs_reason(reason: Option<String>, lang: Lang) -> Result<String, Usage> {
    reason.filter(|reason| !reason.trim().is_empty()).ok_or_else(|| Usage(text::reason_needed(lang)))
}

/// Seconds, as `90s`, `30m`, `8h` or `7d`, or `90秒`, `30分`, `8時間`, `7日`; up to ten years.
pub(super) fn lasts(text: &str) -> Option<u64> {
    dates::read_span(text)
}

fn hosts(names: &[String], lang: Lang) -> Result<Vec<Object>, Usage> {
    names.iter().map(|name| Object::host(name).map_err(|error| Usage(error.text(lang)))).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::cutoff::Level;

    fn order(line: &str) -> Result<Work, String> {
        let cli = Cli::try_parse_from(line.split(' ').filter(|word| !word.is_empty())).map_err(|e| e.to_string())?;
        mean(cli).map(|order| order.work).map_err(|(usage, _)| usage.0)
    }

    #[test]
    fn the_table_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_rows_at_all_is_a_slip() {
        for list in ["incidents list", "records", "records list", "flows"] {
            assert!(order(&format!("sekimori {list} --limit 1")).is_ok(), "{list}");
            assert!(order(&format!("sekimori {list} --limit 0")).is_err(), "{list}");
        }
    }

    #[test]
    fn a_cutoff_needs_its_object_and_its_reason() {
        let cut = order("sekimori cutoff network internet --reason worm").unwrap();
        let Work::Ask(Ask::Cutoff(ask)) = cut else { unreachable!() };
        assert_eq!(ask.objects, [Object::Network { name: "internet".into() }]);
        let several =
            order("sekimori cutoff network internet host pc-1 all --reason worm --level flush --for 2h").unwrap();
        let Work::Ask(Ask::Cutoff(ask)) = several else { unreachable!() };
        assert_eq!((ask.objects.len(), ask.level, ask.lasting), (3, Level::Flush, Some(7_200)));
        for (end, seen) in
            [("--for 2", (None, None, Some("2"))), ("--for 2h --until 17:30", (Some(7_200), Some("17:30"), None))]
        {
            let Work::Ask(Ask::Cutoff(ask)) = order(&format!("sekimori cutoff all --reason worm {end}")).unwrap()
            else {
                unreachable!()
            };
            assert_eq!(
                (ask.lasting, ask.until.as_deref(), ask.unread.as_deref()),
                seen,
                "a slip in the end still cuts"
            );
        }
        assert!(matches!(order("sekimori cutoff list").unwrap(), Work::Ask(Ask::Cuts {})));
        let Work::Ask(Ask::VerifyCuts { objects }) = order("sekimori cutoff verify zone office").unwrap() else {
            unreachable!()
        };
        assert_eq!(objects, [Object::Zone { name: "office".into() }]);
        assert!(order("sekimori cutoff all --reason worm --including-management").is_ok());
        assert!(order("sekimori cutoff all --reason exercise --drill --started 13:05").is_ok());
        assert!(order("sekimori restore network internet zone office --dry-run").is_ok());
        assert!(
            order("sekimori restore all --first host:pc-1 service:https --first service:tcp/8443 --reason x").is_ok()
        );
        assert!(
            order("sekimori restore confirm 12").is_ok() && order("sekimori restore confirm 12 --reason x").is_ok()
        );
        for bad in [
            "sekimori cutoff network internet",
            "sekimori cutoff network --reason worm",
            "sekimori cutoff all internet --reason worm",
            "sekimori cutoff network internet --reason worm --level deep",
            "sekimori cutoff network internet --reason worm --for 2 --drill",
            "sekimori cutoff network internet --reason worm --started 13:05",
            "sekimori cutoff list internet --reason worm",
            "sekimori cutoff verify internet",
            "sekimori cutoff --reason worm",
            "sekimori cutoff zone office --reason worm --including-management",
            "sekimori cutoff prefix 0.0.0.0/0 --reason worm",
            "sekimori restore all",
            "sekimori restore confirm",
            "sekimori restore confirm twelve",
            "sekimori restore confirm 12 13",
            "sekimori restore confirm 12 --dry-run",
            "sekimori restore confirm 12 --first host:pc-1",
            "sekimori restore all --first pc-1 --reason x",
            "sekimori restore all --first --reason x",
            "sekimori detach --reason test",
            "sekimori detach --yes-open-the-gate",
            "sekimori replay x.pcap",
            "sekimori replay x.pcap --auto --in lan0",
        ] {
            assert!(order(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_plan_says_what_when_and_why() {
        let Work::Plan(ask, file) = order(
            "sekimori cutoff plan network internet zone office --at 2026-12-05T18:00 --for 2h --level flush --reason move --notice",
        )
        .unwrap() else {
            unreachable!()
        };
        assert_eq!((ask.objects.len(), ask.at.as_str(), ask.lasting), (2, "2026-12-05T18:00", Some(7_200)));
        assert_eq!((ask.level, ask.urgent, ask.notice, file), (Level::Flush, false, true, None));
        let Work::Plan(ask, file) =
            order("sekimori cutoff plan --notice n.txt all --at 2026-12-05T18:00 --until 20:00 --urgent --reason x")
                .unwrap()
        else {
            unreachable!()
        };
        assert_eq!((ask.urgent, ask.notice, file), (true, true, Some(PathBuf::from("n.txt"))));
        assert!(matches!(order("sekimori cutoff plans").unwrap(), Work::Ask(Ask::Plans {})));
        let Work::Ask(Ask::Unplan { number, .. }) = order("sekimori cutoff unplan 3 --reason rain").unwrap() else {
            unreachable!()
        };
        assert_eq!(number, 3);
        // A network may be called so.
        let Work::Ask(Ask::Cutoff(ask)) = order("sekimori cutoff network plan --reason worm").unwrap() else {
            unreachable!()
        };
        assert_eq!(ask.objects, [Object::Network { name: "plan".into() }]);
        for bad in [
            "sekimori cutoff plan network internet --reason x",
            "sekimori cutoff plan network internet --at 2026-12-05T18:00",
            "sekimori cutoff plan --at 2026-12-05T18:00 --reason x",
            "sekimori cutoff plan network internet --at 2026-12-05T18:00 --reason x --for 2",
            "sekimori cutoff plan network internet --at 2026-12-05T18:00 --reason x --for 2h --until 20:00",
            "sekimori cutoff plan --notice network internet --at 2026-12-05T18:00 --reason x",
            "sekimori cutoff --lang ja plans --reason x",
            "sekimori cutoff unplan --reason x",
            "sekimori cutoff unplan three --reason x",
            "sekimori cutoff unplan 3",
            "sekimori cutoff plans 3",
        ] {
            assert!(order(bad).is_err(), "{bad}");
        }
        assert!(order("sekimori cutoff --lang en plans --reason x").unwrap_err().contains("right after"));
    }

    #[test]
    fn a_quarantine_names_hosts_and_may_end_by_itself() {
        let Work::Ask(Ask::Quarantine { objects, lasting, .. }) =
            order("sekimori quarantine host pc-1 192.0.2.7 --reason scan --for 2h").unwrap()
        else {
            unreachable!()
        };
        assert_eq!((objects.len(), lasting), (2, Some(7_200)));
        assert!(matches!(order("sekimori quarantine list").unwrap(), Work::Ask(Ask::Quarantines {})));
        assert!(order("sekimori release host pc-1 --reason clean").is_ok());
        for bad in [
            "sekimori quarantine host pc-1",
            "sekimori quarantine host --reason x",
            "sekimori quarantine network internet --reason x",
            "sekimori quarantine host 192.0.2.300 --reason x",
            "sekimori quarantine host pc-1 --reason x --for 2",
            "sekimori release host pc-1",
            "sekimori release all --reason x",
        ] {
            assert!(order(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn incidents_are_listed_shown_closed_and_exported() {
        let Work::Ask(Ask::Incidents { filter, limit }) =
            order("sekimori incidents list --open --host pc-1 --since 2h").unwrap()
        else {
            unreachable!()
        };
        assert!(filter.open && filter.host.as_deref() == Some("pc-1") && filter.since.is_some() && limit == 100);
        assert!(matches!(order("sekimori incidents show 7").unwrap(), Work::Ask(Ask::Incident { id: 7 })));
        let Work::Ask(Ask::CloseIncidents { ids, .. }) = order("sekimori incidents close 7 8 --reason seen").unwrap()
        else {
            unreachable!()
        };
        assert_eq!(ids, [7, 8]);
        assert!(matches!(order("sekimori incidents export 7").unwrap(), Work::Ask(Ask::ExportIncident { id: 7 })));
        assert!(matches!(order("sekimori incidents export 7 --pcapng x").unwrap(), Work::Export(7, _)));
        assert!(
            order("sekimori capture --reason no_rule --net internet --host ::1 --port 53 --proto udp --count 5")
                .is_ok()
        );
        for bad in [
            "sekimori incidents close 7",
            "sekimori incidents close --reason x",
            "sekimori incidents show x",
            "sekimori incidents list --since yesterday",
            "sekimori capture --for 2h",
            "sekimori capture --for ever",
            "sekimori capture --proto tpc",
            "sekimori capture --host pc-1",
        ] {
            assert!(order(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn flows_are_asked_for_by_what_is_known_of_them() {
        let line = "sekimori flows --host pc-017 --peer 198.51.100.0/24 --port 443 --proto tcp --since 2026-12-01T00:00:00Z \
                    --until 2026-12-02T00:00:00Z --rule office-web --verdict pass --limit 5";
        let Work::Ask(Ask::FlowRecords { limit, filter }) = order(line).unwrap() else { unreachable!() };
        assert_eq!((limit, filter.port, filter.proto), (5, Some(443), Some(6)));
        assert_eq!(filter.host, Some(crate::flows::Who::Device("pc-017".into())));
        assert_eq!(filter.since.unwrap().as_second(), 1_796_083_200);
        assert!(matches!(order("sekimori flows --live").unwrap(), Work::Ask(Ask::Flows { limit: 1000 })));
        let Work::BackCheck(list) = order("sekimori flows back-check 203.0.113.7 2001:db8::/32 --since 30d").unwrap()
        else {
            unreachable!()
        };
        assert_eq!((list.listed.len(), list.since.is_some()), (2, true));
        for bad in [
            "sekimori flows --live --port 443",
            "sekimori flows --host 192.0.2.300",
            "sekimori flows --host 192.0.2.7/24",
            "sekimori flows --peer pc-017",
            "sekimori flows --proto tpc",
            "sekimori flows --since yesterday",
            "sekimori flows --verdict maybe",
            "sekimori flows back-check",
            "sekimori flows back-check no-such-file",
            "sekimori flows --limit 5 back-check 203.0.113.7",
        ] {
            assert!(order(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists_are_shown_read_again_and_checked() {
        assert!(matches!(order("sekimori lists").unwrap(), Work::Ask(Ask::Lists {})));
        assert!(matches!(order("sekimori lists show").unwrap(), Work::Ask(Ask::Lists {})));
        let Work::Ask(Ask::ReloadLists(ask)) = order("sekimori lists reload drop c2").unwrap() else { unreachable!() };
        assert_eq!((ask.lists.len(), ask.accept_shrunk, ask.reason), (2, false, None));
        assert!(order("sekimori lists reload drop --accept-shrunk --reason cleaned").is_ok());
        let Work::CheckLists(check) = order("sekimori lists check a b --as drop-json").unwrap() else { unreachable!() };
        assert_eq!((check.files.len(), check.format.word()), (2, "drop-json"));
        for bad in
            ["sekimori lists reload drop --accept-shrunk", "sekimori lists check", "sekimori lists check a --as gzip"]
        {
            assert!(order(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_go_to_the_agent_absolute() {
        let Work::Ask(Ask::Apply(apply)) = order("sekimori apply policy").unwrap() else { unreachable!() };
        assert!(apply.path.unwrap().is_absolute());
        let Work::Ask(Ask::Apply(apply)) = order("sekimori apply").unwrap() else { unreachable!() };
        assert_eq!(apply.path, None);
    }
}
