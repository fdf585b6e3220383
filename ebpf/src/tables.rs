//! Every table access of the decision, as a trait: BPF maps in the kernel, plain memory on the host.
//!
//! Entries come back as raw pointers, null where there is none: that is what the kernel hands out, it costs the
//! verifier nothing, and an `Option` of a reference would promise more than a shared map can keep. Pointers stay
//! readable until the decision returns.

use crate::abi::{
    Active, AddrEntry, CutWord, DeviceEntry, FragEntry, FragKey, GenConfig, HostPaceSet, IfaceEntry, LimitEntry,
    MacEntry, MacKey, ManagementEntry, NetEntry, Place, PortKey, Quarantine, RuleEntry, RuleSet, Schedule, Seat,
    SeatSet, Settings, Stage, View, ViewKey, ViewKey4,
};
use crate::{
    classify::{self, Line},
    decide::{
        converse::{self, Work},
        cut, egress, fast, fragment, identity, limit, local, quarantine, rules, staged,
    },
    packet::Packet,
};

/// A 16-byte address; IPv4 as `::ffff:a.b.c.d`.
pub type Addr = [u8; 16];

/// The tables of all live generations and the run-time overlay. `generation` is the number read once per packet.
pub trait Tables {
    /// Which tables are in force.
    fn in_force(&self) -> Active;
    /// The active generation; 0 when no policy is loaded.
    #[inline(always)]
    fn active(&self) -> u32 {
        self.in_force().generation
    }
    /// Where packets with this tag on this interface belong, if the shortcut knows.
    #[inline(always)]
    fn place(&self, _ifindex: u32, _outer: u16) -> *mut Place {
        core::ptr::null_mut()
    }
    /// The fast path's epoch; 0 while nothing may take it.
    #[inline(always)]
    fn fast(&self) -> u32 {
        0
    }
    /// Settings outside the policy.
    fn settings(&self) -> *const Settings;
    /// The interface with this kernel index.
    fn iface(&self, ifindex: u32) -> *const IfaceEntry;

    /// The generation's description of itself.
    fn config(&self, generation: u32) -> *const GenConfig;
    /// The zone or network of (interface, tags); 0 for none.
    fn port(&self, generation: u32, key: &PortKey) -> u16;
    /// The zone or network with this id.
    fn net(&self, generation: u32, net: u16) -> *const NetEntry;
    /// One line of the table of addresses; see [`classify`].
    fn line(&self, generation: u32, index: u32) -> *const Line;
    /// What the longest prefix that holds this address says of it.
    #[inline(always)]
    fn addr(&self, generation: u32, addr: &Addr) -> *const AddrEntry
    where
        Self: Sized,
    {
        classify::entry(self, generation, addr)
    }
    /// Who speaks with this MAC.
    fn mac(&self, generation: u32, key: &MacKey) -> *const MacEntry;
    /// The device registered with this address; 0 for none.
    fn binding(&self, generation: u32, addr: &Addr) -> u32;
    /// The device with this number (0 exists: "no device").
    fn device(&self, generation: u32, device: u32) -> *const DeviceEntry;
    /// The rule set satisfied by this protocol and port; see [`crate::abi::service_index`].
    fn service(&self, generation: u32, index: u32) -> u16;
    /// A rule set.
    fn set(&self, generation: u32, set: u16) -> *const RuleSet;
    /// A rule.
    fn rule(&self, generation: u32, rule: u16) -> *const RuleEntry;
    /// What a rule limits.
    fn limit(&self, generation: u32, rule: u16) -> *const LimitEntry;
    /// A schedule.
    fn schedule(&self, generation: u32, schedule: u32) -> *const Schedule;

    /// The cut-off word.
    fn cut(&self) -> CutWord;
    /// Whether this zone or network is cut: 0, [`crate::abi::CUT_WHOLE`] or [`crate::abi::CUT_STAGED`].
    fn cut_net(&self, net: u16) -> u32;
    /// The slot, never 0, of the cut prefix that holds this address, with [`crate::abi::SLOT_STAGED`] if that is restored in
    /// stages; 0 if none does.
    fn cut_addr(&self, addr: &Addr) -> u32;
    /// The services that pass again first. Null: none.
    fn stage(&self) -> *const Stage;
    /// Whether this address or MAC ([`crate::abi::quarantine_mac`]) passes again first.
    fn staged(&self, key: &Addr) -> bool;
    /// The slot, never 0, of this cut MAC, as [`Tables::cut_addr`]; 0 if it is not cut.
    fn cut_mac(&self, mac: &[u8; 6]) -> u32;
    /// Management path number `index`, below [`crate::abi::MAX_MANAGEMENT`].
    fn management(&self, index: u32) -> *const ManagementEntry;

    /// Who is in quarantine, roughly. Null: nobody.
    fn quarantine(&self) -> *const Quarantine;
    /// The slot of the quarantine that this address or MAC ([`crate::abi::quarantine_mac`]) is in; 0 for none.
    fn quarantined(&self, key: &Addr) -> u32;

    /// The view with this key, from either room.
    fn view(&self, key: &ViewKey) -> *mut View;
    /// The view with this key in the established room.
    fn established4(&self, key: &ViewKey4) -> *mut View;
    /// Whether a view with this key is in the opening room.
    fn opening4(&self, key: &ViewKey4) -> bool;
    /// Whether a view with this key is in the opening room.
    fn opening6(&self, key: &ViewKey) -> bool;
    /// The view with this key in the established room.
    fn established6(&self, key: &ViewKey) -> *mut View;
    /// Puts a view into the established or the opening room; false if the table refused.
    fn view_insert(&self, key: &ViewKey, view: &View, established: bool) -> bool;
    /// Removes a view from the established or the opening room.
    fn view_remove(&self, key: &ViewKey, established: bool);
    /// What is known of a fragmented datagram.
    fn frag(&self, key: &FragKey) -> *mut FragEntry;
    /// Remembers a fragmented datagram; false if the table refused.
    fn frag_insert(&self, key: &FragKey, entry: &FragEntry) -> bool;

    /// Until when what the rule with this stable slot admitted is used up, `CLOCK_BOOTTIME` nanoseconds.
    fn rule_pace(&self, slot: u32) -> *mut u64;
    /// The hosts with this hash, whatever its size.
    fn host_paces(&self, hash: u32) -> *mut HostPaceSet;
    /// The number of the set of places with this hash, in the half for rules (0) or for hosts (1).
    fn seat_set(&self, half: u32, hash: u32) -> u32;
    /// The set of places with this number.
    fn seats(&self, number: u32) -> *mut SeatSet;
    /// A number nobody outside can know, the same as long as the tables above live.
    fn secret(&self) -> u64;

    /// [`rules::judge`]. A hook, because the kernel verifies a function that stands alone once, and an inlined one again for
    /// every state it is reached in.
    #[inline(always)]
    fn judge(&self, work: &mut Work)
    where
        Self: Sized,
    {
        let Work { question, answer, cursor, .. } = work;
        rules::judge(self, question, answer, cursor);
    }
    /// [`converse::converse`]; a hook like [`Tables::judge`].
    #[expect(clippy::not_unsafe_ptr_arg_deref, reason = "a view of this very table")]
    #[inline(always)]
    fn converse(&self, packet: &mut Packet, work: &mut Work, found: *mut View, what: u32, opens: u8) -> u32
    where
        Self: Sized,
    {
        // SAFETY: whoever implements the trait hands out views that stay until the decision returns.
        unsafe { converse::converse(self, packet, work, found, what, opens) }
    }
    /// [`egress::forward`]; a hook like [`Tables::judge`].
    #[expect(clippy::not_unsafe_ptr_arg_deref, reason = "a view of this very table")]
    #[inline(always)]
    fn forward(&self, packet: &mut Packet, work: &mut Work, found: *mut View) -> u32
    where
        Self: Sized,
    {
        // SAFETY: as above.
        unsafe { egress::forward(self, packet, work, found) }
    }
    /// [`fast::link`]; a hook like [`Tables::judge`].
    #[inline(always)]
    fn link(&self, packet: &Packet, near: &mut View, role: u8)
    where
        Self: Sized,
    {
        fast::link(self, packet, near, role);
    }
    /// What the overlay's longest prefix that holds this address (in two halves) says, as the 8 bytes of an
    /// [`crate::abi::OverlayEntry`]; 0 if none holds it.
    #[inline(always)]
    fn overlay(&self, _generation: u32, _high: u64, _low: u64) -> u64 {
        0
    }
    /// [`classify::overlaid`]; a hook like [`Tables::judge`].
    #[inline(always)]
    fn overlaid(&self, generation: u32, high: u64, low: u64) -> u32
    where
        Self: Sized,
    {
        classify::overlaid(self, generation, high, low)
    }
    /// [`classify::v4::further`]; a hook like [`Tables::judge`].
    #[inline(always)]
    fn class_further(&self, generation: u32, addr: u32, step: u32) -> u32
    where
        Self: Sized,
    {
        classify::v4::further(self, generation, addr, step)
    }
    /// [`classify::v6::class`]; a hook like [`Tables::judge`].
    #[inline(always)]
    fn class6(&self, generation: u32, high: u64, low: u64) -> u32
    where
        Self: Sized,
    {
        classify::v6::class(self, generation, high, low)
    }
    /// [`classify::v6::step`]; a hook like [`Tables::judge`].
    #[inline(always)]
    fn class6_step(&self, generation: u32, value: u32, key: u64, choice: u32) -> u32
    where
        Self: Sized,
    {
        classify::v6::step(self, generation, value, key, choice)
    }
    /// [`rules::next_match`]; a hook like [`Tables::judge`].
    #[inline(always)]
    fn next_match(&self, cursor: &mut rules::Cursor) -> u32
    where
        Self: Sized,
    {
        rules::next_match(self, cursor)
    }
    /// [`rules::open_until`]; a hook like [`Tables::judge`].
    #[inline(always)]
    fn open_until(&self, generation: u32, schedule: u32, now: u64) -> u64
    where
        Self: Sized,
    {
        rules::open_until(self, generation, schedule, now)
    }
    /// [`identity::identity`]; a hook like [`Tables::judge`].
    #[inline(always)]
    fn identity(&self, packet: &mut Packet, addr: &Addr) -> u32
    where
        Self: Sized,
    {
        identity::identity(self, packet, addr)
    }
    /// [`crate::tcp::track`]; a hook like [`Tables::judge`].
    #[inline(always)]
    fn track(&self, view: &mut View, packet: &Packet, side: u32) -> u32 {
        crate::tcp::track(view, packet, side)
    }
    /// [`fragment::later`]; a hook like [`Tables::judge`].
    #[inline(always)]
    fn later_fragment(&self, packet: &mut Packet) -> u32
    where
        Self: Sized,
    {
        fragment::later(self, packet)
    }
    /// [`fragment::first`]; a hook like [`Tables::judge`].
    #[inline(always)]
    fn first_fragment(&self, packet: &Packet) -> u32
    where
        Self: Sized,
    {
        fragment::first(self, packet)
    }
    /// [`cut::cut`]; a hook like [`Tables::judge`].
    #[inline(always)]
    fn cut_off(&self, packet: &mut Packet) -> u32
    where
        Self: Sized,
    {
        cut::cut(self, packet)
    }
    /// [`quarantine::find`]; a hook like [`Tables::judge`].
    #[inline(always)]
    fn find_quarantine(&self, packet: &Packet) -> u32
    where
        Self: Sized,
    {
        quarantine::find(self, packet)
    }
    /// [`staged::refused`]; a hook like [`Tables::judge`].
    #[inline(always)]
    fn unlisted(&self, packet: &mut Packet, key: &ViewKey, net: u16, rule: u16, port: u16) -> u32
    where
        Self: Sized,
    {
        staged::refused(self, packet, key, net, rule, port)
    }
    /// [`staged::leaving`]; a hook like [`Tables::judge`].
    #[inline(always)]
    fn leaves_listed(&self, packet: &mut Packet, key: &ViewKey, to_peer: bool) -> u32
    where
        Self: Sized,
    {
        staged::leaving(self, packet, key, to_peer)
    }
    /// [`local::control_in`]; a hook like [`Tables::judge`].
    #[inline(always)]
    fn control_in(&self, packet: &mut Packet, builtin: u32, net: u32) -> u32
    where
        Self: Sized,
    {
        local::control_in(self, packet, builtin, net)
    }
    /// [`limit::admit`]; a hook like [`Tables::judge`].
    #[inline(always)]
    fn admit(&self, work: &Work, now: u64, what: u32) -> u32
    where
        Self: Sized,
    {
        limit::admit(self, work, now, what)
    }
    /// [`limit::claim`]; a hook like [`Tables::judge`].
    #[inline(always)]
    fn claim(&self, work: &Work, now: u64, most: u32, per_host: u32) -> u32
    where
        Self: Sized,
    {
        limit::claim(self, work, now, most, per_host)
    }
    /// [`limit::paces`]; a hook like [`Tables::judge`].
    #[inline(always)]
    fn paces(&self, work: &Work, now: u64, take: u32) -> bool
    where
        Self: Sized,
    {
        limit::paces(self, work, now, take)
    }
    /// [`limit::enter`]; a hook like [`Tables::judge`].
    #[inline(always)]
    fn enter(&self, work: &Work, what: u32) -> bool
    where
        Self: Sized,
    {
        limit::enter(self, work, what)
    }
    /// [`limit::sit`]; a hook like [`Tables::judge`].
    #[inline(always)]
    fn sit(&self, work: &Work, now: u64, number: u32, index: u32, per_host: u32) -> u32
    where
        Self: Sized,
    {
        limit::sit(self, work, now, number, index, per_host)
    }
    /// [`limit::held`]; a hook like [`Tables::judge`].
    #[inline(always)]
    fn held(&self, place: &Seat, key: &ViewKey, now: u64) -> u32
    where
        Self: Sized,
    {
        limit::held(self, place, key, now)
    }
}
