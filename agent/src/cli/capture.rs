//! Live capture on the command line: asks again and again, prints or writes what came.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use serde_json::json;

use super::{
    args::{self, Format},
    incidents::{create, unhex},
    meaning::{Usage, lasts},
    render::Asked,
    run, say,
    text::{self, Lang},
};
use crate::{
    agent::capture::CaptureAsk,
    api::protocol::Reply,
    detect::{
        pcapng::{Packet, Section},
        window::{Filter, MAX_SECONDS, Row, Seen},
    },
    flows::record::protocol_number,
};

/// What to follow, how long, and where to.
#[derive(Debug, Clone)]
pub struct Capture {
    /// Which packets.
    pub filter: Filter,
    /// For so many seconds.
    pub seconds: u64,
    /// So many at most.
    pub count: Option<u64>,
    /// A pcapng file; `-`: standard output.
    pub write: Option<PathBuf>,
}

/// The second step.
pub(super) fn mean(capture: args::Capture, lang: Lang) -> Result<Capture, Usage> {
    let args::Capture { reason, net, host, port, proto, count, lasting, write } = capture;
    let seconds = lasts(&lasting).filter(|seconds| (1..=MAX_SECONDS).contains(seconds));
    let seconds = seconds.ok_or_else(|| Usage(text::capture_seconds(lang, MAX_SECONDS)))?;
    let host = host.map(|text| text.parse().map_err(|_| Usage(text::capture_host(lang, text)))).transpose()?;
    let number = |text: String| protocol_number(&text).ok_or_else(|| Usage(text::capture_proto(lang, text)));
    let proto = proto.map(number).transpose()?;
    Ok(Capture { filter: Filter { reason, net, host, port, proto }, seconds, count, write })
}

/// Where packets go.
enum Sink {
    Lines(Format),
    File(Box<dyn Write>, Section),
}

impl Sink {
    fn open(capture: &Capture, format: Format) -> io::Result<Self> {
        let Some(path) = &capture.write else { return Ok(Self::Lines(format)) };
        let mut file: Box<dyn Write> =
            if path.as_os_str() == "-" { Box::new(io::stdout()) } else { Box::new(create(path)?) };
        let mut section = Section::new(&format!("dropped by the gate: {}", json!(capture.filter)));
        file.write_all(&section.take())?;
        Ok(Self::File(file, section))
    }

    fn write(&mut self, row: &Row) -> io::Result<()> {
        match self {
            Self::Lines(Format::Json) => writeln!(io::stdout(), "{}", json!(row)),
            Self::Lines(Format::Text) => writeln!(io::stdout(), "{}", line(row)),
            Self::File(file, section) => {
                section.add(Packet {
                    interface: &row.interface,
                    time: row.nanoseconds,
                    wire: row.length,
                    data: &unhex(&row.bytes).unwrap_or_default(),
                    comment: &row.comment,
                });
                file.write_all(&section.take())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Lines(_) => io::stdout().flush(),
            Self::File(file, _) => file.flush(),
        }
    }
}

/// Time, where, who, why.
fn line(row: &Row) -> String {
    let device = row.device.as_ref().map(|device| format!(" ({device})")).unwrap_or_default();
    let rule = row.rule.as_ref().map(|rule| format!(" rule {rule}")).unwrap_or_default();
    let detector = row.detector.as_ref().map(|detector| format!(" detector {detector}")).unwrap_or_default();
    let Row { time, interface, direction, network, packet, length, verdict, reason, .. } = row;
    format!("{time} {interface} {direction} {network} {packet}{device} {length} {verdict} {reason}{rule}{detector}")
}

/// Follows until it is enough. The agent's exit code, or 2 if what came could not be written.
pub(super) fn run(capture: &Capture, ask: impl Fn(CaptureAsk) -> Reply, lang: Lang, format: Format) -> u8 {
    let begin = CaptureAsk::Begin { filter: capture.filter.clone(), seconds: capture.seconds };
    let reply = ask(begin);
    let Ok(Seen { session, .. }) = serde_json::from_value(reply.body.clone()) else {
        return run::show(&reply, Asked::Document, lang, format);
    };
    let path = capture.write.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
    let mut sink = match Sink::open(capture, format) {
        Ok(sink) => sink,
        Err(error) => {
            ask(CaptureAsk::End { session });
            return run::show(&Reply::failed(text::capture_file(lang, path, error)), Asked::Document, lang, format);
        }
    };
    let mut packets = 0;
    let most = capture.count.unwrap_or(u64::MAX);
    let exit = loop {
        if packets >= most {
            break 0;
        }
        let reply = ask(CaptureAsk::Next { session });
        let Ok(seen) = serde_json::from_value::<Seen>(reply.body.clone()) else {
            break run::show(&reply, Asked::Document, lang, format);
        };
        let room = usize::try_from(most - packets).unwrap_or(usize::MAX);
        let written = seen.packets.iter().take(room).try_for_each(|row| {
            packets += 1;
            sink.write(row)
        });
        match written.and_then(|()| sink.flush()) {
            Ok(()) if seen.over => break 0,
            Ok(()) => {}
            // Whoever read has what they wanted.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break 0,
            Err(error) => {
                say(text::capture_file(lang, path, error));
                break 2;
            }
        }
    };
    ask(CaptureAsk::End { session });
    if exit == 0 && format == Format::Text {
        say(text::capture_done(lang, packets));
    }
    exit
}
