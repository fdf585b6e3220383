//! On what somebody may act who may not act on everything.

use crate::{
    cutoff::{Object, resolve},
    policy::model::Policy,
};

/// The first object that lies in none of those in `scope`; an empty scope is everything.
pub(super) fn outside<'o>(asked: &'o [Object], scope: &[Object], policy: Option<&Policy>) -> Option<&'o Object> {
    let holds = |object: &&Object| scope.iter().any(|allowed| within(object, allowed, policy));
    if scope.is_empty() { None } else { asked.iter().find(|object| !holds(object)) }
}

/// Whether `asked` is `allowed`, or lies in it with all that it covers.
fn within(asked: &Object, allowed: &Object, policy: Option<&Policy>) -> bool {
    if *allowed == Object::All || allowed.is(asked) {
        return true;
    }
    let Object::Host { .. } = asked else {
        let (Object::Prefix { prefix: asked }, Object::Prefix { prefix: allowed }) = (asked, allowed) else {
            return false;
        };
        return allowed.contains(asked);
    };
    let Ok(covers) = resolve::covers(asked, policy) else { return false };
    match allowed {
        Object::Host { .. } => resolve::covers(allowed, policy).is_ok_and(|allowed| {
            let addresses = covers.addresses.iter().all(|address| allowed.addresses.contains(address));
            addresses && covers.macs.iter().all(|mac| allowed.macs.contains(mac))
        }),
        Object::Prefix { prefix } => {
            !covers.addresses.is_empty() && covers.addresses.iter().all(|address| prefix.contains(address))
        }
        Object::Zone { name } | Object::Network { name } => {
            policy.is_some_and(|policy| resolve::lives_in(policy, &covers, name))
        }
        Object::All => true,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::policy::load;

    fn object(text: &str) -> Object {
        match text.split_once(' ') {
            Some(("host", name)) => Object::host(name).unwrap(),
            Some(("prefix", prefix)) => Object::prefix(prefix).unwrap(),
            Some(("zone", name)) => Object::Zone { name: name.into() },
            Some((_, name)) => Object::Network { name: name.into() },
            None => Object::All,
        }
    }

    #[test]
    fn what_lies_in_it_is_permitted_and_nothing_else() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/minimal.yaml");
        let policy = load(&file).policy.unwrap();
        let permits = |allowed: &str, asked: &str| {
            let (asked, scope) = ([object(asked)], [object(allowed)]);
            outside(&asked, &scope, Some(&policy)).is_none()
        };
        for (allowed, asked) in [
            ("all", "network internet"),
            ("network internet", "network internet"),
            ("zone office", "network office"),
            ("zone office", "host pc-1"),
            ("zone office", "host 192.168.1.77"),
            ("zone office", "host 02:00:00:00:01:11"),
            ("network internet", "host 198.51.100.5"),
            ("host pc-1", "host 192.168.1.11"),
            ("host 192.168.1.11", "host pc-1"),
            ("prefix 198.51.100.0/24", "prefix 198.51.100.0/28"),
            ("prefix 198.51.100.0/24", "host 198.51.100.9"),
        ] {
            assert!(permits(allowed, asked), "{allowed}: {asked}");
        }
        for (allowed, asked) in [
            ("network internet", "all"),
            ("network internet", "zone office"),
            ("network internet", "host pc-1"),
            ("zone office", "host 198.51.100.5"),
            ("zone office", "host 02:00:00:00:77:77"),
            ("zone office", "prefix 192.168.1.0/28"),
            ("zone nowhere", "host pc-1"),
            ("host pc-1", "host 192.168.1.12"),
            ("host pc-1", "zone office"),
            ("host 192.168.1.77", "host pc-1"),
            ("prefix 198.51.100.0/28", "prefix 198.51.100.0/24"),
            ("prefix 192.168.1.0/24", "host pc-1"),
            ("prefix 0.0.0.0/1", "host 02:00:00:00:77:77"),
        ] {
            assert!(!permits(allowed, asked), "{allowed}: {asked}");
        }
        let several = [object("zone office"), object("all")];
        assert_eq!(outside(&several, &several[..1], Some(&policy)), Some(&Object::All));
        assert_eq!(outside(&several, &[], None), None, "no scope is everything");
    }
}
