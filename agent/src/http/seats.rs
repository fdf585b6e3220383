//! How many are served at a time, and how many of one address: nobody keeps the others out by holding connections.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// Connections at a time.
const SEATS: usize = 64;
/// Of one address.
const SEATS_EACH: usize = 16;

/// See the module documentation.
#[derive(Debug, Clone, Default)]
pub(super) struct Seats(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection's; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Seats,
    host: IpAddr,
}

impl Seats {
    /// A seat, if there is one.
    pub(super) fn take(&self, host: IpAddr) -> Option<Seat> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let its = taken.get(&host).copied().unwrap_or(0);
        if its >= SEATS_EACH || taken.values().sum::<usize>() >= SEATS {
            return None;
        }
        taken.insert(host, its + 1);
        Some(Seat { seats: self.clone(), host })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.host) {
            Some(its) if *its > 1 => *its -= 1,
            _ => drop(taken.remove(&self.host)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_does_not_take_all_and_seats_come_back() {
        let seats = Seats::default();
        let host = |last| IpAddr::from([192, 0, 2, last]);
        let first: Vec<_> = (0..SEATS).filter_map(|_| seats.take(host(1))).collect();
        assert_eq!(first.len(), SEATS_EACH);
        let others: Vec<_> = (2..=200).filter_map(|last| seats.take(host(last))).collect();
        assert_eq!(first.len() + others.len(), SEATS);
        drop(first);
        assert!(seats.take(host(1)).is_some());
        drop(others);
        assert!(seats.0.lock().is_ok_and(|taken| taken.is_empty()));
    }
}
