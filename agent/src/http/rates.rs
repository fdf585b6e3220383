//! How often somebody may ask. Each has a debt that time pays off, as instants (the generic cell rate algorithm): nothing to
//! count down, nothing to reset.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Those in debt that are told apart; beyond, new ones wait until somebody has paid.
const ROOM: usize = 4096;

/// One limit.
#[derive(Debug)]
pub(super) struct Rate<K> {
    every: Duration,
    burst: u32,
    /// When each will have paid.
    debts: Mutex<HashMap<K, Instant>>,
}

impl<K: Hash + Eq> Rate<K> {
    /// One in `every`, and `burst` at one instant after a pause.
    pub(super) fn new(every: Duration, burst: u32) -> Self {
        Self { every, burst, debts: Mutex::default() }
    }

    /// Takes one; an error says how long to wait.
    pub(super) fn take(&self, key: K, now: Instant) -> Result<(), Duration> {
        let mut debts = self.debts.lock().unwrap_or_else(PoisonError::into_inner);
        if debts.len() >= ROOM && !debts.contains_key(&key) {
            debts.retain(|_, paid| *paid > now);
            if debts.len() >= ROOM {
                return Err(self.every);
            }
        }
        let paid = debts.entry(key).or_insert(now);
        let next = (*paid).max(now) + self.every;
        let ahead = next.duration_since(now).saturating_sub(self.every * self.burst);
        if !ahead.is_zero() {
            return Err(ahead);
        }
        *paid = next;
        Ok(())
    }
}

/// Whom an address stands for: over IPv6 a host has a whole /64 to choose from.
pub(super) fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_then_one_in_a_while_and_nobody_pays_for_another() {
        let rate = Rate::new(SECOND, 3);
        let now = Instant::now();
        for _ in 0..3 {
            assert_eq!(rate.take("a", now), Ok(()));
        }
        assert_eq!(rate.take("a", now), Err(SECOND));
        assert_eq!(rate.take("b", now), Ok(()));
        assert_eq!(rate.take("a", now + SECOND / 2), Err(SECOND / 2));
        assert_eq!(rate.take("a", now + SECOND), Ok(()));
        assert!(rate.take("a", now + SECOND).is_err());
        for _ in 0..3 {
            assert_eq!(rate.take("a", now + 60 * SECOND), Ok(()));
        }
    }

    #[test]
    fn many_do_not_make_it_grow() {
        let rate = Rate::new(SECOND, 1);
        let now = Instant::now();
        for number in 0..ROOM {
            assert_eq!(rate.take(number, now), Ok(()));
        }
        assert!(rate.take(ROOM, now).is_err(), "no room for one more in debt");
        assert_eq!(rate.take(ROOM, now + SECOND), Ok(()));
        assert_eq!(rate.debts.lock().map(|debts| debts.len()).unwrap_or(0), 1);
    }

    #[test]
    fn a_host_is_its_v6_network() {
        let host = |text: &str| text.parse().map(host).ok().map(|address| address.to_string());
        assert_eq!(host("2001:db8:1:2:3:4:5:6").as_deref(), Some("2001:db8:1:2::"));
        assert_eq!(host("::ffff:192.0.2.7").as_deref(), Some("192.0.2.7"));
    }
}
