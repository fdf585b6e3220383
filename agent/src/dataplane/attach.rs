//! Attaching: three pinned links an interface, replaced in place where they exist.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use aya::programs::{
    LinkOrder, SchedClassifier, TcAttachType, Xdp, XdpMode,
    links::{FdLink, PinnedLink},
    tc::TcAttachOptions,
    xdp::XdpLink,
};

use super::{
    InterfaceState, XdpChoice,
    error::{Error, While},
    link,
};

/// The programs, loaded or adopted.
pub struct Programs {
    /// XDP.
    pub way_in: Xdp,
    /// TCX ingress.
    pub mark: SchedClassifier,
    /// TCX egress.
    pub way_out: SchedClassifier,
}

/// The pins of one interface's links.
struct Pins {
    dir: PathBuf,
    name: String,
}

/// An interface's name as bpffs takes it: without a dot, and so that no two names meet.
fn encoded(name: &str) -> String {
    name.replace('%', "%25").replace('.', "%2e")
}

fn decoded(name: &str) -> String {
    name.replace("%2e", ".").replace("%25", "%")
}

const NATIVE: &str = "in-native";
const GENERIC: &str = "in-generic";
const MARK: &str = "mark";
const OUT: &str = "out";

impl Pins {
    fn path(&self, hook: &str) -> PathBuf {
        self.dir.join(format!("{}:{hook}", encoded(&self.name)))
    }
}

/// Puts each pinned link under the name that its interface has now: a link belongs to an interface, which may have been
/// renamed, and not to a name. Links of interfaces that are gone or no longer wanted go. `wanted`: name, kernel index.
pub fn settle(dir: &Path, wanted: &[(&str, u32)]) -> Result<(), Error> {
    let mut moving = Vec::new();
    for entry in fs::read_dir(dir).doing("list the links")? {
        let path = entry.doing("list the links")?.path();
        let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some((pinned_as, hook)) = file.rsplit_once(':') else { continue };
        let ifindex = link::pinned(&path).doing(format!("read {file}"))?.map_or(0, |info| info.ifindex);
        let owner = wanted.iter().find(|(_, index)| *index == ifindex && ifindex != 0);
        match owner {
            Some((owner, _)) if decoded(pinned_as) == *owner => {}
            // Two interfaces may have swapped names, so first out of each other's way.
            Some((owner, _)) => {
                let pins = Pins { dir: dir.to_owned(), name: (*owner).to_owned() };
                let aside = Pins { dir: dir.to_owned(), name: format!("~{owner}") };
                fs::rename(&path, aside.path(hook)).doing(format!("move the pin {file}"))?;
                moving.push((aside.path(hook), pins.path(hook)));
            }
            None => fs::remove_file(&path).doing(format!("remove the dead pin {file}"))?,
        }
    }
    for (from, to) in moving {
        fs::rename(&from, &to).doing(format!("move the pin {}", to.display()))?;
    }
    Ok(())
}

/// Whether an attachment failed because the kernel has not yet let go of a link that was just removed.
pub fn still_taken(error: &Error) -> bool {
    error
        .source
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.raw_os_error().is_some_and(|code| code == libc::EEXIST || code == libc::EBUSY))
}

/// Names of interfaces that have pins in `dir`.
pub fn pinned_names(dir: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some((interface, _)) = name.rsplit_once(':') {
            names.insert(decoded(interface));
        }
    }
    Ok(names)
}

/// Whether a live link is pinned at `path` on the interface with this index; a pin of a vanished one is removed.
fn holds(path: &Path, ifindex: u32) -> Result<bool, Error> {
    match link::pinned(path).doing(format!("read {}", path.display()))? {
        Some(info) if info.ifindex == ifindex => Ok(true),
        Some(_) => {
            fs::remove_file(path).doing(format!("remove the dead pin {}", path.display()))?;
            Ok(false)
        }
        None => Ok(false),
    }
}

/// The interface as it is now.
pub fn state(dir: &Path, name: &str) -> InterfaceState {
    let pins = Pins { dir: dir.to_owned(), name: name.to_owned() };
    let ifindex = link::index(name);
    let on = |hook: &str| {
        link::pinned(&pins.path(hook)).ok().flatten().is_some_and(|info| ifindex != 0 && info.ifindex == ifindex)
    };
    let xdp = if on(NATIVE) {
        "native"
    } else if on(GENERIC) {
        "generic"
    } else {
        "missing"
    };
    let tcx = on(MARK) && on(OUT);
    let error = if ifindex == 0 {
        Some("the interface does not exist".to_owned())
    } else if tcx {
        [(MARK, false), (OUT, true)].into_iter().find_map(|(hook, way_out)| ahead(&pins.path(hook), ifindex, way_out))
    } else {
        None
    };
    InterfaceState { name: name.to_owned(), ifindex, xdp, tcx, error }
}

/// Ids of the programs of every link that is pinned.
pub fn own_programs(dir: &Path) -> Vec<u32> {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let mut ids: Vec<u32> =
        entries.filter_map(|entry| link::pinned(&entry.path()).ok().flatten()).map(|info| info.program).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// What is wrong if another program runs before ours: if it ends the chain, ours never sees the packet.
fn ahead(pin: &Path, ifindex: u32, way_out: bool) -> Option<String> {
    let ours = link::pinned(pin).ok().flatten()?.program;
    let hook = if way_out { "the way out" } else { "the way in" };
    match link::classifiers(ifindex, way_out) {
        Ok(programs) if programs.first() == Some(&ours) => None,
        Ok(programs) => Some(format!(
            "another program (id {}) runs before ours on {hook} and may let packets past it: remove it, or attach it after ours (`bpftool net show`)",
            programs.first().copied().unwrap_or(0)
        )),
        Err(error) => Some(format!("which programs run on {hook} cannot be asked: {error}")),
    }
}

/// One of the three hooks, in the order in which they are attached: over all interfaces first the marks, then the ways
/// in, then the ways out. A way out that comes up before another interface's way in would refuse its packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// TCX ingress.
    Mark,
    /// XDP.
    In,
    /// TCX egress.
    Out,
}

/// All of them, in that order.
pub const HOOKS: [Hook; 3] = [Hook::Mark, Hook::In, Hook::Out];

/// Attaches one hook of an interface if it is missing, or replaces an older build's program in place.
pub fn attach(programs: &mut Programs, dir: &Path, name: &str, hook: Hook, choice: XdpChoice) -> Result<(), Error> {
    let ifindex = link::index(name);
    if ifindex == 0 {
        return Err(Error::new(format!("attach to {name}"), "the interface does not exist"));
    }
    if !link::is_ethernet(name).doing(format!("ask what {name} is"))? {
        return Err(Error::new(
            format!("attach to {name}"),
            "it is not an Ethernet device (PPP, tun and the like are not supported); guard the Ethernet port below it",
        ));
    }
    let pins = Pins { dir: dir.to_owned(), name: name.to_owned() };
    match hook {
        Hook::Mark => classifier(&mut programs.mark, &pins.path(MARK), name, ifindex, TcAttachType::Ingress),
        Hook::In => xdp(&mut programs.way_in, &pins, ifindex, choice),
        Hook::Out => classifier(&mut programs.way_out, &pins.path(OUT), name, ifindex, TcAttachType::Egress),
    }
}

fn classifier(
    program: &mut SchedClassifier,
    pin: &Path,
    name: &str,
    ifindex: u32,
    hook: TcAttachType,
) -> Result<(), Error> {
    let what = format!("attach to {name} ({})", pin.display());
    if holds(pin, ifindex)? {
        let id = program.info().doing(what.clone())?.id();
        if link::pinned(pin).doing(what.clone())?.is_some_and(|info| info.program == id) {
            return Ok(());
        }
        let old = FdLink::from(PinnedLink::from_pin(pin).doing(what.clone())?);
        let old = old.try_into().doing(what.clone())?;
        let id = program.attach_to_link(old).doing(what.clone())?;
        // The pin keeps the link; our descriptor to it may close.
        drop(program.take_link(id).doing(what)?);
        return Ok(());
    }
    let id =
        program.attach_with_options(name, hook, TcAttachOptions::TcxOrder(LinkOrder::first())).doing(what.clone())?;
    let link: FdLink = program.take_link(id).doing(what.clone())?.try_into().doing(what.clone())?;
    link.pin(pin).doing(what)?;
    Ok(())
}

fn xdp(program: &mut Xdp, pins: &Pins, ifindex: u32, choice: XdpChoice) -> Result<(), Error> {
    let what = format!("attach XDP to {}", pins.name);
    for mode in [NATIVE, GENERIC] {
        let pin = pins.path(mode);
        if !holds(&pin, ifindex)? {
            continue;
        }
        let id = program.info().doing(what.clone())?.id();
        if link::pinned(&pin).doing(what.clone())?.is_some_and(|info| info.program == id) {
            return Ok(());
        }
        let old = FdLink::from(PinnedLink::from_pin(&pin).doing(what.clone())?);
        let old: XdpLink = old.try_into().doing(what.clone())?;
        let id = program.attach_to_link(old).doing(what.clone())?;
        drop(program.take_link(id).doing(what)?);
        return Ok(());
    }
    let native = match choice {
        XdpChoice::Generic => None,
        XdpChoice::Native | XdpChoice::Any => Some(program.attach_to_if_index(ifindex, XdpMode::Driver)),
    };
    let (id, mode) = match native {
        Some(Ok(id)) => (id, NATIVE),
        Some(Err(error)) if choice == XdpChoice::Native => {
            return Err(Error::new(
                what,
                format!("the driver refuses native XDP ({error}) and the configuration demands it (xdp: native)"),
            ));
        }
        refused => {
            if let Some(Err(error)) = refused {
                tracing::warn!(interface = pins.name, %error, "no native XDP: attaching in generic mode, which is slower");
            }
            let taken =
                format!("{what} (if another XDP program is there: `ip link set {} xdp off` removes it)", pins.name);
            (program.attach_to_if_index(ifindex, XdpMode::Skb).doing(taken)?, GENERIC)
        }
    };
    let taken = program.take_link(id).doing(what.clone())?;
    // aya falls back to a netlink attachment that dies with us; dropping it detaches it again.
    let link: FdLink = taken.try_into().map_err(|_netlink| {
        Error::new(what.clone(), "the kernel gave no link that can be pinned; is another XDP program attached?")
    })?;
    link.pin(pins.path(mode)).doing(what)?;
    Ok(())
}

/// Removes every link of an interface: its gate opens.
pub fn detach(dir: &Path, name: &str) -> Result<(), Error> {
    let pins = Pins { dir: dir.to_owned(), name: name.to_owned() };
    for hook in [NATIVE, GENERIC, OUT, MARK] {
        match fs::remove_file(pins.path(hook)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).doing(format!("detach from {name}")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{decoded, encoded};

    #[test]
    fn pins_of_different_interfaces_have_different_names() {
        let names = ["eth0.10", "eth0+10", "eth0%2e10", "eth0", "br-lan"];
        for name in names {
            assert_eq!(decoded(&encoded(name)), name);
            assert!(!encoded(name).contains('.'));
        }
        let encoded: std::collections::BTreeSet<_> = names.iter().map(|name| encoded(name)).collect();
        assert_eq!(encoded.len(), names.len());
    }
}
