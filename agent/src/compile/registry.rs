//! Stable numbers for names: what counters, marks and live flows refer to must mean the same thing in the next
//! revision, after a restart and after an upgrade.
//!
//! A name keeps its number for as long as there are numbers left, also while it is in no policy: a rule that
//! comes back finds its counters. When the numbers run out, the name that has been gone longest loses its own;
//! never one that the previous revision still used, because its flows may be alive.
//!
//! [`super::compile`] changes the registry only if it succeeds. Save it *before* the switch (a switch that
//! outlives a crash must find its numbers again) and put the old one back if the switch fails.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use sekimori_ebpf::abi::{MAX_DEVICES, NET_LAST, RULE_SLOTS};
use serde::{Deserialize, Serialize};

/// The file format this source reads and writes.
const VERSION: u32 = 1;
/// Interface names one instance may ever tell apart at a time; far above what a box has ports.
const INTERFACE_LAST: u32 = 4_096;

/// What a number stands for; each kind has numbers of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A zone or network: `1..=NET_LAST`.
    Net,
    /// A rule's counter slot: `0..RULE_SLOTS`.
    Rule,
    /// An interface name: `1..=4096`.
    Interface,
    /// A device: `1..MAX_DEVICES`. Views keep the number across a switch.
    Device,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Net, Self::Rule, Self::Interface, Self::Device];

    /// First and last number.
    const fn range(self) -> (u32, u32) {
        match self {
            Self::Net => (1, NET_LAST as u32),
            Self::Rule => (0, RULE_SLOTS - 1),
            Self::Interface => (1, INTERFACE_LAST),
            Self::Device => (1, MAX_DEVICES - 1),
        }
    }

    /// Numbers there are.
    pub const fn capacity(self) -> u32 {
        let (first, last) = self.range();
        last - first + 1
    }

    /// What administrators call it.
    pub const fn en(self) -> &'static str {
        match self {
            Self::Net => "zone or network",
            Self::Rule => "rule",
            Self::Interface => "interface",
            Self::Device => "device",
        }
    }

    /// The same in Japanese.
    pub const fn ja(self) -> &'static str {
        match self {
            Self::Net => "区域・外部網",
            Self::Rule => "規則",
            Self::Interface => "インターフェース",
            Self::Device => "端末",
        }
    }
}

/// No number is left for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhausted {
    /// What kind of name.
    pub kind: Kind,
    /// The first name that got none.
    pub name: String,
}

/// A number taken from a name that is gone and given to another one: its counters start anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recycled {
    /// What kind of name.
    pub kind: Kind,
    /// The number.
    pub id: u32,
    /// The name that lost it.
    pub old: String,
    /// The name that has it now.
    pub new: String,
}

/// Names and their numbers. See the module documentation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    version: u32,
    /// Compilations so far; [`Slot::used`] counts in it.
    revision: u64,
    nets: Names,
    rules: Names,
    interfaces: Names,
    devices: Names,
    #[serde(skip)]
    recycled: Vec<Recycled>,
}

type Names = BTreeMap<String, Slot>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Slot {
    id: u32,
    /// The last revision that used the name.
    used: u64,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            version: VERSION,
            revision: 0,
            nets: Names::new(),
            rules: Names::new(),
            interfaces: Names::new(),
            devices: Names::new(),
            recycled: Vec::new(),
        }
    }
}

impl Registry {
    /// Reads a registry; a file that does not exist is an empty one.
    ///
    /// # Errors
    /// Unreadable, of another version, or contradicting itself (a number given twice or out of range). The
    /// caller must not go on with an empty one: live flows and counters refer to the numbers.
    pub fn load(path: &Path) -> Result<Self, RegistryError> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => {
                return Err(RegistryError::Io { path: path.to_owned(), source });
            }
        };
        let found: Self =
            serde_json::from_slice(&text).map_err(|source| RegistryError::Format { path: path.to_owned(), source })?;
        if found.version != VERSION {
            return Err(RegistryError::Version { path: path.to_owned(), found: found.version });
        }
        found.consistent().map_err(|what| RegistryError::Inconsistent { path: path.to_owned(), what })?;
        Ok(found)
    }

    /// Writes the registry so that a crash at any point leaves the old file or the new one.
    ///
    /// # Errors
    /// Any step that the file system refuses; the old file is then still in place.
    pub fn save(&self, path: &Path) -> Result<(), RegistryError> {
        let io = |source| RegistryError::Io { path: path.to_owned(), source };
        let text = serde_json::to_vec_pretty(self)
            .map_err(|source| RegistryError::Format { path: path.to_owned(), source })?;
        let name = path.file_name().ok_or_else(|| io(io::ErrorKind::InvalidInput.into()))?;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut staged = name.to_owned();
        staged.push(".new");
        let staged = folder.join(staged);
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&staged).map_err(io)?;
        file.write_all(&text).map_err(io)?;
        file.sync_all().map_err(io)?;
        fs::rename(&staged, path).map_err(io)?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
    }

    /// Compilations so far.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The number of a name, used now or once.
    pub fn id(&self, kind: Kind, name: &str) -> Option<u32> {
        self.names(kind).get(name).map(|slot| slot.id)
    }

    /// Every name that has a number, used now or once: counters of retired rules still have one.
    pub fn all(&self, kind: Kind) -> impl Iterator<Item = (&str, u32)> {
        self.names(kind).iter().map(|(name, slot)| (name.as_str(), slot.id))
    }

    /// Numbers the last compilation took from retired names; what is counted under them belongs to the old
    /// name and must be recorded and zeroed at the switch.
    pub fn recycled(&self) -> &[Recycled] {
        &self.recycled
    }

    /// Begins a revision: [`Self::assign`] marks its names as used by it.
    pub(super) fn begin(&mut self) {
        self.revision += 1;
        self.recycled.clear();
    }

    /// The numbers of `names`, in their order, giving one to each name that has none.
    pub(super) fn assign<'a, I>(&mut self, kind: Kind, names: I) -> Result<Vec<u32>, Exhausted>
    where
        I: Iterator<Item = &'a str> + Clone,
    {
        let now = self.revision;
        let (first, last) = kind.range();
        let known = self.names_mut(kind);
        // All known names first: a new name must not take the number of one that comes later in the policy.
        for name in names.clone() {
            if let Some(slot) = known.get_mut(name) {
                slot.used = now;
            }
        }
        let taken: BTreeSet<u32> = known.values().map(|slot| slot.id).collect();
        let mut unused = (first..=last).filter(|id| !taken.contains(id));
        let mut retired: Option<std::vec::IntoIter<(u64, u32, String)>> = None;
        let mut recycled = Vec::new();
        let mut ids = Vec::new();
        for name in names {
            let id = match known.get(name) {
                Some(slot) => slot.id,
                None => {
                    let id = match unused.next() {
                        Some(id) => id,
                        None => {
                            let oldest = retired.get_or_insert_with(|| longest_retired(known, now)).next();
                            let Some((_, id, old)) = oldest else {
                                return Err(Exhausted { kind, name: name.to_owned() });
                            };
                            known.remove(&old);
                            recycled.push(Recycled { kind, id, old, new: name.to_owned() });
                            id
                        }
                    };
                    known.insert(name.to_owned(), Slot { id, used: now });
                    id
                }
            };
            ids.push(id);
        }
        self.recycled.append(&mut recycled);
        Ok(ids)
    }

    fn names(&self, kind: Kind) -> &Names {
        match kind {
            Kind::Net => &self.nets,
            Kind::Rule => &self.rules,
            Kind::Interface => &self.interfaces,
            Kind::Device => &self.devices,
        }
    }

    fn names_mut(&mut self, kind: Kind) -> &mut Names {
        match kind {
            Kind::Net => &mut self.nets,
            Kind::Rule => &mut self.rules,
            Kind::Interface => &mut self.interfaces,
            Kind::Device => &mut self.devices,
        }
    }

    fn consistent(&self) -> Result<(), String> {
        for kind in Kind::ALL {
            let (first, last) = kind.range();
            let mut seen = BTreeMap::new();
            for (name, slot) in self.names(kind) {
                if !(first..=last).contains(&slot.id) {
                    return Err(format!("{} `{name}`: number {} is not in {first}..={last}", kind.en(), slot.id));
                }
                if slot.used > self.revision {
                    return Err(format!("{} `{name}`: used by a revision yet to come", kind.en()));
                }
                if let Some(other) = seen.insert(slot.id, name) {
                    return Err(format!("{}s `{other}` and `{name}` share number {}", kind.en(), slot.id));
                }
            }
        }
        Ok(())
    }
}

/// Names that neither this revision nor the one before used, the longest gone first.
fn longest_retired(known: &Names, now: u64) -> std::vec::IntoIter<(u64, u32, String)> {
    let mut retired: Vec<_> = known
        .iter()
        .filter(|(_, slot)| slot.used + 1 < now)
        .map(|(name, slot)| (slot.used, slot.id, name.clone()))
        .collect();
    retired.sort_unstable();
    retired.into_iter()
}

/// Why a registry could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The file system refused.
    #[error("{path}: {source}: check the state directory's permissions and free space", path = path.display())]
    Io {
        /// The registry's file.
        path: PathBuf,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// Not the JSON that was expected.
    #[error("{path}: not a registry ({source}): restore the file from a backup", path = path.display())]
    Format {
        /// The registry's file.
        path: PathBuf,
        /// Where reading stopped.
        #[source]
        source: serde_json::Error,
    },
    /// Written by another version.
    #[error(
        "{path}: format {found}, this version reads {VERSION}: install the version that wrote it",
        path = path.display()
    )]
    Version {
        /// The registry's file.
        path: PathBuf,
        /// The version it names.
        found: u32,
    },
    /// It contradicts itself.
    #[error("{path}: {what}: restore the file from a backup", path = path.display())]
    Inconsistent {
        /// The registry's file.
        path: PathBuf,
        /// What contradicts what.
        what: String,
    },
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
