//! Services and ports.

use serde_json::{Value as Json, json};

use super::{
    super::{
        catalogue,
        decode::{Leaf, Wrong},
        diagnostic::Text,
        model::Service,
        problem::Problem,
    },
    bad, digits,
};

/// A TCP or UDP port, 1..=65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortNumber(pub u16);

impl Leaf for PortNumber {
    fn parse(text: &str, _: bool) -> Result<Self, Wrong> {
        digits(text).filter(|port| *port > 0).map(Self).ok_or_else(|| bad(text, "port"))
    }
    fn expected() -> Text {
        Text::same("1-65535")
    }
    fn schema() -> Json {
        json!({"type": "integer", "minimum": 1, "maximum": 65535})
    }
}
/// An entry of a service list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceWord {
    /// `tcp/443` and the like.
    Inline(Service),
    /// The name of a service.
    Name(String),
}

impl Leaf for ServiceWord {
    fn parse(text: &str, _: bool) -> Result<Self, Wrong> {
        match text.split_once('/') {
            Some((protocol, rest)) => catalogue::inline(protocol, rest, text).map(Self::Inline),
            None if text == "any" => Err(Problem::AnyService.into()),
            None => Ok(Self::Name(text.to_owned())),
        }
    }
    fn expected() -> Text {
        Text::new(
            "tcp/443, udp/8000-8010, icmp/echo-request, icmp/3.4, proto/47, or the name of a service",
            "tcp/443、udp/8000-8010、icmp/echo-request、icmp/3.4、proto/47、またはサービス名",
        )
    }
    fn schema() -> Json {
        json!({"type": "string", "not": {"const": "any"}, "pattern": "^((tcp|udp|icmp|icmpv6|proto)/[a-z0-9.-]+|[a-z0-9][a-z0-9_-]{0,62})$"})
    }
}
