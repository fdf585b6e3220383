//! What of a cut is restored first, while the rest of it stays cut.

use std::fmt;

use schemars::JsonSchema;
use sekimori_ebpf::abi::{MAX_STAGED_SERVICES, proto, staged_service};
use serde::{Deserialize, Serialize};

use super::{
    object::Object,
    overlay::{Covers, Stage},
    resolve,
};
use crate::{
    cli::text::{self, Lang},
    policy::{
        catalogue,
        decode::Leaf as _,
        model::{Policy, Service},
        words::ServiceWord,
    },
};

/// One thing that is restored first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum First {
    /// A machine, on either side: its address, its MAC or the name of a registered device.
    Host {
        /// As written, normalised.
        name: String,
    },
    /// A service, as rules of the policy name them: `https`, `tcp/8443`, a service of the policy's own.
    Service {
        /// As written.
        name: String,
    },
}

/// What cannot be restored first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Neither `host:NAME` nor `service:NAME`.
    Word(String),
    /// Not a machine that anybody knows.
    Host(String),
    /// No such service.
    Service(String),
    /// More services than the tables hold.
    Full(usize),
}

impl Error {
    /// For people.
    pub fn text(&self, lang: Lang) -> String {
        match self {
            Self::Word(word) => text::first_word(lang, word),
            Self::Host(name) => text::first_host(lang, name),
            Self::Service(name) => text::first_service(lang, name),
            Self::Full(limit) => text::first_full(lang, limit),
        }
    }
}

impl First {
    /// From `host:NAME` or `service:NAME`.
    pub fn read(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Word(text.to_owned());
        match text.split_once(':').ok_or_else(wrong)? {
            ("host", name) => Self::Host { name: name.to_owned() }.checked(),
            ("service", name) => Self::Service { name: name.to_owned() }.checked(),
            _ => Err(wrong()),
        }
    }

    /// The same checks for what came over the control socket.
    pub fn checked(self) -> Result<Self, Error> {
        match self {
            Self::Host { name } => match Object::host(&name) {
                Ok(Object::Host { name }) => Ok(Self::Host { name }),
                _ => Err(Error::Host(name)),
            },
            Self::Service { name } => match ServiceWord::parse(&name, true) {
                Ok(_) => Ok(Self::Service { name }),
                Err(_) => Err(Error::Service(name)),
            },
        }
    }
}

impl fmt::Display for First {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { name } => write!(f, "host:{name}"),
            Self::Service { name } => write!(f, "service:{name}"),
        }
    }
}

/// What these stand for now. Kept with the cuts: no later policy lets more through than was shown.
pub fn stage(first: &[First], policy: Option<&Policy>) -> Result<Stage, Error> {
    let mut stage = Stage::default();
    for one in first {
        let one = one.clone().checked()?;
        match &one {
            First::Host { name } => {
                let host = Object::Host { name: name.clone() };
                let covers: Covers = resolve::covers(&host, policy).map_err(|_| Error::Host(name.clone()))?;
                stage.covers.widen(&covers);
            }
            First::Service { name } => {
                for service in named(name, policy).ok_or_else(|| Error::Service(name.clone()))? {
                    let range = numbers(service);
                    if !stage.services.contains(&range) {
                        stage.services.push(range);
                    }
                }
            }
        }
        if !stage.first.contains(&one) {
            stage.first.push(one);
        }
    }
    if stage.services.len() > MAX_STAGED_SERVICES {
        return Err(Error::Full(MAX_STAGED_SERVICES));
    }
    Ok(stage)
}

fn named(name: &str, policy: Option<&Policy>) -> Option<Vec<Service>> {
    match ServiceWord::parse(name, true).ok()? {
        ServiceWord::Inline(service) => Some(vec![service]),
        ServiceWord::Name(name) => {
            let own = policy.and_then(|policy| policy.services.get(&name)).cloned();
            own.or_else(|| catalogue::service(&name).map(<[Service]>::to_vec))
        }
    }
}

/// The first and the last, as the tables number them.
fn numbers(service: Service) -> (u32, u32) {
    let range = |proto: u8, first: u16, last: u16| (staged_service(proto, first), staged_service(proto, last));
    let icmp = |proto: u8, kind: u8, code: Option<u8>| {
        let kind = u16::from(kind) << 8;
        let (first, last) = code.map_or((0, 0xff), |code| (u16::from(code), u16::from(code)));
        range(proto, kind | first, kind | last)
    };
    match service {
        Service::Tcp(first, last) => range(proto::TCP, first, last),
        Service::Udp(first, last) => range(proto::UDP, first, last),
        Service::Icmp(kind, code) => icmp(proto::ICMP, kind, code),
        Service::Icmpv6(kind, code) => icmp(proto::ICMPV6, kind, code),
        Service::Protocol(number) => range(number, 0, u16::MAX),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_services_by_their_words() {
        for (word, shown) in [
            ("host:pc-017", "host:pc-017"),
            ("host:2001:DB8::0:1", "host:2001:db8::1"),
            ("host:02-00-00-00-10-17", "host:02:00:00:00:10:17"),
            ("service:https", "service:https"),
            ("service:tcp/8000-8010", "service:tcp/8000-8010"),
        ] {
            assert_eq!(First::read(word).unwrap().to_string(), shown);
        }
        for bad in ["pc-017", "host:", "host:PC 17", "zone:office", "service:any", "service:tcp/0", "https"] {
            assert!(First::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_they_stand_for() {
        let read = |words: &[&str]| -> Vec<First> { words.iter().map(|word| First::read(word).unwrap()).collect() };
        let stage =
            super::stage(&read(&["host:192.0.2.9", "service:dns", "service:ping", "service:dns"]), None).unwrap();
        assert_eq!(stage.covers.addresses, ["192.0.2.9".parse::<std::net::IpAddr>().unwrap()]);
        let udp = 17 << 16;
        let expected = [
            (udp | 53, udp | 53),
            (6 << 16 | 53, 6 << 16 | 53),
            (1 << 16 | 0x800, 1 << 16 | 0x800),
            (58 << 16 | 0x8000, 58 << 16 | 0x8000),
        ];
        assert_eq!(stage.services, expected);
        assert_eq!(stage.first.len(), 3);
        assert_eq!(super::stage(&read(&["service:nosuch"]), None), Err(Error::Service("nosuch".into())));
        assert_eq!(super::stage(&read(&["host:pc-1"]), None), Err(Error::Host("pc-1".into())));
        let many: Vec<First> = (1..40).map(|port| First::read(&format!("service:tcp/{port}")).unwrap()).collect();
        assert_eq!(super::stage(&many, None), Err(Error::Full(MAX_STAGED_SERVICES)));
    }
}
