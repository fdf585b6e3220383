//! Services: inline entries, other services and the built-in catalogue, resolved.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use super::{
    super::{
        catalogue,
        decode::At,
        diagnostic::{Sink, Span},
        document::File,
        model::Service,
        problem::Problem,
        spans::Declared,
        words::ServiceWord,
    },
    groups::spend,
    names,
};

/// Services that may refer to one another in a chain; bounds the recursion.
const MAX_CHAIN: usize = 64;
/// Entries one service or rule may have after resolving.
const MAX_ENTRIES: usize = 4096;

/// Resolved services.
pub(super) struct Services {
    declared: Vec<Declared>,
    index: HashMap<String, usize>,
    resolved: Vec<State>,
}

enum State {
    Untouched,
    Active,
    Done(Rc<Vec<Service>>),
}

pub(super) fn services(document: &File, budget: &mut usize, sink: &mut Sink) -> Services {
    let mut services = Services { declared: Vec::new(), index: HashMap::new(), resolved: Vec::new() };
    for (name, _) in &document.services.0 {
        if catalogue::service(&name.value.0).is_some() {
            sink.report(name.at, &Problem::BuiltinService { name: name.value.0.clone() }).text(&name.value.0);
        }
        services.index.insert(name.value.0.clone(), services.declared.len());
        services.declared.push(Declared { name: name.value.0.clone(), at: name.at, used: false });
        services.resolved.push(State::Untouched);
    }
    for index in 0..document.services.0.len() {
        services.resolve(document, index, &mut Vec::new(), budget, sink);
    }
    services
}

impl Services {
    fn resolve(
        &mut self,
        document: &File,
        index: usize,
        path: &mut Vec<usize>,
        budget: &mut usize,
        sink: &mut Sink,
    ) -> Rc<Vec<Service>> {
        if let State::Done(entries) = &self.resolved[index] {
            return entries.clone();
        }
        self.resolved[index] = State::Active;
        path.push(index);
        let (name, words) = &document.services.0[index];
        let mut entries = Vec::new();
        for word in words.iter().flat_map(|words| &words.0) {
            match &word.value {
                ServiceWord::Inline(service) => entries.push(*service),
                ServiceWord::Name(other) => match self.index.get(other).copied() {
                    None => entries.extend(self.builtin(other, word.at, sink)),
                    Some(next) => {
                        self.declared[next].used = true;
                        if matches!(self.resolved[next], State::Active) {
                            self.cycle(next, path, word.at, sink);
                        } else if path.len() >= MAX_CHAIN {
                            sink.report(word.at, &Problem::TooDeep { limit: MAX_CHAIN.to_string() }).text(other);
                        } else {
                            entries.extend(self.resolve(document, next, path, budget, sink).iter());
                        }
                    }
                },
            }
            if entries.len() > 2 * MAX_ENTRIES {
                break;
            }
        }
        path.pop();
        let entries = Rc::new(bounded(entries, name.at, sink));
        spend(budget, entries.len(), 0, name.at, sink);
        self.resolved[index] = State::Done(entries.clone());
        entries
    }

    fn cycle(&self, to: usize, path: &[usize], at: Span, sink: &mut Sink) {
        let from = path.iter().position(|step| *step == to).unwrap_or(0);
        let mut steps: Vec<&str> = path[from..].iter().map(|i| self.declared[*i].name.as_str()).collect();
        steps.push(&self.declared[to].name);
        sink.report(at, &Problem::Cycle { path: steps.join(" → ") }).text(&self.declared[to].name);
    }

    fn builtin(&self, name: &str, at: Span, sink: &mut Sink) -> &'static [Service] {
        catalogue::service(name).unwrap_or_else(|| {
            let own = self.declared.iter().map(|service| service.name.as_str());
            let known = own.chain(catalogue::SERVICES.iter().map(|(name, _)| *name));
            names::unknown(sink, at, "service", name, known);
            &[]
        })
    }

    /// The entries of a rule's service list, in order, without repetition.
    pub(super) fn of_rule(&mut self, words: &[At<ServiceWord>], budget: &mut usize, sink: &mut Sink) -> Vec<Service> {
        let mut entries = Vec::new();
        let at = words.first().map(|word| word.at).unwrap_or_default();
        for word in words {
            match &word.value {
                ServiceWord::Inline(service) => entries.push(*service),
                ServiceWord::Name(name) => match self.index.get(name).copied() {
                    None => entries.extend(self.builtin(name, word.at, sink)),
                    Some(index) => {
                        self.declared[index].used = true;
                        if let State::Done(found) = &self.resolved[index] {
                            entries.extend(found.iter());
                        }
                    }
                },
            }
            if entries.len() > 2 * MAX_ENTRIES {
                break;
            }
        }
        let entries = bounded(entries, at, sink);
        spend(budget, entries.len(), 0, at, sink);
        entries
    }

    /// Where they are declared, and what they are.
    pub(super) fn into_parts(self) -> (Vec<Declared>, BTreeMap<String, Vec<Service>>) {
        let entries = self.resolved.iter().map(|state| match state {
            State::Done(entries) => entries.to_vec(),
            State::Untouched | State::Active => Vec::new(),
        });
        let named = self.declared.iter().map(|service| service.name.clone()).zip(entries).collect();
        (self.declared, named)
    }
}

fn bounded(mut entries: Vec<Service>, at: Span, sink: &mut Sink) -> Vec<Service> {
    let mut seen = std::collections::HashSet::new();
    entries.retain(|entry| seen.insert(*entry));
    if entries.len() > MAX_ENTRIES {
        let problem = Problem::TooMany { what: "entries in a service".into(), limit: MAX_ENTRIES.to_string() };
        sink.report(at, &problem);
        entries.clear();
    }
    entries
}
