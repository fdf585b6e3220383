//! Where the API listens, as the agent's configuration says it.

use std::{net::SocketAddr, path::PathBuf};

use crate::agent::document::{At, Node};

/// The API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// One address and port.
    pub listen: SocketAddr,
    /// `None`: plain, which stays on the box.
    pub tls: Option<Tls>,
}

/// Files of certificates, PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The box's own, with what leads to its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Who vouches for client certificates; without it none is asked for.
    pub client_ca: Option<PathBuf>,
}

impl Http {
    /// The section `http`.
    pub fn read(section: &Node) -> Result<Self, At> {
        let (mut listen, mut certificate, mut key, mut client_ca) = (None, None, None, None);
        for (name, value) in section.fields(&["listen", "certificate", "key", "client_ca"])? {
            match name {
                "listen" => listen = Some((address(value)?, value)),
                "certificate" => certificate = Some(path(value)?),
                "key" => key = Some(path(value)?),
                _ => client_ca = Some(path(value)?),
            }
        }
        let Some((listen, at)) = listen else {
            return Err(section.error("`http` needs `listen`, like 127.0.0.1:9443"));
        };
        let tls = match (certificate, key) {
            (Some(certificate), Some(key)) => Some(Tls { certificate, key, client_ca }),
            (None, None) if client_ca.is_none() => None,
            _ => return Err(section.error("`certificate` and `key` go together, and `client_ca` goes with them")),
        };
        if tls.is_none() && !listen.ip().is_loopback() {
            return Err(at.error(format!(
                "without `certificate` and `key` the API may listen on 127.0.0.1 or [::1] only, not on {}",
                listen.ip()
            )));
        }
        Ok(Self { listen, tls })
    }
}

fn address(value: &Node) -> Result<SocketAddr, At> {
    let address: SocketAddr = value.parse("ADDRESS:PORT, like 127.0.0.1:9443 or [2001:db8::1]:9443")?;
    if address.ip().is_unspecified() || address.ip().is_multicast() || address.port() == 0 {
        return Err(value.error(format!("`{address}` is not one address with a port: name the management address")));
    }
    Ok(address)
}

fn path(value: &Node) -> Result<PathBuf, At> {
    let text = value.text("an absolute path")?;
    if text.starts_with('/') { Ok(text.into()) } else { Err(value.error(format!("`{text}` is not an absolute path"))) }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Http, At> {
        Http::read(&Node::read(text).unwrap())
    }

    #[test]
    fn plain_stays_on_the_box_and_tls_is_whole() {
        let plain = read("listen: 127.0.0.1:9443").unwrap();
        assert_eq!((plain.listen.port(), plain.tls), (9443, None));
        let tls = read("{listen: '192.168.10.1:9443', certificate: /c, key: /k, client_ca: /a}").unwrap().tls.unwrap();
        assert_eq!(tls, Tls { certificate: "/c".into(), key: "/k".into(), client_ca: Some("/a".into()) });
        for (text, says) in [
            ("{certificate: /c, key: /k}", "needs `listen`"),
            ("listen: 192.168.10.1:9443", "127.0.0.1 or [::1]"),
            ("{listen: '0.0.0.0:9443', certificate: /c, key: /k}", "not one address"),
            ("{listen: '[::]:9443', certificate: /c, key: /k}", "not one address"),
            ("listen: 127.0.0.1:0", "not one address"),
            ("{listen: '127.0.0.1:1', certificate: /c}", "go together"),
            ("{listen: '127.0.0.1:1', client_ca: /c}", "goes with them"),
            ("{listen: '127.0.0.1:1', certificate: c, key: /k}", "absolute"),
            ("{listen: '127.0.0.1:1', tokens: /c}", "unknown field"),
        ] {
            let at = read(text).unwrap_err();
            assert!(at.message.contains(says), "{text}: {at}");
        }
    }
}
