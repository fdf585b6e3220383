//! Builds the town hall that [`super::townhall`] describes, or the part of it a test needs.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    link::{self, plug},
    long_line::LongLine,
    netns::Ns,
    nft,
    townhall::{Host, PUBLIC_WEB_V4, Routed, Side, WEB, WEB_TLS_PORT},
};

/// What every host calls its interface.
pub const HOST_INTERFACE: &str = "eth0";

/// A gateway and the hosts around it. Everything is plain routing until an agent is started on [`Self::gateway`].
#[derive(Debug)]
pub struct Town {
    /// The box.
    pub gateway: Ns,
    hosts: Vec<(&'static Host, Ns)>,
    /// Bridges that stand for the switch of a side with several hosts.
    _switches: Vec<Ns>,
    _lines: Vec<LongLine>,
}

impl Town {
    /// The gateway with these hosts and the interfaces they need.
    pub fn build(hosts: &[&'static Host]) -> Result<Self> {
        Self::build_far(hosts, None)
    }

    /// The same, with one side's only host so far away: the time that a frame takes each way.
    pub fn build_far(hosts: &[&'static Host], far: Option<(&Host, Duration)>) -> Result<Self> {
        let gateway = Ns::new("gateway")?;
        gateway.forward()?;
        let mut town = Self { gateway, hosts: Vec::new(), _switches: Vec::new(), _lines: Vec::new() };
        let mut sides: Vec<&'static Side> = Vec::new();
        for host in hosts {
            if !sides.iter().any(|side| side.interface == host.side.interface) {
                sides.push(host.side);
            }
        }
        for side in sides {
            let here: Vec<_> = hosts.iter().filter(|host| host.side.interface == side.interface).copied().collect();
            let far = far.filter(|(host, _)| host.side.interface == side.interface).map(|(_, delay)| delay);
            town.lay(side, &here, far).with_context(|| format!("building the side of {}", side.interface))?;
        }
        Ok(town)
    }

    /// The namespace of a host this town was built with.
    pub fn host(&self, host: &Host) -> Result<&Ns> {
        self.hosts
            .iter()
            .find(|(known, _)| known.name == host.name)
            .map(|(_, ns)| ns)
            .with_context(|| format!("this town was built without {}", host.name))
    }

    /// Address translation at the gateway as the town has it: what leaves by `wan0` from inside is masqueraded, and
    /// the public web address leads to the web server.
    pub fn translate(&self) -> Result<()> {
        nft::load(
            &self.gateway,
            &format!(
                "table ip nat {{
                    chain in {{
                        type nat hook prerouting priority dstnat;
                        iifname wan0 ip daddr {PUBLIC_WEB_V4} tcp dport 443 dnat to {web}:{WEB_TLS_PORT}
                        iifname wan0 ip daddr {PUBLIC_WEB_V4} tcp dport 80 dnat to {web}:80
                    }}
                    chain out {{
                        type nat hook postrouting priority srcnat;
                        oifname wan0 ip saddr 192.168.0.0/16 masquerade
                    }}
                }}",
                web = WEB.v4,
            ),
        )
    }

    /// Pings once from a host, as root's `ping` does; whether an answer came.
    pub fn ping(&self, from: &Host, to: impl Into<IpAddr>) -> Result<bool> {
        let to: IpAddr = to.into();
        let mut ping = self.host(from)?.command("ping");
        ping.args(["-n", "-q", "-c", "1", "-W", "1", &to.to_string()]);
        Ok(super::tool::run(&mut ping, Duration::from_secs(5))?.ok())
    }

    fn lay(&mut self, side: &'static Side, hosts: &[&'static Host], far: Option<Duration>) -> Result<()> {
        let near = plug(&self.gateway, side.interface).mac(side.mac);
        let mut machines = Vec::new();
        for host in hosts {
            machines.push(Ns::new(host.name)?);
        }
        match (hosts, machines.as_slice()) {
            ([host], [machine]) => {
                let there = plug(machine, HOST_INTERFACE).mac(host.mac);
                match far {
                    None => link::veth(near, there)?,
                    Some(delay) => self._lines.push(LongLine::lay(near, there, delay)?),
                }
            }
            _ => {
                ensure!(far.is_none(), "several hosts share {}: none of them can be far away", side.interface);
                let switch = Ns::new(&format!("{}-switch", side.interface))?;
                // The switch itself says nothing on the wire.
                switch.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
                link::veth(near, plug(&switch, "up"))?;
                let names: Vec<_> = (0..hosts.len()).map(|number| format!("port{number}")).collect();
                for ((host, machine), name) in hosts.iter().zip(&machines).zip(&names) {
                    link::veth(plug(&switch, name), plug(machine, HOST_INTERFACE).mac(host.mac))?;
                }
                let ports: Vec<_> = names.iter().map(String::as_str).chain(["up"]).collect();
                link::bridge(&switch, "switch", &ports)?;
                self._switches.push(switch);
            }
        }
        link::address(&self.gateway, side.interface, side.v4.0, side.v4.1)?;
        link::address(&self.gateway, side.interface, side.v6.0, side.v6.1)?;
        if matches!(side.routed, Routed::Default) {
            // After the gateway's own, so that what it sends itself does not come from here.
            link::address(&self.gateway, side.interface, PUBLIC_WEB_V4, side.v4.1)?;
        }
        for (host, machine) in hosts.iter().zip(&machines) {
            settle(host, machine)?;
        }
        if let Some(router) = hosts.first() {
            self.routes(side, router)?;
        }
        self.hosts.extend(hosts.iter().copied().zip(machines));
        Ok(())
    }

    /// The gateway's routes to what is behind a side's router.
    fn routes(&self, side: &Side, router: &Host) -> Result<()> {
        let (v4, v6) = match side.routed {
            Routed::Nothing => return Ok(()),
            Routed::Prefixes(v4, v6) => (v4, v6),
            Routed::Default => ((Ipv4Addr::UNSPECIFIED, 0), (Ipv6Addr::UNSPECIFIED, 0)),
        };
        link::route(&self.gateway, Ipv4Net::new(v4.0, v4.1)?.into(), router.v4)?;
        link::route(&self.gateway, Ipv6Net::new(v6.0, v6.1)?.into(), router.v6)
    }
}

/// Addresses and routes of a host. All of the town is reached by way of the gateway.
fn settle(host: &Host, machine: &Ns) -> Result<()> {
    let side = host.side;
    link::address(machine, HOST_INTERFACE, host.v4, side.v4.1)?;
    link::address(machine, HOST_INTERFACE, host.v6, side.v6.1)?;
    for (v4, v6) in host.behind {
        link::address(machine, "lo", *v4, 32)?;
        link::address(machine, "lo", *v6, 128)?;
    }
    let everywhere: [(IpNet, IpAddr); 2] = [
        (Ipv4Net::new(Ipv4Addr::UNSPECIFIED, 0)?.into(), side.v4.0.into()),
        (Ipv6Net::new(Ipv6Addr::UNSPECIFIED, 0)?.into(), side.v6.0.into()),
    ];
    for (to, via) in everywhere {
        link::route(machine, to, via)?;
    }
    Ok(())
}
