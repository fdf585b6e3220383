//! Opens conversations on a subject by a real first exchange, so that measured packets find them.

use anyhow::{Result, bail};

use crate::{
    ruler::Ruler,
    subject::Subject,
    traffic::{Kind, Segment, Way},
};

/// Conversations between two turns: few enough for any table of half-open ones.
const CHUNK: u32 = 16_384;

/// Opens all conversations of a kind; the client speaks, the server answers, the client speaks again.
pub(crate) fn open(ruler: &mut Ruler, subject: &dyn Subject, kind: Kind) -> Result<()> {
    if !subject.has_flows() {
        return Ok(());
    }
    let gateway = subject.gateway();
    let (first, answer) = if kind.tcp { (Segment::Syn, Segment::SynAck) } else { (Segment::Ack, Segment::Ack) };
    for start in (0..kind.flows).step_by(CHUNK as usize) {
        let count = CHUNK.min(kind.flows - start);
        for (turn, way, segment) in
            [("first", Way::Out, first), ("answer", Way::In, answer), ("third", Way::Out, Segment::Ack)]
        {
            let plan = kind.pass(gateway, way, segment)?;
            ruler.delivered(gateway)?;
            ruler.send(&plan, u64::from(start), count)?;
            let came = ruler.settled(gateway, way, u64::from(count))?;
            if came != u64::from(count) {
                bail!("{came} of {count} {turn} packets of {} conversations arrived", kind.name);
            }
        }
    }
    Ok(())
}
