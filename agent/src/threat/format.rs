//! What one line of a list says, in each format. Nothing here resolves a name: a line that gives one is counted, no more.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::policy::{diagnostic::shorten, problem::Problem, words::addresses};

/// How a list is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Seen by what is in it.
    #[default]
    Auto,
    /// Addresses, prefixes or ranges, one a line; `#` and `;` begin comments.
    Plain,
    /// The same with the head that FireHOL writes, which says how many there are.
    Netset,
    /// The text of Spamhaus DROP: `prefix ; number`.
    Drop,
    /// The JSON lines of Spamhaus DROP: `{"cidr": …}`, the last line saying how many there are.
    DropJson,
    /// The CSV files of abuse.ch: a head that names the columns, with or without `#`.
    AbuseCsv,
    /// `address name …`; addresses that lead nowhere only say that names follow.
    Hosts,
}

impl Format {
    /// As it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Plain => "plain",
            Self::Netset => "netset",
            Self::Drop => "drop",
            Self::DropJson => "drop-json",
            Self::AbuseCsv => "abuse-csv",
            Self::Hosts => "hosts",
        }
    }

    /// By its word.
    pub fn named(word: &str) -> Option<Self> {
        let all = [Self::Auto, Self::Plain, Self::Netset, Self::Drop, Self::DropJson, Self::AbuseCsv, Self::Hosts];
        all.into_iter().find(|format| format.word() == word)
    }
}

/// What one line says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Nothing: empty, a comment, a head.
    Nothing,
    /// Addresses. Never none.
    Addresses(Vec<IpNet>),
    /// Something with a name: a host, a URL, a hash.
    Name,
    /// What cannot be understood.
    Bad(Box<Bad>),
}

/// What is wrong with a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bad {
    /// The words that are wrong.
    pub(super) text: String,
    pub(super) problem: Problem,
    pub(super) suggestion: Option<String>,
}

/// What a file is that is no list at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// A page, of an error or a login most likely.
    Html,
    /// Packed.
    Packed,
    /// Text of two bytes a letter.
    Utf16,
    /// One JSON document instead of one a line.
    JsonArray,
}

impl Foreign {
    /// By the first bytes of a file.
    pub(super) fn by_magic(start: &[u8]) -> Option<Self> {
        const PACKED: [&[u8]; 5] = [b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
        if PACKED.iter().any(|magic| start.starts_with(magic)) {
            return Some(Self::Packed);
        }
        (start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff")).then_some(Self::Utf16)
    }

    /// By the first line that says something.
    fn by_line(text: &str) -> Option<Self> {
        if text.starts_with('<') {
            return Some(Self::Html);
        }
        // `[2001:db8::1]:443` begins with a bracket, too.
        let inside = text.strip_prefix('[')?.trim_start();
        (inside.is_empty() || inside.starts_with(['{', '"', '['])).then_some(Self::JsonArray)
    }
}

/// Reads the lines of one file.
#[derive(Debug)]
pub(super) struct Lines {
    format: Format,
    /// What comments let expect, while the format is not known.
    hint: Option<Format>,
    /// A line said something.
    begun: bool,
    /// The column of a CSV that holds addresses.
    column: Option<usize>,
    /// Entries that the file says it has.
    pub(super) promised: Option<u64>,
}

impl Lines {
    pub(super) fn new(format: Format) -> Self {
        Self { format, hint: None, begun: false, column: None, promised: None }
    }

    /// The format; `Auto` as long as no line said anything.
    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// One line, without its end.
    ///
    /// # Errors
    /// The file is no list.
    pub(super) fn read(&mut self, line: &str) -> Result<Line, Foreign> {
        let text = line.trim();
        if text.is_empty() {
            return Ok(Line::Nothing);
        }
        if text.starts_with(['#', ';']) || text.starts_with("//") {
            self.comment(text.trim_start_matches(['#', ';', '/']).trim());
            return Ok(Line::Nothing);
        }
        if !self.begun {
            self.begun = true;
            if let Some(foreign) = Foreign::by_line(text) {
                return Err(foreign);
            }
            if self.format == Format::Auto {
                self.format = sniff(text, self.hint);
            }
        }
        Ok(match self.format {
            Format::DropJson => self.json(text),
            Format::AbuseCsv => self.csv(text),
            Format::Hosts => hosts(text),
            Format::Auto | Format::Plain | Format::Netset | Format::Drop => plain(text),
        })
    }

    fn comment(&mut self, text: &str) {
        let says = |word: &str| text.contains(word);
        // `Entries         : 12 subnets, 3072 unique IPs`
        if let Some((_, rest)) = text.strip_prefix("Entries").and_then(|rest| rest.split_once(':'))
            && (says("subnets") || says("unique IPs"))
        {
            self.promised = rest.split_whitespace().next().and_then(|number| number.parse().ok());
            self.hint = Some(Format::Netset);
        } else if says("hash:net") || says("hash:ip") {
            self.hint = Some(Format::Netset);
        } else if self.column.is_none()
            && matches!(self.format, Format::Auto | Format::AbuseCsv)
            && let Some(column) = text.contains(',').then(|| head(&fields(text))).flatten()
        {
            (self.hint, self.column) = (Some(Format::AbuseCsv), Some(column));
        }
    }

    fn json(&mut self, text: &str) -> Line {
        /// What is looked at of a line; the rest is its publisher's business.
        #[derive(Deserialize)]
        struct Row {
            cidr: Option<String>,
            #[serde(rename = "type")]
            kind: Option<String>,
            records: Option<u64>,
            asn: Option<u64>,
        }
        match serde_json::from_str::<Row>(text) {
            Ok(Row { cidr: Some(cidr), .. }) => value(&cidr),
            Ok(Row { kind: Some(kind), records, .. }) if kind == "metadata" => {
                self.promised = records.or(self.promised);
                Line::Nothing
            }
            Ok(Row { asn: Some(_), .. }) => Line::Name,
            _ => bad(text),
        }
    }

    fn csv(&mut self, text: &str) -> Line {
        let fields = fields(text);
        let Some(column) = self.column else {
            if let Some(column) = head(&fields) {
                self.column = Some(column);
                return Line::Nothing;
            }
            // Without a head the first column that is an address must be it.
            let mut values = fields.iter().map(|field| value(field));
            return values.find(|found| matches!(found, Line::Addresses(_))).unwrap_or_else(|| bad(text));
        };
        match fields.get(column) {
            Some(field) if !field.is_empty() => value(field),
            _ => bad(text),
        }
    }
}

/// The format of a first line.
fn sniff(text: &str, hint: Option<Format>) -> Format {
    if text.starts_with('{') {
        return Format::DropJson;
    }
    let content = without_comment(text);
    if content.contains(',') || (text.starts_with('"') && text.contains(',')) {
        return Format::AbuseCsv;
    }
    if text.split_once(';').is_some_and(|(_, comment)| comment.trim_start().starts_with("SBL")) {
        return Format::Drop;
    }
    let words: Vec<&str> = content.split_whitespace().collect();
    match (words.as_slice(), hint) {
        // `192.0.2.1 - 192.0.2.9` is a range, and its second word no name.
        ([first, second, ..], _) if address(first).is_some() && !second.starts_with('-') => Format::Hosts,
        (_, Some(hint)) => hint,
        _ => Format::Plain,
    }
}

fn without_comment(text: &str) -> &str {
    text.split(['#', ';']).next().unwrap_or_default().trim()
}

fn plain(text: &str) -> Line {
    match without_comment(text) {
        "" => Line::Nothing,
        word => value(word),
    }
}

/// Addresses that lead nowhere are not on the list: they are what a name is to be answered with.
fn hosts(text: &str) -> Line {
    let content = text.split('#').next().unwrap_or_default();
    let mut words = content.split_whitespace();
    let Some(first) = words.next() else { return Line::Nothing };
    // `fe80::1%lo0`
    let host = address(first.split('%').next().unwrap_or(first));
    match host {
        Some(host) if !leads_nowhere(host) => return Line::Addresses(vec![IpNet::from(host)]),
        None if first.starts_with(|c: char| c.is_ascii_digit()) && !is_name(first) => return value(first),
        _ => {}
    }
    let names: Vec<Line> = words.map(value).collect();
    let addresses: Vec<IpNet> = names
        .iter()
        .filter_map(|line| if let Line::Addresses(nets) = line { Some(nets) } else { None })
        .flatten()
        .filter(|net| !leads_nowhere(net.addr()))
        .copied()
        .collect();
    if !addresses.is_empty() {
        Line::Addresses(addresses)
    } else if host.is_some() && names.is_empty() {
        bad(text)
    } else if host.is_some() {
        Line::Name
    } else {
        value(first)
    }
}

fn leads_nowhere(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(v4) => {
            v4.octets()[0] == 0 || v4.is_loopback() || v4.is_broadcast() || v4.is_multicast() || v4.is_link_local()
        }
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_loopback() || v6.is_multicast() || v6.is_unicast_link_local(),
    }
}

fn address(word: &str) -> Option<IpAddr> {
    word.parse().ok()
}

/// An address, a prefix, a range, an address with a port, or a URL; or something with a name.
fn value(word: &str) -> Line {
    let word = word.trim();
    if let Some(host) = address(word) {
        return Line::Addresses(vec![IpNet::from(host.to_canonical())]);
    }
    let wrong = match addresses(word) {
        Ok(found) => return Line::Addresses(found),
        Err(wrong) => wrong,
    };
    if let Some(host) = host_of(word) {
        return match address(host) {
            Some(host) => Line::Addresses(vec![IpNet::from(host.to_canonical())]),
            None => Line::Name,
        };
    }
    if is_name(word) {
        return Line::Name;
    }
    let problem = match wrong.problem {
        Problem::BadWord { .. } => Problem::BadListLine { found: shorten(word) },
        other => other,
    };
    Line::Bad(Box::new(Bad { text: word.to_owned(), problem, suggestion: wrong.suggestion }))
}

/// The host of `192.0.2.1:443`, `[2001:db8::1]:443`, `name.example:443` or a URL.
fn host_of(word: &str) -> Option<&str> {
    if let Ok(socket) = word.parse::<SocketAddr>() {
        return match socket {
            SocketAddr::V4(_) => word.rsplit_once(':').map(|(host, _)| host),
            SocketAddr::V6(_) => word.strip_prefix('[')?.split_once(']').map(|(host, _)| host),
        };
    }
    let url = word.split_once("://").filter(|(scheme, _)| !scheme.is_empty() && scheme.chars().all(scheme_letter));
    let rest = match url {
        Some((_, rest)) => rest.split(['/', '?', '#']).next().unwrap_or_default(),
        None => word.rsplit_once(':').filter(|(host, _)| is_name(host)).map(|_| word)?,
    };
    let authority = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = match authority.strip_prefix('[') {
        Some(inside) => inside.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    (address(host).is_some() || is_name(host)).then_some(host)
}

fn scheme_letter(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')
}

/// A host's name, or a hash. What ends in a number is neither: `192.0.2.300`.
fn is_name(word: &str) -> bool {
    let word = word.strip_prefix("*.").unwrap_or(word).trim_end_matches('.');
    let hash = word.len() >= 32 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let letter = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    let labels = || word.split('.');
    let last = labels().next_back().unwrap_or_default();
    hash || (word.len() <= 253
        && labels().count() > 1
        && labels().all(|label| !label.is_empty() && label.chars().all(letter))
        && last.chars().any(char::is_alphabetic))
}

fn bad(text: &str) -> Line {
    let problem = Problem::BadListLine { found: shorten(text) };
    Line::Bad(Box::new(Bad { text: text.to_owned(), problem, suggestion: None }))
}

/// Names of columns with addresses, the surest first.
const COLUMNS: [&str; 11] =
    ["dst_ip", "dstip", "ip", "ip_address", "src_ip", "cidr", "network", "ioc_value", "ioc", "url", "host"];

/// The column with addresses, if these are the names of columns.
fn head(fields: &[Cow<'_, str>]) -> Option<usize> {
    let fields: Vec<String> = fields.iter().map(|field| field.trim().to_ascii_lowercase()).collect();
    let data = fields.len() < 2 || fields.iter().any(|field| matches!(value(field), Line::Addresses(_)));
    COLUMNS.iter().find_map(|column| fields.iter().position(|field| field == column)).filter(|_| !data)
}

/// The fields of one line of a CSV. A quote that does not end takes the rest.
fn fields(text: &str) -> Vec<Cow<'_, str>> {
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let Some(quoted) = rest.strip_prefix('"') else {
            let (field, after) = rest.split_once(',').map_or((rest, None), |(field, after)| (field, Some(after)));
            out.push(Cow::Borrowed(field.trim()));
            match after {
                Some(after) => rest = after,
                None => return out,
            }
            continue;
        };
        let mut field = String::new();
        let mut inside = quoted;
        let after = loop {
            let Some((part, after)) = inside.split_once('"') else {
                field.push_str(inside);
                break "";
            };
            field.push_str(part);
            // Two quotes are one.
            match after.strip_prefix('"') {
                Some(more) => {
                    field.push('"');
                    inside = more;
                }
                None => break after,
            }
        };
        out.push(Cow::Owned(field.trim().to_owned()));
        match after.split_once(',') {
            Some((_, after)) => rest = after,
            None => return out,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::compile::testing::Random;

    fn said(format: Format, line: &str) -> String {
        let mut lines = Lines::new(format);
        show(&lines.read(line).unwrap())
    }

    fn show(line: &Line) -> String {
        match line {
            Line::Nothing => "-".into(),
            Line::Addresses(nets) => nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Line::Name => "name".into(),
            Line::Bad(bad) => format!("bad {}", bad.problem.code()),
        }
    }

    #[test]
    fn one_value_is_an_address_a_name_or_wrong() {
        for (word, expected) in [
            ("192.0.2.1", "192.0.2.1/32"),
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2.1 - 192.0.2.2", "192.0.2.1/32 192.0.2.2/32"),
            ("192.0.2.0-192.0.2.255", "192.0.2.0/24"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            ("0.0.0.0-255.255.255.255", "0.0.0.0/0"),
            ("192.0.2.1:443", "192.0.2.1/32"),
            ("[2001:db8::1]:443", "2001:db8::1/128"),
            ("http://192.0.2.1/a?b", "192.0.2.1/32"),
            ("https://user@[2001:db8::1]:8443/x", "2001:db8::1/128"),
            ("http://bad.example/192.0.2.1", "name"),
            ("bad.example", "name"),
            ("bad.example:443", "name"),
            ("*.bad.example.", "name"),
            ("悪い.example", "name"),
            ("d41d8cd98f00b204e9800998ecf8427e", "name"),
            ("192.0.2.300", "bad E071"),
            ("192.0.2.1/24", "bad E030"),
            ("192.0.2.9-192.0.2.1", "bad E032"),
            ("192.0.2.1-2001:db8::", "bad E033"),
            ("192.0.2.0/33", "bad E071"),
            ("nonsense", "bad E071"),
            ("://192.0.2.1", "bad E071"),
            ("http://", "bad E071"),
        ] {
            assert_eq!(said(Format::Plain, word), expected, "{word}");
        }
    }

    #[test]
    fn comments_end_a_plain_line() {
        for (line, expected) in [
            ("  192.0.2.1  # known since May", "192.0.2.1/32"),
            ("192.0.2.0/24 ; SBL000001", "192.0.2.0/24"),
            ("# 192.0.2.1", "-"),
            ("; 192.0.2.1", "-"),
            ("// 192.0.2.1", "-"),
            ("   ", "-"),
        ] {
            assert_eq!(said(Format::Plain, line), expected, "{line}");
        }
    }

    #[test]
    fn hosts_lead_nowhere_or_somewhere() {
        for (line, expected) in [
            ("0.0.0.0 bad.example worse.example # both", "name"),
            ("127.0.0.1 localhost", "name"),
            ("::1 ip6-localhost", "name"),
            ("fe80::1%lo0 localhost", "name"),
            ("255.255.255.255 broadcasthost", "name"),
            ("192.0.2.7 bad.example", "192.0.2.7/32"),
            ("2001:db8::7\tbad.example", "2001:db8::7/128"),
            ("0.0.0.0 192.0.2.8", "192.0.2.8/32"),
            ("0.0.0.0 0.0.0.0", "name"),
            ("bad.example", "name"),
            ("0.0.0.0", "bad E071"),
            ("192.0.2.300 bad.example", "bad E071"),
            ("# 192.0.2.7 bad.example", "-"),
        ] {
            assert_eq!(said(Format::Hosts, line), expected, "{line}");
        }
    }

    #[test]
    fn json_lines_count_themselves() {
        let mut lines = Lines::new(Format::Auto);
        assert_eq!(
            show(&lines.read(r#"{"cidr":"192.0.2.0/24","sblid":"SBL1","rir":"test"}"#).unwrap()),
            "192.0.2.0/24"
        );
        assert_eq!(lines.format(), Format::DropJson);
        assert_eq!(show(&lines.read(r#"{"asn":64496,"rir":"test"}"#).unwrap()), "name");
        assert_eq!(show(&lines.read(r#"{"cidr":"192.0.2.0/24"#).unwrap()), "bad E071");
        assert_eq!(show(&lines.read(r#"{"cidr":7}"#).unwrap()), "bad E071");
        assert_eq!(show(&lines.read(r#"{}"#).unwrap()), "bad E071");
        assert_eq!(show(&lines.read(r#"{"type":"metadata","records":2,"size":9}"#).unwrap()), "-");
        assert_eq!(lines.promised, Some(2));
    }

    #[test]
    fn columns_of_a_csv_are_found_by_their_names() {
        for (head, row, expected) in [
            (
                r##""first_seen_utc","dst_ip","dst_port""##,
                r##""2026-01-01 00:00:00","192.0.2.1","8080""##,
                "192.0.2.1/32",
            ),
            ("# Firstseen,DstIP,DstPort", "2026-01-01 00:00:00,192.0.2.2,443", "192.0.2.2/32"),
            (
                r##"# "first_seen_utc","ioc_id","ioc_value","ioc_type""##,
                r##""2026", "1", "192.0.2.3:443", "ip:port""##,
                "192.0.2.3/32",
            ),
            (
                r##"# "first_seen_utc","ioc_id","ioc_value","ioc_type""##,
                r##""2026", "1", "d41d8cd98f00b204e9800998ecf8427e", "md5""##,
                "name",
            ),
            ("# id,dateadded,url,url_status", r##""1","2026","http://192.0.2.4/a,b","online""##, "192.0.2.4/32"),
            ("# id,dateadded,url,url_status", r##""1","2026","http://bad.example/a","online""##, "name"),
            ("# id,dateadded,url,url_status", r##""1""##, "bad E071"),
            ("# nothing to see", "x,2026,192.0.2.5,y", "192.0.2.5/32"),
        ] {
            let mut lines = Lines::new(Format::Auto);
            lines.read(head).unwrap();
            assert_eq!(show(&lines.read(row).unwrap()), expected, "{row}");
            assert_eq!(lines.format(), Format::AbuseCsv, "{row}");
        }
        assert_eq!(fields(r#""a ""b"" c", d,"e"#), ["a \"b\" c", "d", "e"]);
        assert_eq!(fields(""), [""]);
        assert_eq!(fields("a,,"), ["a", "", ""]);
    }

    #[test]
    fn formats_are_told_by_their_first_line() {
        for (line, hint, expected) in [
            ("192.0.2.0/24 ; SBL000001", None, Format::Drop),
            ("192.0.2.0/24 ; a comment, with a comma", None, Format::Plain),
            ("192.0.2.0/24 # a comment", None, Format::Plain),
            ("192.0.2.1 - 192.0.2.2", None, Format::Plain),
            ("192.0.2.1 bad.example", None, Format::Hosts),
            ("0.0.0.0 bad.example", Some(Format::Netset), Format::Hosts),
            ("192.0.2.1", Some(Format::Netset), Format::Netset),
            ("192.0.2.1,443", None, Format::AbuseCsv),
            ("{\"cidr\":1}", None, Format::DropJson),
        ] {
            assert_eq!(sniff(line, hint), expected, "{line}");
        }
        let foreign = |text: &str| Lines::new(Format::Auto).read(text);
        assert_eq!(foreign("<!DOCTYPE html>"), Err(Foreign::Html));
        assert_eq!(foreign("[{\"cidr\": \"192.0.2.0/24\"}]"), Err(Foreign::JsonArray));
        assert!(foreign("[2001:db8::1]:443").is_ok());
        assert_eq!(Foreign::by_magic(b"\x1f\x8b\x08"), Some(Foreign::Packed));
        assert_eq!(Foreign::by_magic(b"\xff\xfe1\0"), Some(Foreign::Utf16));
    }

    #[test]
    fn the_head_of_a_netset_says_how_many_there_are() {
        let mut lines = Lines::new(Format::Auto);
        for line in ["#", "# self_made", "# ipv4 hash:net ipset", "# Entries         : 12 subnets, 3072 unique IPs"] {
            assert_eq!(lines.read(line).unwrap(), Line::Nothing);
        }
        assert_eq!(show(&lines.read("192.0.2.0/24").unwrap()), "192.0.2.0/24");
        assert_eq!((lines.format(), lines.promised), (Format::Netset, Some(12)));
    }

    /// Whatever comes, it is answered; and what is taken means the same when it is written plainly and read again.
    #[test]
    fn any_line_is_answered_and_what_is_taken_comes_back() {
        let mut random = Random::new(11);
        let pieces = [
            "192.0.2.1",
            "198.51.100.0/24",
            "2001:db8::",
            "/32",
            "-",
            ",",
            "\"",
            "\"\"",
            "{\"cidr\":\"",
            "}",
            "]",
            "[",
            "#",
            ";",
            " ",
            "\t",
            "http://",
            "@",
            ":",
            "::",
            ".",
            "0",
            "255",
            "例",
            "bad.example",
            "%lo0",
            "\u{0}",
            "\u{feff}",
            "://",
            "//",
        ];
        let formats = [
            Format::Auto,
            Format::Plain,
            Format::Netset,
            Format::Drop,
            Format::DropJson,
            Format::AbuseCsv,
            Format::Hosts,
        ];
        let mut taken = 0;
        for _ in 0..30_000 {
            let mut lines = Lines::new(*random.pick(&formats));
            for _ in 0..2 {
                let line: String = (0..1 + random.below(8)).map(|_| *random.pick(&pieces)).collect();
                let Ok(Line::Addresses(nets)) = lines.read(&line) else { continue };
                taken += 1;
                assert!(!nets.is_empty(), "{line:?}");
                for net in nets {
                    assert_eq!(said(Format::Plain, &net.to_string()), net.to_string(), "{line:?}");
                }
            }
        }
        assert!(taken > 500, "{taken}");
    }
}
