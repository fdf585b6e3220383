//! Groups: addresses, other groups and list files, resolved to merged prefixes.

use std::{collections::HashMap, path::Path, rc::Rc};

use ipnet::IpNet;

use super::{
    super::{
        diagnostic::{Sink, Span},
        document::{File, Member},
        lists::{self, Folder, List, Refused},
        load::Sources,
        problem::Problem,
        spans::Declared,
    },
    names,
};

/// Groups that may refer to one another in a chain; bounds the recursion.
const MAX_CHAIN: usize = 64;

/// Resolved groups.
pub(super) struct Groups {
    declared: Vec<Declared>,
    index: HashMap<String, usize>,
    resolved: Vec<State>,
}

enum State {
    Untouched,
    Active,
    Done(Rc<Vec<IpNet>>),
}

struct Resolver<'a> {
    document: &'a File,
    groups: Groups,
    folder: &'a Folder,
    sources: &'a mut Sources,
    lists: HashMap<String, Rc<Vec<IpNet>>>,
    budget: &'a mut usize,
    sink: &'a mut Sink,
}

pub(super) fn groups(
    document: &File,
    folder: &Folder,
    sources: &mut Sources,
    budget: &mut usize,
    sink: &mut Sink,
) -> Groups {
    let mut groups = Groups { declared: Vec::new(), index: HashMap::new(), resolved: Vec::new() };
    for (name, _) in &document.groups.0 {
        groups.index.insert(name.value.0.clone(), groups.declared.len());
        groups.declared.push(Declared { name: name.value.0.clone(), at: name.at, used: false });
        groups.resolved.push(State::Untouched);
    }
    let mut resolver = Resolver { document, groups, folder, sources, lists: HashMap::new(), budget, sink };
    for index in 0..document.groups.0.len() {
        resolver.resolve(index, &mut Vec::new());
    }
    resolver.groups
}

impl Resolver<'_> {
    fn resolve(&mut self, index: usize, path: &mut Vec<usize>) -> Rc<Vec<IpNet>> {
        if let State::Done(prefixes) = &self.groups.resolved[index] {
            return prefixes.clone();
        }
        self.groups.resolved[index] = State::Active;
        path.push(index);
        let document = self.document;
        let mut prefixes = Vec::new();
        for member in document.groups.0[index].1.iter().flatten() {
            match member {
                Member::Addresses(addresses) => prefixes.extend(&addresses.value.prefixes),
                Member::File(file) => prefixes.extend(self.list(&file.value.0, file.at).iter()),
                Member::Group(name) => prefixes.extend(self.other(&name.value.0, name.at, path).iter()),
            }
            if !spend(self.budget, 0, prefixes.len(), member_at(member), self.sink) {
                prefixes.clear();
            }
        }
        path.pop();
        let merged = Rc::new(IpNet::aggregate(&prefixes));
        let (name, members) = &document.groups.0[index];
        if members.as_ref().is_some_and(Vec::is_empty) {
            self.sink.report(name.at, &Problem::EmptyList).text(&name.value.0);
        }
        spend(self.budget, merged.len(), 0, name.at, self.sink);
        self.groups.resolved[index] = State::Done(merged.clone());
        merged
    }

    fn other(&mut self, name: &str, at: Span, path: &mut Vec<usize>) -> Rc<Vec<IpNet>> {
        let Some(index) = self.groups.index.get(name).copied() else {
            unknown(&self.groups, name, at, self.sink);
            return Rc::default();
        };
        self.groups.declared[index].used = true;
        if matches!(self.groups.resolved[index], State::Active) {
            let from = path.iter().position(|step| *step == index).unwrap_or(0);
            let mut steps: Vec<&str> = path[from..].iter().map(|i| self.groups.declared[*i].name.as_str()).collect();
            steps.push(name);
            self.sink.report(at, &Problem::Cycle { path: steps.join(" → ") }).text(name);
            return Rc::default();
        }
        if path.len() >= MAX_CHAIN {
            self.sink.report(at, &Problem::TooDeep { limit: MAX_CHAIN.to_string() }).text(name);
            return Rc::default();
        }
        self.resolve(index, path)
    }

    fn list(&mut self, name: &str, at: Span) -> Rc<Vec<IpNet>> {
        if let Some(known) = self.lists.get(name) {
            return known.clone();
        }
        let prefixes = Rc::new(self.read(name, at).unwrap_or_default());
        self.lists.insert(name.to_owned(), prefixes.clone());
        prefixes
    }

    fn read(&mut self, name: &str, at: Span) -> Option<Vec<IpNet>> {
        let file = match self.folder.file(Path::new(name)) {
            Ok(file) => file,
            Err(Refused::Outside) => {
                self.sink.report(at, &Problem::OutsideFolder { file: name.to_owned() }).text(name);
                return None;
            }
            Err(Refused::Io(error)) => {
                self.sink.report(at, &Problem::Unreadable { why: error.to_string() }).text(name);
                return None;
            }
        };
        let path = self.folder.path.join(name);
        let number = self.sink.add_file(path.clone());
        let List { prefixes, digest } = lists::read(file, number, name, self.sink)?;
        self.sources.add(name, path, digest);
        Some(prefixes)
    }
}

fn member_at(member: &Member) -> Span {
    match member {
        Member::Addresses(addresses) => addresses.at,
        Member::Group(name) => name.at,
        Member::File(file) => file.at,
    }
}

/// Takes `cost` from the budget and asks whether `held` more would fit; reports if not.
pub(super) fn spend(budget: &mut usize, cost: usize, held: usize, at: Span, sink: &mut Sink) -> bool {
    if cost + held > *budget {
        let limit = super::BUDGET.to_string();
        sink.report(at, &Problem::TooMany { what: "addresses and services after resolving".into(), limit });
        return false;
    }
    *budget -= cost;
    true
}

fn unknown(groups: &Groups, name: &str, at: Span, sink: &mut Sink) {
    names::unknown(sink, at, "group", name, groups.declared.iter().map(|group| group.name.as_str()));
}

impl Groups {
    /// The prefixes of a group a rule names.
    pub(super) fn find(&mut self, name: &str, at: Span, sink: &mut Sink) -> Option<Rc<Vec<IpNet>>> {
        let Some(index) = self.index.get(name).copied() else {
            unknown(self, name, at, sink);
            return None;
        };
        self.declared[index].used = true;
        match &self.resolved[index] {
            State::Done(prefixes) => Some(prefixes.clone()),
            State::Untouched | State::Active => None,
        }
    }

    pub(super) fn declared(self) -> Vec<Declared> {
        self.declared
    }
}
