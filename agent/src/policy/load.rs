//! From a file or folder to a policy.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{
    decode::Decode,
    diagnostic::{Diagnostic, Sink, Span},
    document::File,
    lists::{Folder, Refused},
    model::Policy,
    problem::Problem,
    spans::Spans,
    validate, yaml,
};

/// Files one policy folder may hold.
const MAX_FILES: usize = 64;

/// What came of loading.
#[derive(Debug)]
pub struct Loaded {
    /// The policy; `None` if any diagnostic is an error.
    pub policy: Option<Policy>,
    /// Where its parts were written.
    pub spans: Spans,
    /// Everything to say about it, sorted by place. Lints are not among them: see [`super::lint()`].
    pub diagnostics: Vec<Diagnostic>,
}

/// What was read, for [`Policy::files`] and [`Policy::hash`].
#[derive(Debug, Default)]
pub(crate) struct Sources {
    files: Vec<PathBuf>,
    digests: Vec<[u8; 32]>,
    hash: Sha256,
}

impl Sources {
    /// Notes a file: its name inside the folder, its path, and the digest of its contents.
    pub(crate) fn add(&mut self, name: &str, path: PathBuf, digest: [u8; 32]) {
        self.files.push(path);
        self.digests.push(digest);
        self.hash.update((name.len() as u64).to_be_bytes());
        self.hash.update(name.as_bytes());
        self.hash.update(digest);
    }

    /// Files, their digests, and the hash over all of it.
    pub(crate) fn finish(self) -> (Vec<PathBuf>, Vec<[u8; 32]>, [u8; 32]) {
        (self.files, self.digests, self.hash.finalize().into())
    }
}

/// Loads the policy in `path`: one YAML file, or a folder of them. Reads nothing outside that folder (a single
/// file's: the one it is in). Never fails otherwise than by diagnostics.
pub fn load(path: &Path) -> Loaded {
    let mut sink = Sink::default();
    let made = load_into(path, &mut sink);
    let (policy, mut spans) = made.map_or_else(Default::default, |(policy, spans)| (policy, spans));
    if sink.errors() > 0 {
        spans = Spans::default();
    }
    let policy = policy.filter(|_| sink.errors() == 0);
    spans.files.clone_from(&sink.files);
    Loaded { policy, spans, diagnostics: sink.finish() }
}

fn load_into(path: &Path, sink: &mut Sink) -> Option<(Option<Policy>, Spans)> {
    let (folder, names) = match find(path) {
        Ok(found) => found,
        Err(error) => {
            let file = sink.add_file(path.to_owned());
            sink.report(Span { file, line: 0, col: 0 }, &Problem::Unreadable { why: error.to_string() });
            return None;
        }
    };
    if names.is_empty() || names.len() > MAX_FILES {
        let file = sink.add_file(path.to_owned());
        let problem = if names.is_empty() {
            Problem::NoFiles
        } else {
            Problem::TooMany { what: "files".into(), limit: MAX_FILES.to_string() }
        };
        sink.report(Span { file, line: 0, col: 0 }, &problem);
        return None;
    }
    let mut sources = Sources::default();
    let (mut documents, mut damaged) = (Vec::new(), false);
    for name in &names {
        let full = folder.path.join(name);
        let single = names.len() == 1 && path == full;
        let file = sink.add_file(full.clone());
        let whole = Span { file, line: 0, col: 0 };
        let bytes = match contents(&folder, name, single) {
            Ok(bytes) => bytes,
            Err(error) => {
                sink.report(whole, &Problem::Unreadable { why: error.to_string() });
                damaged = true;
                continue;
            }
        };
        sources.add(&name.to_string_lossy(), full, Sha256::digest(&bytes).into());
        let tree = yaml::read(&bytes, file, sink);
        damaged |= tree.damaged;
        if tree.damaged && tree.root.value == yaml::Value::Null {
            continue;
        }
        if let Some(document) = File::decode(&tree.root, sink) {
            if document.version.is_none() && !tree.damaged && !names_version(&tree.root) {
                let at = Span { file, line: 1, col: 1 };
                sink.report(at, &Problem::MissingVersion).suggest(Some("version: 1"));
            }
            documents.push(document);
        }
    }
    // What is missing from a damaged file would only be reported as unknown.
    if damaged || documents.len() < names.len() {
        return None;
    }
    let (policy, spans) = validate::validate(documents, &folder, sources, sink);
    Some((Some(policy), spans))
}

fn names_version(root: &yaml::Node) -> bool {
    matches!(&root.value, yaml::Value::Map(entries) if entries.iter().any(|entry| entry.key == "version"))
}

/// The folder and the names of its policy files, sorted.
fn find(path: &Path) -> io::Result<(Folder, Vec<PathBuf>)> {
    if !path.metadata()?.is_dir() {
        let name = path.file_name().ok_or_else(|| io::Error::other("not a file"))?;
        let folder = Folder::open(path.parent().unwrap_or(Path::new(".")))?;
        return Ok((folder, vec![PathBuf::from(name)]));
    }
    let mut names = Vec::new();
    for entry in path.read_dir()? {
        let name = PathBuf::from(entry?.file_name());
        let hidden = name.to_string_lossy().starts_with('.');
        if !hidden && name.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            names.push(name);
        }
    }
    names.sort();
    Ok((Folder::open(path)?, names))
}

/// The bytes of a policy file, one more than the limit at most. A file named by the caller may be a link to
/// anywhere; those found in a folder stay inside it.
fn contents(folder: &Folder, name: &Path, named_by_caller: bool) -> io::Result<Vec<u8>> {
    let file = if named_by_caller {
        let path = folder.path.join(name);
        if !path.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        std::fs::File::open(path)?
    } else {
        folder.file(name).map_err(|refused| match refused {
            Refused::Outside => io::Error::other("a link that leads out of the policy folder"),
            Refused::Io(error) => error,
        })?
    };
    let mut bytes = Vec::new();
    file.take(yaml::MAX_FILE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
