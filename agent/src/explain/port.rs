//! Where a packet enters, as administrators write it.

use sekimori_ebpf::abi::PortKey;

use super::ExplainError;
use crate::{compile::tables::Compiled, policy::model::Port};

/// Where a packet enters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enters {
    /// By a guarded interface.
    Port(Port),
    /// The box sends it.
    Box,
}

/// The port an administrator means by `IFACE`, `IFACE.VLAN` or `IFACE.OUTER.INNER`; `box` is the box itself. An
/// interface that carries a single zone or network needs no VLAN.
///
/// # Errors
/// No such port, or several.
pub fn enters(compiled: &Compiled, text: &str) -> Result<Enters, ExplainError> {
    if text == "box" {
        return Ok(Enters::Box);
    }
    // Names of VLAN devices hold dots themselves: the longest name that exists wins.
    let named = compiled.interfaces.iter().filter_map(|(name, id)| {
        let rest = text.strip_prefix(name.as_str())?;
        let tags: Option<Vec<u16>> = match rest.strip_prefix('.') {
            Some(tags) => tags.split('.').map(|tag| tag.parse().ok()).collect(),
            None if rest.is_empty() => Some(Vec::new()),
            None => None,
        };
        Some((name, *id, tags.filter(|tags| tags.len() <= 2)?))
    });
    let Some((name, id, tags)) = named.max_by_key(|(name, _, _)| name.len()) else {
        return Err(unknown(compiled, text));
    };
    let port = |key: &PortKey| Enters::Port(Port { interface: name.clone(), outer: key.outer, inner: key.inner });
    let here: Vec<&PortKey> = compiled.ports.iter().map(|(key, _)| key).filter(|key| key.iface == id).collect();
    let wanted = (tags.first().copied().unwrap_or(0), tags.get(1).copied().unwrap_or(0));
    if let Some(key) = here.iter().find(|key| (key.outer, key.inner) == wanted) {
        return Ok(port(key));
    }
    match here.as_slice() {
        [only] if tags.is_empty() => Ok(port(only)),
        [_, _, ..] if tags.is_empty() => {
            let known: Vec<String> = here.iter().map(|key| port_text(name, key)).collect();
            Err(ExplainError::Ambiguous { name: name.clone(), known: known.join(", ") })
        }
        _ => Err(unknown(compiled, text)),
    }
}

pub(super) fn key(compiled: &Compiled, port: &Port) -> Option<PortKey> {
    let (_, iface) = compiled.interfaces.iter().find(|(name, _)| *name == port.interface)?;
    Some(PortKey { iface: *iface, outer: port.outer, inner: port.inner, pad: 0 })
}

fn port_text(interface: &str, key: &PortKey) -> String {
    match (key.outer, key.inner) {
        (0, _) => interface.to_owned(),
        (outer, 0) => format!("{interface}.{outer}"),
        (outer, inner) => format!("{interface}.{outer}.{inner}"),
    }
}

pub(super) fn unknown(compiled: &Compiled, name: &str) -> ExplainError {
    let known = compiled.ports.iter().filter_map(|(key, _)| {
        let (interface, _) = compiled.interfaces.iter().find(|(_, id)| *id == key.iface)?;
        Some(port_text(interface, key))
    });
    ExplainError::Interface { name: name.to_owned(), known: known.collect::<Vec<_>>().join(", ") }
}
