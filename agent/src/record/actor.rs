//! Who acted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who acted, as far as the box can know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Actor {
    /// For people: the user's name, the token's id, the certificate's subject, the receiver's name.
    pub name: String,
    /// `operator`, `viewer` or `agent`.
    pub role: String,
    /// What vouches for it.
    #[serde(flatten)]
    pub who: Who,
}

/// What vouches for an actor. Told apart in JSON by their fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Who {
    /// An alert, taken by a receiver of the HTTP API.
    Receiver {
        /// As the policy calls it.
        receiver: String,
        /// Address and port the alert came from.
        client: String,
        /// The token it showed, if it showed one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<String>,
    },
    /// A bearer token of the HTTP API.
    Token {
        /// Its id; the token itself is written nowhere.
        token: String,
        /// Address and port of the caller.
        client: String,
    },
    /// A client certificate of the HTTP API.
    Certificate {
        /// Its subject.
        subject: String,
        /// Address and port of the caller.
        client: String,
    },
    /// A process of this box, as the kernel knows it: the peer of the control socket, the sender of a signal, the agent.
    Process {
        /// User id.
        uid: u32,
        /// Process id, 0 where the kernel hides it.
        pid: i32,
        /// The user who logged in, where the audit system knows (it survives `sudo`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        login_uid: Option<u32>,
        /// Where the caller says it is logged in from (`SSH_CONNECTION`); a claim, not a fact.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        claims_from: Option<String>,
    },
}

impl Actor {
    /// A process about which no more is known.
    pub fn process(uid: u32, name: impl Into<String>, role: impl Into<String>, pid: i32) -> Self {
        let who = Who::Process { uid, pid, login_uid: None, claims_from: None };
        Self { name: name.into(), role: role.into(), who }
    }

    /// The holder of a token, calling from `client` (address and port).
    pub fn token(id: impl Into<String>, client: impl Into<String>, role: impl Into<String>) -> Self {
        let token = id.into();
        Self { name: token.clone(), role: role.into(), who: Who::Token { token, client: client.into() } }
    }

    /// The holder of a client certificate, calling from `client`.
    pub fn certificate(subject: impl Into<String>, client: impl Into<String>, role: impl Into<String>) -> Self {
        let subject = subject.into();
        Self { name: subject.clone(), role: role.into(), who: Who::Certificate { subject, client: client.into() } }
    }

    /// A receiver of alerts, called from `client`, with the id of the token shown.
    pub fn receiver(
        name: impl Into<String>,
        client: impl Into<String>,
        token: Option<String>,
        role: impl Into<String>,
    ) -> Self {
        let receiver = name.into();
        Self {
            name: receiver.clone(),
            role: role.into(),
            who: Who::Receiver { receiver, client: client.into(), token },
        }
    }

    /// The user id, if this is a process of the box.
    pub fn uid(&self) -> Option<u32> {
        match self.who {
            Who::Process { uid, .. } => Some(uid),
            _ => None,
        }
    }

    /// A process of root: nobody who comes by the network ever is.
    pub fn is_root(&self) -> bool {
        self.uid() == Some(0)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_read_back_as_what_it_was() {
        let actors = [
            Actor::process(0, "root", "operator", 7),
            Actor::token("t-3f", "192.0.2.1:4000", "operator"),
            Actor::certificate("CN=ops", "[2001:db8::1]:4000", "viewer"),
            Actor::receiver("alerts", "192.0.2.1:4000", None, "operator"),
            Actor::receiver("alerts", "192.0.2.1:4000", Some("t-3f".into()), "operator"),
        ];
        for actor in actors {
            let json = serde_json::to_string(&actor).unwrap();
            assert_eq!(serde_json::from_str::<Actor>(&json).unwrap(), actor, "{json}");
            assert_eq!(actor.is_root(), json.contains("\"uid\":0"), "{json}");
        }
    }

    #[test]
    fn the_fields_of_earlier_lines_are_still_theirs() {
        let line = r#"{"uid":1000,"name":"sato","role":"operator","pid":9,"login_uid":1001,"claims_from":"192.0.2.9"}"#;
        let who = Who::Process { uid: 1000, pid: 9, login_uid: Some(1001), claims_from: Some("192.0.2.9".into()) };
        let actor = Actor { name: "sato".into(), role: "operator".into(), who };
        assert_eq!(serde_json::from_str::<Actor>(line).unwrap(), actor);
        let written = serde_json::to_value(&actor).unwrap();
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(line).unwrap());
    }
}
