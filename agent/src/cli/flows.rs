//! Conversations, recorded and live, for people.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Write},
    net::IpAddr,
    path::Path,
};

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};

use super::{
    args::{self, FlowsCommand},
    meaning::{Usage, Work},
    render::table,
    text::{self, Lang},
};
use crate::{
    agent::flows::Flows,
    api::protocol::Ask,
    flows::{
        Filter, Who,
        query::BackCheck,
        record,
        report::{Row, Rows},
    },
    policy::words::Lasting,
};

/// Addresses one request carries, with room to spare below the longest request.
pub(super) const PART: usize = 1_000;
/// Addresses one back-check takes.
const MOST: usize = 1_000_000;
/// Bytes of a list file.
const MAX_FILE: u64 = 64 << 20;

/// What to look for in a back-check.
#[derive(Debug)]
pub struct List {
    /// Addresses and prefixes, each once.
    pub listed: Vec<IpNet>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
    /// What was not understood: file, how many lines, the first of them.
    pub skipped: Vec<(String, usize, usize)>,
}

/// What is asked of conversations.
pub(super) fn flows(flows: args::Flows, lang: Lang) -> Result<Work, Usage> {
    let instant = |text: Option<String>| text.map(|text| instant(&text, lang)).transpose();
    if let Some(FlowsCommand::BackCheck { listed, since, until }) = flows.what {
        let mut list = List { listed: Vec::new(), since: instant(since)?, until: instant(until)?, skipped: Vec::new() };
        for word in &listed {
            list.add(word, lang)?;
        }
        list.listed.sort();
        list.listed.dedup();
        return Ok(Work::BackCheck(list));
    }
    if flows.live {
        return Ok(Work::Ask(Ask::Flows { limit: flows.limit }));
    }
    let proto = |name: String| record::protocol_number(&name).ok_or_else(|| Usage(text::flow_proto(lang, name)));
    let filter = Filter {
        host: flows.host.map(|text| who(&text, lang)).transpose()?,
        peer: flows.peer.map(|text| net(&text, lang)?.ok_or_else(|| Usage(text::no_prefix(lang, text)))).transpose()?,
        port: flows.port,
        proto: flows.proto.map(proto).transpose()?,
        since: instant(flows.since)?,
        until: instant(flows.until)?,
        rule: flows.rule,
        verdict: flows.verdict,
    };
    Ok(Work::Ask(Ask::FlowRecords { limit: flows.limit, filter }))
}

/// An address or a prefix; `None` if it is neither.
fn net(text: &str, lang: Lang) -> Result<Option<IpNet>, Usage> {
    if let Ok(addr) = text.parse::<IpAddr>() {
        return Ok(Some(addr.into()));
    }
    match text.parse::<IpNet>() {
        Ok(net) if net.addr() == net.network() => Ok(Some(net)),
        Ok(net) => Err(Usage(text::prefix_host_bits(lang, text, net.trunc(), net.addr()))),
        Err(_) => Ok(None),
    }
}

/// A host by address, prefix or device.
fn who(text: &str, lang: Lang) -> Result<Who, Usage> {
    if let Some(net) = net(text, lang)? {
        return Ok(Who::Prefix(net));
    }
    let name = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if name { Ok(Who::Device(text.to_owned())) } else { Err(Usage(text::flow_host(lang, text))) }
}

/// `24h` ago, or an instant, with an offset or in the local time of this box.
fn instant(text: &str, lang: Lang) -> Result<Timestamp, Usage> {
    let ago = Lasting::read(text).and_then(|Lasting(seconds)| {
        let span = SignedDuration::from_secs(i64::try_from(seconds).ok()?);
        Timestamp::now().checked_sub(span).ok()
    });
    let local = || {
        let at = text.parse::<civil::DateTime>().ok().or_else(|| Some(text.parse::<civil::Date>().ok()?.into()))?;
        at.to_zoned(TimeZone::system()).ok().map(|at| at.timestamp())
    };
    ago.or_else(|| text.parse().ok()).or_else(local).ok_or_else(|| Usage(text::flow_time(lang, text)))
}

impl List {
    fn add(&mut self, word: &str, lang: Lang) -> Result<(), Usage> {
        if let Some(net) = net(word, lang)? {
            self.listed.push(net);
            return Ok(());
        }
        self.read(Path::new(word)).map_err(|error| Usage(text::flow_list(lang, word, error)))?;
        if self.listed.is_empty() {
            return Err(Usage(text::flow_list_empty(lang, word)));
        }
        if self.listed.len() > MOST {
            return Err(Usage(text::flow_list_long(lang, MOST)));
        }
        Ok(())
    }

    /// One address or prefix a line, the first word of it; `#` and `;` begin a comment. Lists of bad addresses hold other things
    /// as well (names, hashes): those are skipped, and said.
    fn read(&mut self, path: &Path) -> io::Result<()> {
        let (mut skipped, mut first) = (0, 0);
        let mut bytes = Vec::new();
        let mut reader = BufReader::new(File::open(path)?.take(MAX_FILE + 1));
        let mut total = 0;
        for number in 1.. {
            bytes.clear();
            let count = reader.read_until(b'\n', &mut bytes)? as u64;
            total += count;
            if count == 0 {
                break;
            }
            if total > MAX_FILE {
                return Err(io::Error::other(format!("larger than {} MiB", MAX_FILE >> 20)));
            }
            let line = String::from_utf8_lossy(&bytes);
            let line = line.trim_start_matches('\u{feff}').split(['#', ';']).next().unwrap_or_default();
            let Some(word) = line.split([' ', '\t', ',', '\r', '\n']).find(|word| !word.is_empty()) else { continue };
            let word = word.trim_matches('"');
            let net = word.parse::<IpAddr>().map(IpNet::from).or_else(|_| word.parse::<IpNet>().map(|net| net.trunc()));
            match net {
                Ok(net) if self.listed.len() <= MOST => self.listed.push(net),
                Ok(_) => return Ok(()),
                Err(_) => {
                    skipped += 1;
                    first = if first == 0 { number } else { first };
                }
            }
        }
        if skipped > 0 {
            self.skipped.push((path.display().to_string(), skipped, first));
        }
        Ok(())
    }
}

fn dash(text: Option<&String>) -> String {
    text.cloned().unwrap_or_else(|| "-".into())
}

fn head(text: &str) -> Vec<String> {
    text.split('\t').map(str::to_owned).collect()
}

/// Recorded conversations.
pub(super) fn records(out: &mut impl Write, rows: &Rows, lang: Lang) -> io::Result<()> {
    if rows.records.is_empty() {
        return writeln!(out, "{}", text::flow_none(lang));
    }
    let mut lines = vec![head(&text::flow_head(lang))];
    lines.extend(rows.records.iter().map(|row| line(row, lang)));
    table(out, &lines)?;
    if rows.more {
        writeln!(out, "{}", text::flow_more(lang, rows.records.len()))?;
    }
    Ok(())
}

fn line(row: &Row, lang: Lang) -> Vec<String> {
    let end = |address: Option<&String>, port: Option<u16>, named: bool| match (address, port) {
        (None, _) => "-".to_owned(),
        (Some(address), Some(port)) if named && address.contains(':') => format!("[{address}]:{port}"),
        (Some(address), Some(port)) if named => format!("{address}:{port}"),
        (Some(address), _) => address.clone(),
    };
    let ported = matches!(row.proto.as_deref(), Some("tcp" | "udp"));
    let way = match (&row.zone, &row.network) {
        (Some(zone), Some(network)) => format!("{zone} -> {network}"),
        (Some(one), None) => format!("{one} ->"),
        (None, Some(one)) => format!("-> {one}"),
        (None, None) => "-".into(),
    };
    let vlan = row.vlan.map(|vlan| format!(" (VLAN {vlan})")).unwrap_or_default();
    let how = match (row.state.as_deref(), row.answered) {
        (Some("open"), Some(true)) => text::flow_open(lang),
        (_, Some(false)) => text::flow_unanswered(lang),
        _ => String::new(),
    };
    let what = if row.verdict == "pass" {
        text::explain_pass(lang)
    } else {
        format!("{} x{}", text::explain_drop(lang), row.count)
    };
    let because = match (&row.rule, row.verdict.as_str()) {
        (Some(rule), "pass") => rule.clone(),
        (Some(rule), _) => format!("{} ({rule})", row.reason),
        (None, _) => row.reason.clone(),
    };
    vec![
        row.time.clone(),
        text::age(lang, row.seconds),
        what,
        dash(row.proto.as_ref()),
        end(row.host.as_ref(), row.host_port, ported),
        dash(row.device.as_ref()),
        end(row.peer.as_ref(), row.peer_port, ported),
        format!("{way}{vlan}"),
        because,
        how,
    ]
}

/// Live conversations.
pub(super) fn live(out: &mut impl Write, flows: &Flows, lang: Lang) -> io::Result<()> {
    if flows.flows.is_empty() {
        return writeln!(out, "{}", text::flows_none(lang));
    }
    let mut rows = vec![head(&text::flows_head(lang))];
    rows.extend(flows.flows.iter().map(|flow| {
        let vlan = if flow.vlan == 0 { String::new() } else { format!(".{}", flow.vlan) };
        vec![
            format!("{}{vlan}", flow.interface),
            flow.proto.clone(),
            flow.peer.clone(),
            flow.far.clone(),
            flow.role.clone(),
            flow.state.clone(),
            dash(flow.rule.as_ref()),
            dash(flow.network.as_ref()),
            text::age(lang, i64::try_from(flow.age_seconds).unwrap_or(i64::MAX)),
        ]
    }));
    table(out, &rows)?;
    if flows.flows.len() < flows.total {
        writeln!(out, "{}", text::flows_more(lang, flows.flows.len(), flows.total))?;
    }
    Ok(())
}

/// Who talked to what was listed.
pub(super) fn back_check(out: &mut impl Write, found: &BackCheck, lang: Lang) -> io::Result<()> {
    match &found.oldest {
        None => return writeln!(out, "{}", text::flow_none(lang)),
        Some(oldest) if found.contacts.is_empty() => return writeln!(out, "{}", text::flow_nobody(lang, oldest)),
        Some(_) => {}
    }
    let mut rows = vec![head(&text::flow_contacts_head(lang))];
    rows.extend(found.contacts.iter().map(|contact| {
        let arrow = if contact.direction == "to" { "->" } else { "<-" };
        let listed = contact.listed.to_string();
        let single = contact.listed.prefix_len() == contact.listed.max_prefix_len();
        vec![
            contact.host.clone(),
            dash(contact.device.as_ref()),
            arrow.to_owned(),
            if single { contact.address.clone() } else { format!("{} ({listed})", contact.address) },
            format!("{}/{}", contact.answered, contact.conversations),
            contact.refused.to_string(),
            contact.first.clone(),
            contact.last.clone(),
            contact.services.iter().cloned().collect::<Vec<_>>().join(" "),
            contact.because.iter().cloned().collect::<Vec<_>>().join(" "),
        ]
    }));
    table(out, &rows)?;
    let oldest = found.oldest.as_deref().unwrap_or("-");
    writeln!(out, "{}", text::flow_since(lang, oldest))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::flows::{query::Listing, testing::Day};

    #[test]
    fn a_list_may_hold_other_things_which_are_skipped_and_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad.txt");
        let text = "\u{feff}# bad ones\n203.0.113.7\n203.0.113.0/24 ; seen\nevil.example\n\n2001:db8::1,x\n198.51.100.7/24\r\nab12\n";
        std::fs::write(&path, text).unwrap();
        let mut list = List { listed: Vec::new(), since: None, until: None, skipped: Vec::new() };
        list.add(path.to_str().unwrap(), Lang::En).unwrap();
        let expected = ["203.0.113.7/32", "203.0.113.0/24", "2001:db8::1/128", "198.51.100.0/24"];
        assert_eq!(list.listed, expected.map(|net| net.parse().unwrap()));
        assert_eq!(list.skipped, [(path.display().to_string(), 2, 4)]);
        std::fs::write(&path, "nothing\n").unwrap();
        let mut list = List { listed: Vec::new(), since: None, until: None, skipped: Vec::new() };
        assert!(list.add(path.to_str().unwrap(), Lang::Ja).is_err());
    }

    #[test]
    fn times_are_instants_or_so_long_ago() {
        let at = |text: &str| instant(text, Lang::En).unwrap();
        assert_eq!(at("2026-12-01T09:00:00+09:00"), "2026-12-01T00:00:00Z".parse().unwrap());
        let hours = Timestamp::now().duration_since(at("24h")).as_secs();
        assert!((86_399..86_402).contains(&hours), "{hours}");
        assert!(at("2026-12-01") < at("2026-12-01T10:30"));
        assert!(instant("noon", Lang::Ja).is_err());
    }

    #[test]
    fn a_record_is_one_line_in_either_language() {
        let mut day = Day::new(31);
        let records = vec![day.conversation(), day.refused()];
        let rows = Rows::from(Listing { records, more: true, ..Listing::default() });
        for lang in [Lang::En, Lang::Ja] {
            let mut out = Vec::new();
            super::records(&mut out, &rows, lang).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text.lines().count(), 4, "{text}");
            assert!(text.contains("no_rule") && text.contains("office -> "), "{text}");
        }
    }
}
