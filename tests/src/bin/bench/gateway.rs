//! One gateway a subject: a namespace with an inside and an outside interface, both ends of the wires in the ruler's.

use std::{fmt::Write as _, io::Write as _, net::Ipv4Addr, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail};
use sekimori_tests::harness::{
    link::{self, plug},
    netns::Ns,
    tool,
};

/// Inside interface of a gateway.
pub(crate) const LAN: &str = "lan0";
/// Outside interface of a gateway.
pub(crate) const WAN: &str = "wan0";
/// The gateway's own addresses, inside and outside, each family.
pub(crate) const OWN: [&str; 4] = ["192.168.100.1", "203.0.113.1", "2001:db8:1::1", "2001:db8:2::1"];
/// What lies behind the inside router.
pub(crate) const INSIDE4: &str = "10.0.0.0/8";
/// The same, IPv6.
pub(crate) const INSIDE6: &str = "2001:db8:a000::/36";
/// The next hop inside.
pub(crate) const LAN_ROUTER: [u8; 6] = [2, 0, 0, 0, 1, 2];
/// The next hop outside.
pub(crate) const WAN_ROUTER: [u8; 6] = [2, 0, 0, 0, 2, 2];
/// The gateway's MAC inside.
pub(crate) const LAN_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
/// The gateway's MAC outside.
pub(crate) const WAN_MAC: [u8; 6] = [2, 0, 0, 0, 2, 1];

/// Long enough for any command but loading a large list.
const COMMAND: Duration = Duration::from_secs(60);

/// A router with plain forwarding, until a subject adds its filter.
#[derive(Debug, Clone)]
pub(crate) struct Gateway {
    pub(crate) ns: Ns,
    /// Index of the ruler's end of the inside wire.
    pub(crate) lan: u32,
    /// The same outside.
    pub(crate) wan: u32,
    /// Names of those ends.
    pub(crate) ends: [String; 2],
}

impl Gateway {
    /// Builds one; its wires end in `ruler`.
    pub(crate) fn new(ruler: &Ns, name: &str, number: usize) -> Result<Self> {
        Self::between(ruler, ruler, name, number)
    }

    /// Builds one between two namespaces.
    pub(crate) fn between(inside: &Ns, outside: &Ns, name: &str, number: usize) -> Result<Self> {
        let ns = Ns::new(name)?;
        ns.forward()?;
        // As long as a stage takes, for every subject alike. Absent where no conntrack is loaded.
        ns.sysctl("net/netfilter/nf_conntrack_udp_timeout_stream", "3600").ok();
        let ends = [format!("l{number}"), format!("w{number}")];
        link::veth(plug(&ns, LAN).mac(LAN_MAC), plug(inside, &ends[0]).mac(LAN_ROUTER))?;
        link::veth(plug(&ns, WAN).mac(WAN_MAC), plug(outside, &ends[1]).mac(WAN_ROUTER))?;
        let gateway = Self { lan: link::index(inside, &ends[0])?, wan: link::index(outside, &ends[1])?, ns, ends };
        gateway.address()?;
        gateway.receive_offload()?;
        Ok(gateway)
    }

    fn address(&self) -> Result<()> {
        let mut commands = String::new();
        let [lan4, wan4, lan6, wan6] = OWN;
        for (interface, four, six, router4, router6, mac) in [
            (LAN, lan4, lan6, "192.168.100.2", "2001:db8:1::2", LAN_ROUTER),
            (WAN, wan4, wan6, "203.0.113.2", "2001:db8:2::2", WAN_ROUTER),
        ] {
            let mac = mac_text(mac);
            writeln!(commands, "address replace {four}/24 dev {interface}")?;
            writeln!(commands, "address replace {six}/64 dev {interface} nodad")?;
            // No neighbour discovery in the middle of a sample.
            writeln!(commands, "neighbour replace {router4} lladdr {mac} dev {interface} nud permanent")?;
            writeln!(commands, "neighbour replace {router6} lladdr {mac} dev {interface} nud permanent")?;
        }
        writeln!(commands, "route replace {INSIDE4} via 192.168.100.2")?;
        writeln!(commands, "route replace default via 203.0.113.2")?;
        writeln!(commands, "route replace {INSIDE6} via 2001:db8:1::2")?;
        writeln!(commands, "route replace default via 2001:db8:2::2")?;
        self.feed("ip", &["-force", "-batch", "-"], commands.as_bytes(), COMMAND).map(drop)
    }

    /// GRO gives a veth the NAPI context without which redirected frames are lost in silence; it takes effect when it
    /// is turned on while the link is up.
    fn receive_offload(&self) -> Result<()> {
        for interface in [LAN, WAN] {
            for state in ["off", "on"] {
                tool::must(self.ns.command("ethtool").args(["-K", interface, "gro", state]), COMMAND)?;
            }
        }
        Ok(())
    }

    /// Two queues at the ruler's ends too.
    pub(crate) fn queues(&self, ruler: &Ns) -> Result<()> {
        for end in &self.ends {
            tool::must(ruler.command("ethtool").args(["-L", end, "rx", "2", "tx", "2"]), COMMAND)?;
        }
        Ok(())
    }

    /// Routes and neighbours once more: they went with an interface that was set down.
    pub(crate) fn again(&self) -> Result<()> {
        self.address()?;
        self.receive_offload()
    }

    /// Runs a program inside to success, with this on its standard input; how long it took and its peak resident KiB.
    pub(crate) fn feed(&self, program: &str, arguments: &[&str], input: &[u8], within: Duration) -> Result<Cost> {
        let start = std::time::Instant::now();
        let mut child = self
            .ns
            .command(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {program}"))?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        let mut stderr = child.stderr.take().context("no standard error")?;
        let said = std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input).ok());
            let said = scope.spawn(move || {
                let mut said = String::new();
                std::io::Read::read_to_string(&mut stderr, &mut said).ok();
                said
            });
            let deadline = start + within;
            let end = crate::process::wait(&child, deadline)?;
            if end.is_none() {
                child.kill().ok();
                child.wait().ok();
            }
            let said = said.join().unwrap_or_default();
            anyhow::Ok((end, said))
        })?;
        match said {
            (Some(end), _) if end.success => Ok(Cost { took: start.elapsed(), peak_kib: end.peak_kib }),
            (Some(_), said) => bail!("{program} {} failed: {}", arguments.join(" "), said.trim()),
            (None, _) => bail!("{program} {} took longer than {within:?}", arguments.join(" ")),
        }
    }

    /// Runs a short command inside to success.
    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> Result<String> {
        Ok(tool::must(self.ns.command(program).args(arguments), COMMAND)?.out)
    }
}

/// What a command cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) took: Duration,
    /// Peak resident memory, KiB.
    pub(crate) peak_kib: u64,
}

/// `02:00:00:00:01:02`.
pub(crate) fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The server inside that traffic from outside is meant for.
pub(crate) const SERVER4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The same, IPv6.
pub(crate) const SERVER6: &str = "2001:db8:a000::1";
