//! Who is on the other end of the socket, and what that user may ask.

use std::{ffi::CString, fs};

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use crate::{
    agent::config::Roles,
    record::{Actor, Who},
};

/// What a peer may do; a later one may do all that an earlier one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// May look.
    Viewer,
    /// May change things.
    Operator,
}

impl Role {
    /// As in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
        }
    }
}

/// A peer, as the kernel vouches for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// User.
    pub uid: u32,
    /// Primary group of the process.
    pub gid: u32,
    /// Process; 0 if it lives in another pid namespace.
    pub pid: i32,
}

/// The groups of the configuration, looked up; a group that does not exist gives nobody a role.
#[derive(Debug, Clone, Default)]
pub struct Groups {
    operator: Option<Gid>,
    viewer: Option<Gid>,
}

impl Groups {
    /// Looks the groups up.
    pub fn find(roles: &Roles) -> Self {
        let gid = |name: &str| Group::from_name(name).ok().flatten().map(|group| group.gid);
        Self { operator: gid(&roles.operator), viewer: gid(&roles.viewer) }
    }

    /// Whether anybody but root can have a role.
    pub fn any(&self) -> bool {
        self.operator.is_some() || self.viewer.is_some()
    }

    /// The role of a peer: root is an operator; others by the groups of their process and of their user.
    pub fn role(&self, peer: Peer) -> Option<Role> {
        if peer.uid == 0 {
            return Some(Role::Operator);
        }
        self.role_of(&memberships(peer))
    }

    fn role_of(&self, groups: &[Gid]) -> Option<Role> {
        let holds = |gid: Option<Gid>| gid.is_some_and(|gid| groups.contains(&gid));
        if holds(self.operator) {
            Some(Role::Operator)
        } else if holds(self.viewer) {
            Some(Role::Viewer)
        } else {
            None
        }
    }
}

fn memberships(peer: Peer) -> Vec<Gid> {
    let primary = Gid::from_raw(peer.gid);
    let listed = User::from_uid(Uid::from_raw(peer.uid))
        .ok()
        .flatten()
        .and_then(|user| CString::new(user.name).ok().map(|name| (name, user.gid)))
        .and_then(|(name, gid)| getgrouplist(&name, gid).ok());
    let mut groups = listed.unwrap_or_default();
    groups.push(primary);
    groups
}

/// A peer as an actor of the record.
pub fn actor(peer: Peer, role: &str, claims_from: Option<String>) -> Actor {
    let name = User::from_uid(Uid::from_raw(peer.uid)).ok().flatten().map(|user| user.name);
    Actor {
        name: name.unwrap_or_else(|| peer.uid.to_string()),
        role: role.to_owned(),
        who: Who::Process { uid: peer.uid, pid: peer.pid, login_uid: login_uid(peer.pid), claims_from },
    }
}

/// The user behind `sudo`, where the audit system keeps one (`loginuid` of the process; 2^32 - 1 is unset).
fn login_uid(pid: i32) -> Option<u32> {
    if pid <= 0 {
        return None;
    }
    let text = fs::read_to_string(format!("/proc/{pid}/loginuid")).ok()?;
    text.trim().parse().ok().filter(|uid| *uid != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups() -> Groups {
        Groups { operator: Some(Gid::from_raw(4001)), viewer: Some(Gid::from_raw(4002)) }
    }

    #[test]
    fn root_operates_and_strangers_have_no_role() {
        assert_eq!(groups().role(Peer { uid: 0, gid: 0, pid: 1 }), Some(Role::Operator));
        assert_eq!(Groups::default().role(Peer { uid: 0, gid: 0, pid: 1 }), Some(Role::Operator));
        assert_eq!(groups().role(Peer { uid: 65_534, gid: 65_534, pid: 1 }), None);
        assert_eq!(Groups::default().role(Peer { uid: 65_534, gid: 65_534, pid: 1 }), None);
    }

    #[test]
    fn the_higher_group_decides() {
        let gid = Gid::from_raw;
        assert_eq!(groups().role_of(&[gid(1), gid(4002)]), Some(Role::Viewer));
        assert_eq!(groups().role_of(&[gid(4002), gid(4001)]), Some(Role::Operator));
        assert_eq!(groups().role_of(&[gid(4000)]), None);
        assert_eq!(groups().role(Peer { uid: 65_534, gid: 4002, pid: 1 }), Some(Role::Viewer));
    }
}
