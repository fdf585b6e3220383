//! Wires, addresses and routes, over netlink.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd as _, AsRawFd as _},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use super::{netns::Ns, offload, tool, townhall::MacAddr};
use anyhow::{Context as _, Result, bail};
use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use nix::net::if_::if_nametoindex;
use rtnetlink::{
    Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::{
        address::{AddressAttribute, AddressFlags},
        link::{InfoData, InfoVeth, LinkAttribute, LinkFlags},
        neighbour::NeighbourState,
    },
};

/// One end of a wire to be.
#[derive(Debug, Clone, Copy)]
pub struct Plug<'a> {
    ns: &'a Ns,
    name: &'a str,
    mac: Option<MacAddr>,
}

/// The end called `name` in `ns`.
pub fn plug<'a>(ns: &'a Ns, name: &'a str) -> Plug<'a> {
    Plug { ns, name, mac: None }
}

impl Plug<'_> {
    /// With this MAC instead of a random one.
    #[must_use]
    pub fn mac(mut self, mac: MacAddr) -> Self {
        self.mac = Some(mac);
        self
    }

    fn describe<T>(&self, link: LinkMessageBuilder<T>) -> LinkMessageBuilder<T> {
        match self.mac {
            Some(mac) => link.append_extra_attribute(LinkAttribute::Address(mac.to_vec())),
            None => link,
        }
    }
}

/// Lays a wire, offloads off, both ends up. With offloads a veth hands over unfinished checksums and oversized
/// segments, which no real wire does; a test that wants them asks [`offload::set`].
pub fn veth(a: Plug<'_>, b: Plug<'_>) -> Result<()> {
    let mut far = b
        .describe(LinkUnspec::new_with_name(b.name))
        .append_extra_attribute(LinkAttribute::NetNsFd(b.ns.as_fd().as_raw_fd()))
        .build();
    far.header.index = fresh_index();
    let mut near = a.describe(LinkVeth::new(a.name, b.name)).set_info_data(InfoData::Veth(InfoVeth::Peer(far))).build();
    near.header.index = fresh_index();
    netlink(a.ns, async move |handle| Ok(handle.link().add(near).execute().await?))
        .with_context(|| format!("laying a wire from {} ({}) to {} ({})", a.ns.name(), a.name, b.ns.name(), b.name))?;
    for end in [a, b] {
        offload::set(end.ns, end.name, false)?;
        up(end.ns, end.name)?;
    }
    carrying(a.ns, a.name)?;
    carrying(b.ns, b.name)
}

/// Waits until frames really go through: for a moment after it is set up, an interface swallows what is sent.
pub fn carrying(ns: &Ns, name: &str) -> Result<()> {
    let index = index(ns, name)?;
    tool::until(&format!("{name} of {} to carry", ns.name()), Duration::from_secs(5), || {
        let flags = netlink(ns, async move |handle| {
            let mut links = handle.link().get().match_index(index).execute();
            let link = links.try_next().await?.context("the interface is gone")?;
            Ok(link.header.flags)
        })?;
        Ok(flags.contains(LinkFlags::Running | LinkFlags::LowerUp).then_some(()))
    })
}

/// An interface index that no other interface of this process has. Left to the kernel, both ends of a wire between
/// two namespaces tend to get the same one; it then takes them for no pair at all, and puts off their coming up.
fn fresh_index() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Creates a bridge over existing ports, up. No spanning tree, no snooping: frames go through unchanged at once.
pub fn bridge(ns: &Ns, name: &str, ports: &[&str]) -> Result<()> {
    let link = LinkBridge::new(name).mcast_snooping(false).up().build();
    netlink(ns, async move |handle| Ok(handle.link().add(link).execute().await?))
        .with_context(|| format!("creating the bridge {name} in {}", ns.name()))?;
    let bridge = index(ns, name)?;
    for port in ports {
        let link = LinkUnspec::new_with_index(index(ns, port)?).controller(bridge).build();
        change(ns, link).with_context(|| format!("plugging {port} into {name}"))?;
    }
    Ok(())
}

/// Sets an interface up.
pub fn up(ns: &Ns, name: &str) -> Result<()> {
    let index = index(ns, name)?;
    change(ns, LinkUnspec::new_with_index(index).up().build()).with_context(|| format!("setting {name} up"))
}

/// Sets an interface down: the other end sees its carrier go, as when a cable is pulled.
pub fn down(ns: &Ns, name: &str) -> Result<()> {
    let index = index(ns, name)?;
    change(ns, LinkUnspec::new_with_index(index).down().build()).with_context(|| format!("setting {name} down"))
}

/// Removes an interface, and with a veth its other end.
pub fn delete(ns: &Ns, name: &str) -> Result<()> {
    let index = index(ns, name)?;
    netlink(ns, async move |handle| Ok(handle.link().del(index).execute().await?))
        .with_context(|| format!("removing {name} from {}", ns.name()))
}

/// Changes a MAC; the interface may be up.
pub fn set_mac(ns: &Ns, name: &str, mac: MacAddr) -> Result<()> {
    let index = index(ns, name)?;
    let link = LinkUnspec::new_with_index(index).address(mac.to_vec()).build();
    change(ns, link).with_context(|| format!("setting the MAC of {name}"))
}

/// Adds an address with its on-link prefix; IPv6 without duplicate address detection.
pub fn address(ns: &Ns, name: &str, address: impl Into<IpAddr>, length: u8) -> Result<()> {
    let address = address.into();
    let index = index(ns, name)?;
    netlink(ns, async move |handle| {
        let mut request = handle.address().add(index, address, length);
        if address.is_ipv6() {
            request.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        Ok(request.execute().await?)
    })
    .with_context(|| format!("adding {address}/{length} to {name} in {}", ns.name()))
}

/// Removes an address again.
pub fn remove_address(ns: &Ns, name: &str, address: impl Into<IpAddr>, length: u8) -> Result<()> {
    let address = address.into();
    let index = index(ns, name)?;
    netlink(ns, async move |handle| {
        let add = handle.address().add(index, address, length).message_mut().clone();
        Ok(handle.address().del(add).execute().await?)
    })
    .with_context(|| format!("removing {address}/{length} from {name} in {}", ns.name()))
}

/// Adds a route by way of `via`. A prefix of length 0 is the default route.
pub fn route(ns: &Ns, to: IpNet, via: impl Into<IpAddr>) -> Result<()> {
    let via = via.into();
    let message = match (to, via) {
        (IpNet::V4(to), IpAddr::V4(via)) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(to.network(), to.prefix_len())
            .gateway(via)
            .build(),
        (IpNet::V6(to), IpAddr::V6(via)) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(to.network(), to.prefix_len())
            .gateway(via)
            .build(),
        _ => bail!("a route to {to} cannot lead by way of {via}: different families"),
    };
    netlink(ns, async move |handle| Ok(handle.route().add(message).execute().await?))
        .with_context(|| format!("routing {to} by way of {via} in {}", ns.name()))
}

/// Forgets whom the interface knows, and whom it still asks for: an unanswered question is repeated with the address of whoever
/// asked first.
pub fn forget_neighbours(ns: &Ns, name: &str) -> Result<()> {
    let index = index(ns, name)?;
    netlink(ns, async move |handle| {
        let mut known = handle.neighbours().get().execute();
        while let Some(neighbour) = known.try_next().await? {
            if neighbour.header.ifindex != index || neighbour.header.state == NeighbourState::Noarp {
                continue;
            }
            match handle.neighbours().del(neighbour).execute().await {
                // It went by itself in the meantime.
                Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ENOENT => {}
                other => other?,
            }
        }
        Ok(())
    })
    .with_context(|| format!("forgetting the neighbours of {name} in {}", ns.name()))
}

/// The kernel's index of an interface.
pub fn index(ns: &Ns, name: &str) -> Result<u32> {
    ns.run(|| if_nametoindex(name).with_context(|| format!("there is no interface {name}")))
        .with_context(|| format!("in {}", ns.name()))
}

fn change(ns: &Ns, link: rtnetlink::packet_route::link::LinkMessage) -> Result<()> {
    netlink(ns, async move |handle| Ok(handle.link().set(link).execute().await?))
}

/// Runs `ask` with a netlink connection that lives inside the namespace.
fn netlink<T: Send>(ns: &Ns, ask: impl AsyncFnOnce(Handle) -> Result<T> + Send) -> Result<T> {
    ns.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection()?;
            tokio::spawn(connection);
            ask(handle).await
        })
    })
}
