//! From the live views to records.
//!
//! The data plane pays nothing for it: a view says who, when and by which rule already. What a walk finds for the first time
//! began; what it found before and finds no more, or finds past its idle limit, is over. A view stays in its table past its
//! end until its room is needed, so that what began and ended between two walks, or while no agent ran, is found as well. Only
//! what was pushed out of a full table, or replaced by its own successor, before any walk is missed; the rules' counters tell
//! how many those are.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    hash::Hash,
    sync::Arc,
};

use sekimori_ebpf::{
    abi::{
        MacKey, PortKey, ROLE_BOX_IN, ROLE_BOX_OUT, ROLE_RESPONDER, STATE_OPENING, Settings, View, ViewKey, ViewKey4,
        proto,
    },
    decide::flow,
    reason::Reason,
};

use super::{
    format::Walk,
    record::{Addr, Kind, Record},
};

/// How often a conversation that goes on is recorded again.
const AGAIN: i64 = 3_600_000;
/// A correction of the clock below this moves no conversation's beginning.
const SLEW: i64 = 1_000;
/// Revisions whose devices are remembered: views name devices by the numbers of the one that judged them.
const REVISIONS: usize = 4;

/// What numbers mean in the revision in force.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// The generation it was switched on with.
    pub base: u32,
    /// Zones and networks, `box` among them.
    pub nets: BTreeMap<u16, Arc<str>>,
    /// Rules by slot.
    pub rules: BTreeMap<u32, Arc<str>>,
    /// Guarded interfaces.
    pub interfaces: BTreeMap<u16, Arc<str>>,
    /// Where packets of an interface and tag belong.
    pub ports: HashMap<PortKey, u16>,
    /// Devices by number.
    pub devices: Vec<Arc<str>>,
    /// Devices by MAC.
    pub by_mac: HashMap<MacKey, u32>,
    /// Devices by address.
    pub by_address: HashMap<Addr, u32>,
}

impl Names {
    fn none() -> Arc<str> {
        Arc::from("")
    }

    /// A zone or network; empty for none.
    pub fn net(&self, net: u16) -> Arc<str> {
        match self.nets.get(&net) {
            _ if net == 0 => Self::none(),
            Some(name) => Arc::clone(name),
            None => format!("net-{net}").into(),
        }
    }

    /// A rule.
    pub fn rule(&self, slot: u32) -> Arc<str> {
        self.rules.get(&slot).cloned().unwrap_or_else(|| format!("slot-{slot}").into())
    }

    /// A device; empty for none.
    pub fn device(&self, number: u32) -> Arc<str> {
        let named = usize::try_from(number).ok().filter(|number| *number != 0);
        named.and_then(|number| self.devices.get(number)).cloned().unwrap_or_else(Self::none)
    }

    fn interface(&self, id: u16) -> Arc<str> {
        self.interfaces.get(&id).cloned().unwrap_or_else(|| format!("#{id}").into())
    }
}

/// What a walk is told besides the views.
#[derive(Debug, Clone)]
pub struct Scene {
    /// See [`Names`].
    pub names: Arc<Names>,
    /// Idle limits.
    pub settings: Settings,
    /// When the walk begins, `CLOCK_BOOTTIME` nanoseconds; before any view is read.
    pub now: u64,
    /// Unix time then, milliseconds.
    pub wall: i64,
    /// Conversations all rules together have opened, read before any view is.
    pub opened: u64,
}

/// A conversation that lives.
#[derive(Debug, Clone)]
struct Live {
    opened: u64,
    seen: u64,
    /// When its first packet came, milliseconds of Unix time; fixed when it was found.
    first: i64,
    /// When it was last recorded.
    written: i64,
    device: u32,
    turn: u32,
    slot: u16,
    net: u16,
    role: u8,
    answered: bool,
}

/// Everything that lives, as of the last walk.
#[derive(Debug, Default)]
pub struct Tracker {
    v4: HashMap<ViewKey4, Live>,
    v6: HashMap<ViewKey, Live>,
    turn: u32,
    /// The walk before.
    before: Walk,
    /// The first walk of this agent: what began before the last one of the agent before it is recorded already.
    resumes: bool,
    /// Devices by name, numbered as they come.
    devices: Vec<Arc<str>>,
    device_numbers: HashMap<Arc<str>, u32>,
    revisions: Vec<Arc<Names>>,
    missing: Missing,
}

/// How many conversations no walk found.
#[derive(Debug, Default)]
struct Missing {
    /// Counted from here.
    base: u64,
    /// Those found are counted if they began after this.
    since: u64,
    found: u64,
    most: u64,
    /// With tables that are gone.
    before: u64,
    known: bool,
}

/// A walk under way.
pub struct Walking<'a> {
    tracker: &'a mut Tracker,
    scene: &'a Scene,
    walk: Walk,
    sink: &'a mut dyn FnMut(Record),
}

impl Tracker {
    /// Goes on where an earlier agent stopped: `before` is the last walk that is on disk.
    pub fn new(before: Walk, boot: [u8; 16]) -> Self {
        let same_boot = before.boot == boot;
        let missing = Missing { base: before.opened, since: before.at, known: same_boot, ..Missing::default() };
        let before = if same_boot { before } else { Walk { boot, ..Walk::default() } };
        Self { before, resumes: same_boot, missing, ..Self::default() }
    }

    /// Conversations alive at the last walk.
    pub fn live(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Conversations that no walk found, as far as that can be told.
    pub fn missed(&self) -> u64 {
        self.missing.before + self.missing.most
    }

    /// From `CLOCK_BOOTTIME` to Unix time, milliseconds. Kept as long as it is right to a second, so that one conversation has
    /// one beginning.
    pub fn offset(&self, scene: &Scene) -> i64 {
        let actual = scene.wall - i64::try_from(scene.now / 1_000_000).unwrap_or(0);
        let keep = self.before.at != 0 && actual.abs_diff(self.before.offset) < SLEW.unsigned_abs();
        if keep { self.before.offset } else { actual }
    }

    /// Begins a walk. Records go to `sink` as they are made.
    pub fn begin<'a>(&'a mut self, scene: &'a Scene, sink: &'a mut dyn FnMut(Record)) -> Walking<'a> {
        self.turn = self.turn.wrapping_add(1);
        let offset = self.offset(scene);
        if self.revisions.first().is_none_or(|names| !Arc::ptr_eq(names, &scene.names)) {
            self.revisions.retain(|names| names.base != scene.names.base);
            self.revisions.insert(0, Arc::clone(&scene.names));
            self.revisions.truncate(REVISIONS);
        }
        if !self.missing.known || scene.opened < self.missing.base {
            // Nothing to count from, or other tables: everything before is gone.
            let before = self.missed();
            self.missing = Missing { base: scene.opened, since: scene.now, known: true, found: 0, most: 0, before };
        }
        let walk = Walk { boot: self.before.boot, at: scene.now, offset, opened: scene.opened };
        Walking { tracker: self, scene, walk, sink }
    }

    /// The number under which a device's name is remembered. A view's number belongs to the revision that judged it.
    fn device(&mut self, number: u32, generation: u32) -> u32 {
        let revision = self.revisions.iter().find(|names| names.base <= generation);
        let name = revision.map_or_else(Names::none, |names| names.device(number));
        if let Some(known) = self.device_numbers.get(&name) {
            return *known;
        }
        let next = u32::try_from(self.devices.len()).unwrap_or(u32::MAX);
        self.devices.push(Arc::clone(&name));
        self.device_numbers.insert(name, next);
        next
    }
}

impl Walking<'_> {
    /// A view of IPv4.
    pub fn see4(&mut self, key: &ViewKey4, view: &View) {
        if let Some(mut live) = self.look(key.proto, view) {
            let now = self.now(key.proto, view);
            let said = settle(self.tracker.v4.entry(*key), &mut live, &now);
            self.tell(&key.long(), said, &live);
        }
    }

    /// A view of IPv6.
    pub fn see6(&mut self, key: &ViewKey, view: &View) {
        if let Some(mut live) = self.look(key.proto, view) {
            let now = self.now(key.proto, view);
            let said = settle(self.tracker.v6.entry(*key), &mut live, &now);
            self.tell(key, said, &live);
        }
    }

    /// What a view says, as a conversation; `None` for the far half of one.
    fn look(&mut self, protocol: u8, view: &View) -> Option<Live> {
        if view.role == ROLE_RESPONDER {
            return None;
        }
        let first = i64::try_from(view.opened / 1_000_000).unwrap_or(0).saturating_add(self.walk.offset);
        // A TCP that went from opening to closed without a SYN+ACK was turned away, not answered.
        let answered = view.state > STATE_OPENING && (protocol != proto::TCP || view.tcp[1].flags != 0);
        Some(Live {
            opened: view.opened,
            seen: view.seen.max(view.opened),
            first,
            written: self.scene.wall,
            device: self.tracker.device(view.device, view.generation),
            turn: self.tracker.turn,
            slot: view.slot,
            net: view.net,
            role: view.role,
            answered,
        })
    }

    fn now(&self, protocol: u8, view: &View) -> Now {
        let ends = view.seen.saturating_add(flow::idle_limit(view, protocol, &self.scene.settings));
        Now {
            dead: self.scene.now > ends,
            // The walk before found it dead as well, by the same rule.
            old: self.tracker.before.at > ends,
            known: self.tracker.resumes && view.opened <= self.tracker.before.at,
            wall: self.scene.wall,
        }
    }

    fn tell(&mut self, key: &ViewKey, said: Said, live: &Live) {
        if let Some(old) = said.replaced {
            self.write(key, Kind::Ended, &old);
        }
        if let Some(kind) = said.kind {
            if matches!(kind, Kind::Began | Kind::Whole) && live.opened > self.tracker.missing.since {
                self.tracker.missing.found += 1;
            }
            self.write(key, kind, live);
        }
    }

    fn write(&mut self, key: &ViewKey, kind: Kind, live: &Live) {
        let record = self.record(key, kind, live);
        (self.sink)(record);
    }

    fn record(&self, key: &ViewKey, kind: Kind, live: &Live) -> Record {
        let names = &self.scene.names;
        let by_box = live.role == ROLE_BOX_OUT;
        let ends = [(key.peer, key.peer_port), (key.far, key.far_port)];
        let [(host, host_port), (peer, peer_port)] = if by_box { [ends[1], ends[0]] } else { ends };
        let echo = key.proto == proto::ICMP || key.proto == proto::ICMPV6;
        let port = PortKey { iface: key.iface, outer: key.outer, inner: key.inner, pad: 0 };
        let here = names.ports.get(&port).copied().unwrap_or(0);
        let boxed = || names.net(sekimori_ebpf::abi::NET_BOX);
        let span = i64::try_from(live.seen.saturating_sub(live.opened) / 1_000_000).unwrap_or(0);
        Record {
            kind,
            first: live.first,
            last: Record::rounded(live.first, live.first.saturating_add(span)),
            host,
            host_port,
            peer,
            peer_port: if echo { 0 } else { peer_port },
            proto: key.proto,
            zone: if by_box { boxed() } else { names.net(here) },
            network: if live.role == ROLE_BOX_IN { boxed() } else { names.net(live.net) },
            interface: if by_box { Names::none() } else { names.interface(key.iface) },
            vlan: key.outer,
            device: self.tracker.devices.get(live.device as usize).cloned().unwrap_or_else(Names::none),
            rule: names.rule(u32::from(live.slot)),
            reason: Reason::Rule as u8,
            outwards: false,
            answered: live.answered,
            count: 1,
        }
    }

    /// Every view was seen: what was not among them is over. Not to be called if some could not be read.
    pub fn finish(mut self) -> Walk {
        let turn = self.tracker.turn;
        let gone = |live: &mut Live| live.turn != turn;
        let gone4: Vec<_> = self.tracker.v4.extract_if(|_, live| gone(live)).collect();
        let gone6: Vec<_> = self.tracker.v6.extract_if(|_, live| gone(live)).collect();
        for (key, live) in gone4 {
            self.write(&key.long(), Kind::Ended, &live);
        }
        for (key, live) in gone6 {
            self.write(&key, Kind::Ended, &live);
        }
        let missing = &mut self.tracker.missing;
        let opened = self.scene.opened.saturating_sub(missing.base);
        // Found ones may have been opened after the counters were read, so this is never too much; and what was missed once
        // is not found later.
        missing.most = missing.most.max(opened.saturating_sub(missing.found));
        self.tracker.before = self.walk;
        self.tracker.resumes = false;
        self.walk
    }
}

/// How a view stands at this walk.
struct Now {
    dead: bool,
    old: bool,
    known: bool,
    wall: i64,
}

/// What is to be recorded of a view.
#[derive(Default)]
struct Said {
    kind: Option<Kind>,
    /// Another conversation had its key before.
    replaced: Option<Live>,
}

/// Takes note of a view and says what is to be recorded of it.
fn settle<K: Eq + Hash>(entry: Entry<'_, K, Live>, live: &mut Live, now: &Now) -> Said {
    let fresh = |replaced: Option<Live>| {
        let kind = match (now.dead, now.old, now.known) {
            (true, true, _) => None,
            (true, false, true) => Some(Kind::Ended),
            (true, false, false) => Some(Kind::Whole),
            (false, _, true) => None,
            (false, _, false) => Some(Kind::Began),
        };
        Said { kind, replaced }
    };
    match entry {
        Entry::Occupied(mut known) if known.get().opened == live.opened => {
            let before = known.get();
            live.first = before.first;
            live.written = before.written;
            live.answered |= before.answered;
            if now.dead {
                known.remove();
                return Said { kind: Some(Kind::Ended), replaced: None };
            }
            let again = now.wall.saturating_sub(live.written) >= AGAIN;
            if again {
                live.written = now.wall;
            }
            known.insert(live.clone());
            Said { kind: again.then_some(Kind::GoesOn), replaced: None }
        }
        Entry::Occupied(mut other) => {
            let replaced = if now.dead { other.remove() } else { other.insert(live.clone()) };
            fresh(Some(replaced))
        }
        Entry::Vacant(free) => {
            let said = fresh(None);
            if !now.dead {
                free.insert(live.clone());
            }
            said
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::Ipv4Addr;

    use sekimori_ebpf::abi::{ROLE_INITIATOR, STATE_CLOSED, STATE_ESTABLISHED, timeout};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn names() -> Arc<Names> {
        Arc::new(Names {
            base: 2,
            nets: [(1, "office"), (2, "internet"), (255, "box")].map(|(id, name)| (id, Arc::from(name))).into(),
            rules: [(7, "office-web")].map(|(id, name)| (id, Arc::from(name))).into(),
            interfaces: [(3, "lan0")].map(|(id, name)| (id, Arc::from(name))).into(),
            ports: [(PortKey { iface: 3, outer: 0, inner: 0, pad: 0 }, 1)].into(),
            devices: vec!["".into(), "pc-1".into()],
            ..Names::default()
        })
    }

    fn key(port: u16) -> ViewKey4 {
        let address = |addr: Ipv4Addr| u32::from_ne_bytes(addr.octets());
        ViewKey4 {
            peer: address(Ipv4Addr::new(192, 168, 10, 17)),
            far: address(Ipv4Addr::new(198, 51, 100, 5)),
            peer_port: port,
            far_port: 443,
            iface: 3,
            proto: proto::TCP,
            ..ViewKey4::default()
        }
    }

    fn view(opened: u64, seen: u64, state: u8) -> View {
        let mut view = View {
            opened: opened * SECOND,
            seen: seen * SECOND,
            state,
            role: ROLE_INITIATOR,
            slot: 7,
            net: 2,
            device: 1,
            generation: 2,
            ..View::default()
        };
        view.tcp[1].flags = 1;
        view
    }

    fn scene(now: u64, opened: u64) -> Scene {
        let settings = Settings { timeouts: timeout::DEFAULTS, ..Settings::default() };
        Scene { names: names(), settings, now: now * SECOND, wall: 1_000_000 + now.cast_signed() * 1000, opened }
    }

    /// One walk over these views.
    fn walk(tracker: &mut Tracker, now: u64, opened: u64, views: &[(ViewKey4, View)]) -> Vec<Record> {
        let mut records = Vec::new();
        let scene = scene(now, opened);
        let mut sink = |record| records.push(record);
        let mut walking = tracker.begin(&scene, &mut sink);
        views.iter().for_each(|(key, view)| walking.see4(key, view));
        walking.finish();
        records
    }

    fn kinds(records: &[Record]) -> Vec<(Kind, u16)> {
        let mut kinds: Vec<_> = records.iter().map(|record| (record.kind, record.host_port)).collect();
        kinds.sort_by_key(|(kind, port)| (*port, *kind as u8));
        kinds
    }

    fn fresh() -> Tracker {
        Tracker::new(Walk::default(), [1; 16])
    }

    #[test]
    fn a_conversation_begins_goes_on_and_ends_once() {
        let mut tracker = fresh();
        let alive = |seen| [(key(4000), view(95, seen, STATE_ESTABLISHED))];
        let records = walk(&mut tracker, 100, 0, &alive(99));
        assert_eq!(kinds(&records), [(Kind::Began, 4000)]);
        let record = &records[0];
        assert_eq!((record.first, record.last), (1_095_000, 1_099_000));
        assert_eq!(
            (&*record.zone, &*record.network, &*record.interface, &*record.device, &*record.rule),
            ("office", "internet", "lan0", "pc-1", "office-web")
        );
        assert_eq!((record.peer_port, record.answered), (443, true));
        assert_eq!(kinds(&walk(&mut tracker, 110, 0, &alive(109))), []);
        assert_eq!(kinds(&walk(&mut tracker, 3_700, 0, &alive(3_699))), [(Kind::GoesOn, 4000)]);
        assert_eq!(kinds(&walk(&mut tracker, 3_710, 0, &alive(3_709))), []);
        let closed = [(key(4000), view(95, 3_712, STATE_CLOSED))];
        assert_eq!(kinds(&walk(&mut tracker, 3_720, 0, &closed)), []);
        let records = walk(&mut tracker, 3_730, 0, &closed);
        assert_eq!(kinds(&records), [(Kind::Ended, 4000)]);
        assert_eq!((records[0].first, records[0].last), (1_095_000, 1_000_000 + 3_712_000));
        // Its view stays in the table, and is no news.
        assert_eq!(kinds(&walk(&mut tracker, 3_740, 0, &closed)), []);
        assert_eq!(tracker.live(), 0);
    }

    #[test]
    fn what_lived_between_two_walks_is_whole_and_what_vanished_is_over() {
        let mut tracker = fresh();
        walk(&mut tracker, 100, 0, &[(key(1), view(99, 99, STATE_ESTABLISHED))]);
        let short = (key(2), view(101, 102, STATE_CLOSED));
        let records = walk(&mut tracker, 120, 0, &[short]);
        assert_eq!(kinds(&records), [(Kind::Ended, 1), (Kind::Whole, 2)]);
        assert_eq!(kinds(&walk(&mut tracker, 130, 0, &[short])), []);
        // The same ports again: the old one is over (and said to be), the new one begins.
        walk(&mut tracker, 140, 0, &[(key(3), view(135, 139, STATE_ESTABLISHED))]);
        let records = walk(&mut tracker, 150, 0, &[(key(3), view(145, 149, STATE_ESTABLISHED))]);
        assert_eq!(kinds(&records), [(Kind::Began, 3), (Kind::Ended, 3)]);
        assert_ne!(records[0].first, records[1].first);
    }

    #[test]
    fn the_next_agent_goes_on_where_the_last_one_stopped() {
        let views = [
            (key(1), view(90, 195, STATE_ESTABLISHED)),
            (key(2), view(95, 105, STATE_CLOSED)),
            (key(3), view(150, 160, STATE_CLOSED)),
            (key(4), view(170, 199, STATE_ESTABLISHED)),
            (key(5), view(50, 60, STATE_CLOSED)),
        ];
        let last = Walk { boot: [1; 16], at: 100 * SECOND, offset: 1_000_000, opened: 0 };
        let mut tracker = Tracker::new(last, [1; 16]);
        let found = kinds(&walk(&mut tracker, 200, 0, &views));
        assert_eq!(found, [(Kind::Ended, 2), (Kind::Whole, 3), (Kind::Began, 4)]);
        assert_eq!(kinds(&walk(&mut tracker, 210, 0, &views)), []);
        // After a reboot nothing is known, and the clock of the boot began anew.
        let mut tracker = Tracker::new(last, [2; 16]);
        let found = kinds(&walk(&mut tracker, 200, 0, &views));
        assert_eq!(found.len(), 5);
    }

    #[test]
    fn a_slewed_clock_moves_no_beginning_and_a_step_does() {
        let mut tracker = fresh();
        let first = |tracker: &mut Tracker, now: u64, shift: i64, port: u16| {
            let mut found = 0;
            let moved = Scene { wall: 1_000_000 + now.cast_signed() * 1000 + shift, ..scene(now, 0) };
            let mut sink = |record: Record| {
                if record.kind == Kind::Began {
                    found = record.first;
                }
            };
            let mut walking = tracker.begin(&moved, &mut sink);
            walking.see4(&key(port), &view(now - 1, now, STATE_ESTABLISHED));
            walking.finish();
            found
        };
        assert_eq!(first(&mut tracker, 100, 0, 1), 1_099_000);
        assert_eq!(first(&mut tracker, 110, 700, 2), 1_109_000);
        assert_eq!(first(&mut tracker, 120, 5_000, 3), 1_124_000);
    }

    #[test]
    fn what_no_walk_found_is_counted() {
        let mut tracker = fresh();
        walk(&mut tracker, 100, 1_000, &[]);
        assert_eq!(tracker.missed(), 0);
        let one = (key(1), view(105, 106, STATE_ESTABLISHED));
        walk(&mut tracker, 110, 1_001, &[one]);
        assert_eq!(tracker.missed(), 0);
        walk(&mut tracker, 120, 1_041, &[one]);
        assert_eq!(tracker.missed(), 40);
        // One that was counted only after it was found makes up for nothing.
        walk(&mut tracker, 130, 1_041, &[one, (key(2), view(125, 126, STATE_ESTABLISHED))]);
        assert_eq!(tracker.missed(), 40);
        // Other tables begin at 0.
        walk(&mut tracker, 140, 3, &[]);
        walk(&mut tracker, 150, 5, &[]);
        assert_eq!(tracker.missed(), 42);
    }

    #[test]
    fn a_device_is_named_by_the_revision_that_judged_the_view() {
        let mut tracker = fresh();
        let mut found = Vec::new();
        let old = scene(100, 0);
        let renumbered =
            Names { base: 3, devices: vec!["".into(), "pc-0".into(), "pc-1".into()], ..(*names()).clone() };
        let new = Scene { names: Arc::new(renumbered), ..scene(110, 0) };
        for (scene, generation, device, port) in [(&old, 2, 1, 1), (&new, 2, 1, 2), (&new, 3, 2, 3), (&new, 5, 1, 4)] {
            let mut sink = |record: Record| {
                if record.kind == Kind::Began {
                    found.push((record.host_port, record.device.to_string()));
                }
            };
            let mut walking = tracker.begin(scene, &mut sink);
            let judged = View { generation, device, ..view(99, 100, STATE_ESTABLISHED) };
            walking.see4(&key(port), &judged);
            walking.finish();
        }
        let expected = [(1, "pc-1"), (2, "pc-1"), (3, "pc-1"), (4, "pc-0")].map(|(port, name)| (port, name.to_owned()));
        assert_eq!(found, expected);
    }

    #[test]
    fn the_box_is_a_host_like_any_other() {
        let mut tracker = fresh();
        let out = View { role: ROLE_BOX_OUT, ..view(99, 100, STATE_ESTABLISHED) };
        let record = walk(&mut tracker, 100, 0, &[(key(53), out)]).pop().unwrap();
        assert_eq!((&*record.zone, record.host_port, record.peer_port), ("box", 443, 53));
        let inwards = View { role: ROLE_BOX_IN, ..view(99, 100, STATE_ESTABLISHED) };
        let record = walk(&mut tracker, 110, 0, &[(key(54), inwards)]).into_iter().find(|r| r.host_port == 54).unwrap();
        assert_eq!((&*record.zone, &*record.network), ("office", "box"));
    }
}
