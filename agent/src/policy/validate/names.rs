//! Reports about names that several checks share.

use super::super::{
    diagnostic::{Sink, Span, Text},
    nearest::nearest,
    problem::Problem,
};

/// Nothing of that kind has this name.
pub(super) fn unknown<'a>(
    sink: &mut Sink,
    at: Span,
    kind: &str,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) {
    let shown: Vec<&str> = known.clone().take(12).collect();
    let problem = Problem::UnknownName { kind: kind.to_owned(), name: super::super::diagnostic::shorten(name) };
    let report = sink.report(at, &problem).text(name).suggest(nearest(name, known));
    if shown.is_empty() {
        report.expected(Text::new(format!("a {kind}; none is defined"), format!("{kind}(定義がありません)")));
    } else {
        report.expected(Text::same(shown.join(", ")));
    }
}

/// An address belongs to somebody else already.
pub(super) fn taken(sink: &mut Sink, at: Span, address: &str, owner: &str) {
    let problem = Problem::AddressTaken { address: address.to_owned(), owner: owner.to_owned() };
    sink.report(at, &problem).text(address);
}
