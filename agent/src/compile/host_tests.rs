#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::compile::{
    compile,
    registry::Registry,
    testing::{external, policy},
};

fn tables(nets: &[&str]) -> Compiled {
    let mut policy = policy();
    policy.nets = nets.iter().map(|name| external(name, name, &[])).collect();
    compile(&policy, &mut Registry::default()).unwrap()
}

#[test]
fn the_generation_before_stays_readable_and_older_ones_go() {
    let mut host = HostTables::new(1);
    assert_eq!(host.active(), 0);
    let port = |host: &HostTables, generation, iface| host.port(generation, &PortKey { iface, ..PortKey::default() });
    assert_eq!(host.switch(tables(&["a"]), Vec::new()), 1);
    assert_eq!(host.switch(tables(&["a", "b"]), Vec::new()), 2);
    assert_eq!((host.active(), port(&host, 1, 2), port(&host, 2, 2)), (2, 0, 2));
    assert_eq!(port(&host, 1, 1), 1);
    host.switch(tables(&["a"]), Vec::new());
    assert_eq!((port(&host, 1, 1), port(&host, 2, 2), port(&host, 3, 2)), (0, 2, 0));
    // SAFETY: generation 3 is live.
    assert_eq!(unsafe { (*host.config(3)).generation }, 3);
    assert!(host.config(1).is_null());
}

#[test]
fn a_removed_entry_stays_readable_until_settled() {
    let mut host = HostTables::new(2);
    let (key, other) = (ViewKey::default(), ViewKey { proto: 6, ..ViewKey::default() });
    assert!(host.view_insert(&key, &View { slot: 7, ..View::default() }, false));
    let view = host.view(&key);
    // Promotion: inserted from the entry itself, then removed from the other room.
    // SAFETY: the entry exists.
    assert!(host.view_insert(&key, unsafe { &*view }, true));
    host.view_remove(&key, false);
    // SAFETY: removed entries stay until `settle`.
    assert_eq!(unsafe { (*view).slot }, 7);
    assert_ne!(host.view(&key), view);
    assert_eq!(host.views(), [(key, View { slot: 7, ..View::default() }, true)]);
    assert!(host.view_insert(&other, &View::default(), true));
    let third = ViewKey { proto: 17, ..ViewKey::default() };
    assert!(!host.view_insert(&third, &View::default(), true), "the room is full");
    assert!(host.view_insert(&other, &View::default(), true), "replacing needs no room");
    host.settle();
    host.clear_flows();
    assert!(host.view(&key).is_null());
}
