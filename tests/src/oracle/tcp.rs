//! TCP as the section "TCP" tells it. Sides: 0 opened the flow, 1 answers.

use sekimori_ebpf::reason::Reason;

use super::transport::{Tcp, flag};

/// Where the conversation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The handshake is not complete.
    Opening,
    /// It is.
    Established,
    /// A FIN was sent.
    Closing,
    /// Both FINs acknowledged, or reset.
    Closed,
}

/// One sender.
#[derive(Debug, Clone, Copy, Default)]
pub struct Side {
    /// It has sent something.
    pub spoke: bool,
    /// Its first sequence number.
    pub isn: u32,
    /// Highest sequence number sent, plus one.
    pub end: u32,
    /// Highest one the other side allows.
    max_end: u32,
    /// Largest window advertised.
    max_window: u32,
    /// Window scale offered.
    scale: Option<u8>,
    /// Highest acknowledgement sent.
    acked: u32,
    /// Sequence number behind its FIN.
    fin: Option<u32>,
    /// That FIN was acknowledged.
    fin_acked: bool,
}

/// The conversation.
#[derive(Debug, Clone, Copy)]
pub struct Track {
    /// Where it stands.
    pub phase: Phase,
    /// Initiator, then the other.
    pub sides: [Side; 2],
}

/// `a` is after `b` in sequence space.
pub(crate) fn after(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}

/// Least room the acknowledgement bound leaves (van Rooij's MAXACKWINDOW).
const ACK_ROOM: u32 = 66_000;

impl Track {
    /// A flow whose SYN just passed.
    pub fn open(syn: &Tcp) -> Self {
        let mut track = Self { phase: Phase::Opening, sides: [Side::default(); 2] };
        track.first_words(0, syn);
        track
    }

    fn first_words(&mut self, side: usize, tcp: &Tcp) {
        let room = self.sides[0].max_window;
        let me = &mut self.sides[side];
        me.spoke = true;
        me.isn = tcp.seq;
        me.end = tcp.seq.wrapping_add(1);
        me.max_end = me.end;
        me.max_window = u32::from(tcp.window).max(1);
        me.scale = tcp.scale;
        if side == 1 {
            me.acked = tcp.ack;
            me.max_end = me.end.wrapping_add(room);
            self.sides[0].max_end = tcp.ack.wrapping_add(u32::from(tcp.window).max(1));
        }
    }

    /// Follows the phases and no numbers; for views that do not judge.
    pub fn note(&mut self, side: usize, tcp: &Tcp) {
        if tcp.has(flag::RST) {
            self.phase = Phase::Closed;
            return;
        }
        self.sides[side].spoke = true;
        if self.phase == Phase::Opening && side == 0 && self.sides[1].spoke && tcp.has(flag::ACK) {
            self.phase = Phase::Established;
        }
        if tcp.has(flag::FIN) {
            self.sides[side].fin = Some(end_of(tcp));
            if self.phase == Phase::Established {
                self.phase = Phase::Closing;
            }
        } else if tcp.has(flag::ACK) && self.sides[1 - side].fin.is_some() {
            self.sides[1 - side].fin_acked = true;
        }
        if self.sides.iter().all(|side| side.fin_acked) {
            self.phase = Phase::Closed;
        }
    }

    /// Judges a packet of side `side` and follows it if it passes.
    pub fn follow(&mut self, side: usize, tcp: &Tcp) -> Result<(), Reason> {
        match self.phase {
            Phase::Opening => self.handshake(side, tcp),
            _ => self.talk(side, tcp),
        }
    }

    fn handshake(&mut self, side: usize, tcp: &Tcp) -> Result<(), Reason> {
        let answers_syn = tcp.has(flag::ACK) && tcp.ack == self.sides[0].end;
        if side == 0 {
            if tcp.is_bare_syn() && tcp.seq == self.sides[0].isn {
                return Ok(());
            }
            if tcp.has(flag::RST) && tcp.seq == self.sides[0].end {
                self.phase = Phase::Closed;
                return Ok(());
            }
            let completes = self.sides[1].spoke
                && tcp.has(flag::ACK)
                && !tcp.has(flag::SYN)
                && !tcp.has(flag::RST)
                && tcp.ack == self.sides[1].end
                && tcp.seq == self.sides[0].end;
            if !completes {
                return Err(Reason::TcpState);
            }
            self.phase = Phase::Established;
            self.sides[0].acked = tcp.ack;
            return self.talk(side, tcp);
        }
        if tcp.has(flag::RST) && answers_syn {
            self.phase = Phase::Closed;
            return Ok(());
        }
        let syn_ack = tcp.has(flag::SYN | flag::ACK) && !tcp.has(flag::FIN) && !tcp.has(flag::RST);
        if syn_ack && answers_syn {
            self.first_words(1, tcp);
            return Ok(());
        }
        Err(Reason::TcpState)
    }

    fn talk(&mut self, side: usize, tcp: &Tcp) -> Result<(), Reason> {
        if tcp.has(flag::SYN) {
            return if side == 0 && tcp.is_bare_syn() { Ok(()) } else { Err(Reason::TcpState) };
        }
        let (me, other) = (self.sides[side], self.sides[1 - side]);
        let end = end_of(tcp);
        let ack = if tcp.has(flag::ACK) { tcp.ack } else { other.end };
        let upper = !after(end, me.max_end);
        let lower = !after(me.end.wrapping_sub(other.max_window), tcp.seq);
        let acks_sent = !after(ack, other.end);
        let acks_recent = !after(other.end.wrapping_sub(me.max_window.max(ACK_ROOM)), ack);
        if !(upper && lower && acks_sent && acks_recent) {
            return Err(Reason::TcpWindow);
        }
        if tcp.has(flag::RST) {
            if tcp.seq == other.acked || (!other.spoke && tcp.seq == me.end) {
                self.phase = Phase::Closed;
            }
            return Ok(());
        }
        let shift = match (me.scale, other.scale) {
            (Some(shift), Some(_)) => shift,
            _ => 0,
        };
        let window = u32::from(tcp.window) << shift;
        let mine = &mut self.sides[side];
        mine.max_window = mine.max_window.max(window);
        if after(end, mine.end) {
            mine.end = end;
        }
        if after(tcp.ack, mine.acked) {
            mine.acked = tcp.ack;
        }
        if tcp.has(flag::FIN) {
            mine.fin = Some(end);
            if self.phase == Phase::Established {
                self.phase = Phase::Closing;
            }
        }
        let theirs = &mut self.sides[1 - side];
        let allowed = tcp.ack.wrapping_add(window.max(1));
        if after(allowed, theirs.max_end) {
            theirs.max_end = allowed;
        }
        if theirs.fin.is_some_and(|fin| !after(fin, tcp.ack)) {
            theirs.fin_acked = true;
        }
        if self.sides.iter().all(|side| side.fin_acked) {
            self.phase = Phase::Closed;
        }
        Ok(())
    }
}

fn end_of(tcp: &Tcp) -> u32 {
    let flags = u32::from(tcp.has(flag::SYN)) + u32::from(tcp.has(flag::FIN));
    tcp.seq.wrapping_add(tcp.data as u32).wrapping_add(flags)
}
