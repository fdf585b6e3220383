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
    spoke: bool,
    /// Its first sequence number.
    isn: u32,
    /// Highest sequence number sent, plus one.
    end: u32,
    /// Highest one the other side allows.
    max_end: u32,
    /// Largest window advertised.
    max_window: u32,
    /// Window scale offered.
    scale: Option<u8>,
    /// Highest acknowledgement sent.
    acked: u32,
    /// It sent a FIN.
    fin: bool,
    /// That FIN, and whatever else it sent, was acknowledged.
    fin_acked: bool,
}

/// What a SYN says of its sender.
#[derive(Debug, Clone, Copy)]
struct Syn {
    seq: u32,
    window: u16,
    scale: Option<u8>,
}

impl Syn {
    fn of(tcp: &Tcp) -> Self {
        Self { seq: tcp.seq, window: tcp.window, scale: tcp.scale }
    }
}

/// The conversation.
#[derive(Debug, Clone, Copy)]
pub struct Track {
    /// Where it stands.
    pub phase: Phase,
    /// Initiator, then the other.
    sides: [Side; 2],
    /// The initiator's last SYN since the handshake: number, window, scale.
    knock: Option<Syn>,
    /// What the other end, which remembers an earlier conversation, says in answer to the SYN that it waits for.
    waits_for: Option<u32>,
}

/// `a` is after `b` in sequence space.
fn after(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}

/// Least room the acknowledgement bound leaves (van Rooij's MAXACKWINDOW).
const ACK_ROOM: u32 = 66_000;

impl Track {
    /// A flow whose first packet just passed: a SYN, but where a view only proves replies.
    pub fn open(syn: &Tcp) -> Self {
        let phase = if syn.has(flag::SYN) { Phase::Opening } else { Phase::Established };
        let mut track = Self { phase, sides: [Side::default(); 2], knock: None, waits_for: None };
        track.first_words(0, Syn::of(syn));
        track
    }

    fn first_words(&mut self, side: usize, syn: Syn) {
        let me = &mut self.sides[side];
        me.spoke = true;
        me.isn = syn.seq;
        me.end = syn.seq.wrapping_add(1);
        me.max_end = me.end;
        me.max_window = u32::from(syn.window).max(1);
        me.scale = syn.scale;
    }

    /// The SYN+ACK.
    fn answer(&mut self, tcp: &Tcp) {
        self.first_words(1, Syn::of(tcp));
        let room = self.sides[0].max_window;
        let me = &mut self.sides[1];
        me.acked = tcp.ack;
        me.max_end = me.end.wrapping_add(room);
        self.sides[0].max_end = tcp.ack.wrapping_add(u32::from(tcp.window).max(1));
    }

    /// Whether an ICMP error may quote this sequence number of this side.
    pub fn has_sent(&self, side: usize, seq: u32) -> bool {
        let side = &self.sides[side];
        side.spoke && !after(seq, side.end) && !after(side.end.wrapping_sub(ACK_ROOM), seq)
    }

    /// Whether nobody has answered a SYN of another number.
    pub fn began_otherwise(&self, seq: u32) -> bool {
        self.phase == Phase::Opening && !self.sides[1].spoke && self.sides[0].isn != seq
    }

    /// Counts the handshake's segments and the initiator's last words, and follows no numbers; for views that do not
    /// judge.
    pub fn note(&mut self, side: usize, tcp: &Tcp) {
        let says = |flags: u8| tcp.flags & flags != 0;
        match (self.phase, side) {
            (Phase::Opening, 1) if tcp.has(flag::SYN | flag::ACK) => self.sides[1].spoke = true,
            (Phase::Opening, 0) if self.sides[1].spoke && !says(flag::SYN) => self.phase = Phase::Established,
            (Phase::Established, 0) if says(flag::FIN | flag::RST) => self.phase = Phase::Closing,
            (Phase::Closing, 0) if says(flag::SYN) => {
                self.phase = Phase::Opening;
                self.sides[1].spoke = false;
            }
            _ => {}
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
            if tcp.has(flag::RST) && !tcp.has(flag::SYN) && self.waits_for == Some(tcp.seq) {
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
        if tcp.has(flag::RST) && !tcp.has(flag::ACK) && self.sides[1].spoke && tcp.seq == self.sides[1].end {
            self.phase = Phase::Closed;
            return Ok(());
        }
        let only_ack = tcp.has(flag::ACK) && !tcp.has(flag::SYN) && !tcp.has(flag::RST) && !tcp.has(flag::FIN);
        if only_ack && tcp.data == 0 && !answers_syn && !self.sides[1].spoke {
            self.waits_for = Some(tcp.ack);
            return Ok(());
        }
        let syn_ack = tcp.has(flag::SYN | flag::ACK) && !tcp.has(flag::FIN) && !tcp.has(flag::RST);
        if syn_ack && answers_syn {
            self.answer(tcp);
            return Ok(());
        }
        Err(Reason::TcpState)
    }

    /// A SYN after the handshake: the initiator's is remembered, and counts once the other side answers it.
    fn knocks(&mut self, side: usize, tcp: &Tcp) -> Result<(), Reason> {
        if side == 0 && tcp.is_bare_syn() {
            self.knock = Some(Syn::of(tcp));
            return Ok(());
        }
        if side == 0 || !tcp.has(flag::ACK) {
            return Err(Reason::TcpState);
        }
        match self.knock {
            Some(syn) if tcp.ack == syn.seq.wrapping_add(1) => {
                *self = Self { phase: Phase::Opening, sides: [Side::default(); 2], knock: None, waits_for: None };
                self.first_words(0, syn);
                self.answer(tcp);
                Ok(())
            }
            None if tcp.seq == self.sides[1].isn && tcp.ack == self.sides[0].isn.wrapping_add(1) => Ok(()),
            _ => Err(Reason::TcpState),
        }
    }

    fn talk(&mut self, side: usize, tcp: &Tcp) -> Result<(), Reason> {
        if tcp.has(flag::SYN) {
            return self.knocks(side, tcp);
        }
        let (me, other) = (self.sides[side], self.sides[1 - side]);
        let end = end_of(tcp);
        let ack = if tcp.has(flag::ACK) { tcp.ack } else { other.end };
        let upper = !after(tcp.seq, me.max_end);
        let lower = !after(me.end.wrapping_sub(other.max_window), end);
        let acks_sent = !after(ack, other.end);
        let acks_recent = !after(other.end.wrapping_sub(me.max_window.max(ACK_ROOM)), ack);
        if !(upper && lower && acks_sent && acks_recent) {
            return Err(Reason::TcpWindow);
        }
        if tcp.has(flag::RST) {
            if tcp.seq == other.acked || tcp.seq == me.end {
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
        if tcp.has(flag::FIN) && end == mine.end {
            mine.fin = true;
            if self.phase == Phase::Established {
                self.phase = Phase::Closing;
            }
        }
        let theirs = &mut self.sides[1 - side];
        let allowed = tcp.ack.wrapping_add(window.max(1));
        if after(allowed, theirs.max_end) {
            theirs.max_end = allowed;
        }
        if theirs.fin && !after(theirs.end, tcp.ack) {
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
