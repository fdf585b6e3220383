//! How many conversations a rule lets live at once, and how fast it lets new ones begin (step 16).

use std::net::IpAddr;

use jiff::Timestamp;
use sekimori::policy::model::{Limits, Policy, Rate};
use sekimori_ebpf::reason::Reason;

use super::{
    state::{Key, OracleState, View},
    tcp::Phase,
};

/// A place a conversation took.
#[derive(Debug, Clone)]
pub struct Place {
    /// The rule whose place it is.
    pub rule: String,
    /// The host whose place it is, if it is one of those each host has.
    pub host: Option<IpAddr>,
    /// Which of them.
    pub number: u32,
    /// The conversation that took it.
    pub key: Key,
    /// When that conversation began.
    pub opened: Timestamp,
}

/// Until when what was admitted is used up.
#[derive(Debug, Clone)]
pub struct Pace {
    /// The rule.
    pub rule: String,
    /// The host, if it is the pace of one.
    pub host: Option<IpAddr>,
    /// Nanoseconds since 1970.
    pub until: i128,
}

/// Admits a first packet that this rule permits, or says why not. `key`: the conversation it opens, if any.
pub fn admit(
    policy: &Policy,
    state: &mut OracleState,
    rule: &str,
    host: IpAddr,
    key: Option<&Key>,
    now: Timestamp,
) -> Result<(), Reason> {
    let limits = policy.rules.iter().find(|known| known.id == rule).map_or(Limits::default(), |known| known.limits);
    let whole = next(state, rule, None, limits.new, now)?;
    let own = next(state, rule, Some(host), limits.new_per_host, now)?;
    let mut taken = Vec::new();
    if let Some(key) = key {
        for (limit, host) in [(limits.flows, None), (limits.flows_per_host, Some(host))] {
            let Some(limit) = limit else { continue };
            let free = |number: &u32| !is_held(state, rule, host, *number, key, now);
            let number = (0..limit).find(free).ok_or(Reason::TooManyFlows)?;
            taken.push(Place { rule: rule.to_owned(), host, number, key: key.clone(), opened: now });
        }
    }
    for (host, until) in [(None, whole), (Some(host), own)] {
        let Some(until) = until else { continue };
        state.paces.retain(|pace| pace.rule != rule || pace.host != host);
        state.paces.push(Pace { rule: rule.to_owned(), host, until });
    }
    for place in taken {
        let same = |other: &Place| other.rule == place.rule && other.host == place.host && other.number == place.number;
        state.places.retain(|other| !same(other));
        state.places.push(place);
    }
    Ok(())
}

/// The instant one more would move a pace to.
fn next(
    state: &OracleState,
    rule: &str,
    host: Option<IpAddr>,
    rate: Option<Rate>,
    now: Timestamp,
) -> Result<Option<i128>, Reason> {
    let Some(rate) = rate else { return Ok(None) };
    let now = now.as_nanosecond();
    let until = state.paces.iter().find(|pace| pace.rule == rule && pace.host == host).map_or(now, |pace| pace.until);
    let moved = until.max(now) + i128::from(rate.cost);
    if moved - now > i128::from(rate.cost) * i128::from(rate.burst) {
        return Err(Reason::TooFast);
    }
    Ok(Some(moved))
}

fn is_held(state: &OracleState, rule: &str, host: Option<IpAddr>, number: u32, newcomer: &Key, now: Timestamp) -> bool {
    let holds = |view: &View, place: &Place| {
        let closed = view.tcp.is_some_and(|track| track.phase == Phase::Closed);
        view.key == place.key && view.opened == place.opened && view.is_live(now) && !closed
    };
    state
        .places
        .iter()
        .filter(|place| place.rule == rule && place.host == host && place.number == number && place.key != *newcomer)
        .any(|place| state.views.iter().any(|view| holds(view, place)))
}
