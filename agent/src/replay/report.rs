//! Verdicts as people and scripts read them: a table, or one JSON object a packet.

use std::{collections::BTreeMap, io::Write};

use super::{
    capture::Packet,
    clock::timestamp,
    player::{Note, Played},
};
pub use crate::policy::diagnostic::Lang;
use crate::policy::model::Policy;

/// The reason code of packets that claim to have been longer than any frame.
pub const TOO_LARGE: &str = "too_large";

/// Output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A table.
    Text,
    /// One object a line.
    Json,
}

/// What a whole replay came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Packets judged.
    pub packets: u64,
    /// Those that passed.
    pub passed: u64,
    /// Packets by reason code.
    pub reasons: BTreeMap<&'static str, u64>,
}

impl Summary {
    pub(super) fn count(&mut self, played: &Played) {
        self.packets += 1;
        self.passed += u64::from(played.passes());
        *self.reasons.entry(code(played)).or_default() += 1;
    }
}

#[derive(serde::Serialize)]
struct Line<'a> {
    n: u64,
    verdict: &'static str,
    reason: &'static str,
    rule: Option<&'a str>,
    time: String,
    r#in: Option<&'a str>,
    out: Option<&'a str>,
    packet: &'a str,
    note: Vec<&'static str>,
}

pub(super) struct Report<'o> {
    out: &'o mut dyn Write,
    format: Format,
    lang: Lang,
}

impl<'o> Report<'o> {
    pub(super) fn new(out: &'o mut dyn Write, format: Format, lang: Lang) -> Self {
        Self { out, format, lang }
    }

    pub(super) fn head(&mut self) -> std::io::Result<()> {
        match (self.format, self.lang) {
            (Format::Json, _) => Ok(()),
            (Format::Text, Lang::En) => row(self.out, ["n", "time", "verdict", "reason", "rule", "way", "packet"], &[]),
            // Ideographs are two columns wide: the columns are padded by hand.
            (Format::Text, Lang::Ja) => writeln!(
                self.out,
                "  番号  時刻                            判定     理由               規則                     経路             パケット"
            ),
        }
    }

    pub(super) fn line(&mut self, packet: &Packet, now: u64, played: &Played, policy: &Policy) -> std::io::Result<()> {
        let rule = played.rule.and_then(|rule| policy.rules.get(rule)).map(|rule| rule.id.as_str());
        let passes = played.passes();
        let time = timestamp(now).to_string();
        match self.format {
            Format::Json => {
                let line = Line {
                    n: packet.number,
                    verdict: if passes { "pass" } else { "drop" },
                    reason: code(played),
                    rule,
                    time,
                    r#in: played.entered.as_deref(),
                    out: played.left.as_deref(),
                    packet: &played.line,
                    note: played.notes.iter().map(|note| note.code()).collect(),
                };
                serde_json::to_writer(&mut *self.out, &line)?;
                self.out.write_all(b"\n")
            }
            Format::Text => {
                let verdict = match (self.lang, passes) {
                    (Lang::En, true) => "pass   ",
                    (Lang::En, false) => "drop   ",
                    (Lang::Ja, true) => "通過   ",
                    (Lang::Ja, false) => "遮断   ",
                };
                let way = format!(
                    "{} > {}",
                    played.entered.as_deref().unwrap_or("box"),
                    played.left.as_deref().unwrap_or("-")
                );
                let notes: Vec<String> = played.notes.iter().map(|note| note.text(self.lang)).collect();
                let cells =
                    [&packet.number.to_string(), &time, verdict, code(played), rule.unwrap_or("-"), &way, &played.line];
                row(self.out, cells, &notes)
            }
        }
    }

    pub(super) fn tail(&mut self, summary: &Summary) -> std::io::Result<()> {
        if self.format == Format::Json {
            return self.out.flush();
        }
        let Summary { packets, passed, reasons } = summary;
        let dropped = packets - passed;
        match self.lang {
            Lang::En => writeln!(self.out, "\n{packets} packets: {passed} pass, {dropped} drop")?,
            Lang::Ja => writeln!(self.out, "\n{packets}個のパケット: 通過 {passed}、遮断 {dropped}")?,
        }
        for (code, count) in reasons {
            let text = sekimori_ebpf::reason::Reason::from_code(code).map(|reason| match self.lang {
                Lang::En => reason.en(),
                Lang::Ja => reason.ja(),
            });
            let text = text.unwrap_or(match self.lang {
                Lang::En => "longer than any frame, not judged by the programs",
                Lang::Ja => "フレームの上限を超える長さで、プログラムでは未判定",
            });
            writeln!(self.out, "  {count:>8}  {code:<18} {text}")?;
        }
        self.out.flush()
    }
}

fn row(out: &mut dyn Write, cells: [&str; 7], notes: &[String]) -> std::io::Result<()> {
    let [n, time, verdict, reason, rule, way, packet] = cells;
    write!(out, "{n:>6}  {time:<30}  {verdict:<7}  {reason:<18} {rule:<24} {way:<16} {packet}")?;
    match notes {
        [] => writeln!(out),
        notes => writeln!(out, "  [{}]", notes.join("; ")),
    }
}

fn code(played: &Played) -> &'static str {
    played.reason.map_or(TOO_LARGE, |reason| reason.code())
}

impl Note {
    /// The stable name used in JSON.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Padded => "padded",
            Self::Head => "head",
            Self::TooLarge => "too_large",
            Self::ClockBack(_) => "clock_back",
            Self::NoTime => "no_time",
            Self::Retagged => "retagged",
            Self::SentOn => "sent_on",
            Self::FromBox => "from_box",
            Self::Translated => "translated",
            Self::Placed => "placed",
        }
    }

    /// For people.
    pub(super) fn text(self, lang: Lang) -> String {
        match (lang, self) {
            (Lang::En, Self::Padded) => "cut short in the capture, rest taken as zeros".into(),
            (Lang::Ja, Self::Padded) => "途中までの採取。残りは0とみなした".into(),
            (Lang::En, Self::Head) => "long: judged by its first bytes and its length".into(),
            (Lang::Ja, Self::Head) => "長いため先頭部と全長で判定".into(),
            (Lang::En, Self::TooLarge) => "longer than any frame".into(),
            (Lang::Ja, Self::TooLarge) => "フレームの上限を超える長さ".into(),
            (Lang::En, Self::ClockBack(by)) => {
                format!("the capture's clock stepped back {:.3} s", seconds(by))
            }
            (Lang::Ja, Self::ClockBack(by)) => format!("採取時刻が{:.3}秒戻っている", seconds(by)),
            (Lang::En, Self::NoTime) => "no time in the capture".into(),
            (Lang::Ja, Self::NoTime) => "採取時刻なし".into(),
            (Lang::En, Self::Retagged) => "captured with another side's VLAN".into(),
            (Lang::Ja, Self::Retagged) => "別の側のVLANで採取".into(),
            (Lang::En, Self::SentOn) => "captured after the box sent it on; first sender's MAC assumed".into(),
            (Lang::Ja, Self::SentOn) => "本装置が送り出した後の採取。元の送信元MACとみなした".into(),
            (Lang::En, Self::FromBox) => "sent by the box (or masqueraded by it)".into(),
            (Lang::Ja, Self::FromBox) => "本装置発(またはアドレス変換後)".into(),
            (Lang::En, Self::Translated) => "published server's address translated".into(),
            (Lang::Ja, Self::Translated) => "公開サーバーのアドレスを変換".into(),
            (Lang::En, Self::Placed) => "nothing says where it lives".into(),
            (Lang::Ja, Self::Placed) => "所属を示す情報なし".into(),
        }
    }
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}
