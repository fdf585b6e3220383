//! The agent's configuration as written: a tree of nodes that know where they stand.

use saphyr_parser::{Event, Parser, ScanError};

/// Deepest nesting the configuration may have; it needs three.
const MAX_DEPTH: u32 = 8;

/// Something is wrong at a place in a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct At {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What was found and what was expected.
    pub message: String,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub value: Value,
    line: usize,
    column: usize,
}

/// The three kinds.
#[derive(Debug, Clone)]
pub enum Value {
    /// Text as written, without quotes.
    Scalar(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping in the order of the file; keys are unique.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// The single document of a file.
    pub fn read(text: &str) -> Result<Self, At> {
        let mut events = Parser::new_from_str(text);
        let mut root = None;
        while let Some(event) = events.next() {
            let (event, span) = event.map_err(scan)?;
            match event {
                Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Nothing => {}
                Event::DocumentStart(_) if root.is_none() => {}
                Event::DocumentStart(_) => {
                    return Err(at(span.start.line(), span.start.col(), "a second document; one is expected"));
                }
                event => root = Some(node(event, &span, &mut events, 0)?),
            }
        }
        root.ok_or_else(|| at(1, 0, "the file is empty; `state:`, `policy:` and the rest are expected"))
    }

    /// An error here.
    pub fn error(&self, message: impl Into<String>) -> At {
        At { line: self.line, column: self.column, message: message.into() }
    }

    /// The text of a scalar.
    pub fn text(&self, expected: &str) -> Result<&str, At> {
        match &self.value {
            Value::Scalar(text) => Ok(text),
            _ => Err(self.error(format!("expected {expected}"))),
        }
    }

    /// A scalar that reads as `T`.
    pub fn parse<T: std::str::FromStr>(&self, expected: &str) -> Result<T, At> {
        let text = self.text(expected)?;
        text.parse().map_err(|_| self.error(format!("`{text}` is not {expected}")))
    }

    /// The items of a list.
    pub fn list(&self, expected: &str) -> Result<&[Node], At> {
        match &self.value {
            Value::List(items) => Ok(items),
            _ => Err(self.error(format!("expected a list of {expected}"))),
        }
    }

    /// The entries of a mapping, every key one of `known`.
    pub fn fields(&self, known: &[&str]) -> Result<Vec<(&str, &Node)>, At> {
        let Value::Map(entries) = &self.value else {
            return Err(self.error(format!("expected a mapping with {}", known.join(", "))));
        };
        entries
            .iter()
            .map(|(key, value)| {
                let name = key.text("a field name")?;
                if known.contains(&name) {
                    Ok((name, value))
                } else {
                    Err(key.error(format!("unknown field `{name}`; there are {}", known.join(", "))))
                }
            })
            .collect()
    }
}

type Span = saphyr_parser::Span;

fn node<'i>(
    event: Event<'i>,
    span: &Span,
    events: &mut Parser<'i, saphyr_parser::StrInput<'i>>,
    depth: u32,
) -> Result<Node, At> {
    let (line, column) = (span.start.line(), span.start.col() + 1);
    let here = |message: &str| At { line, column, message: message.to_owned() };
    if depth > MAX_DEPTH {
        return Err(here("nested too deep"));
    }
    let value = match event {
        Event::Scalar(text, _, 0, None) => Value::Scalar(text.into_owned()),
        Event::SequenceStart(0, None) => {
            let mut items = Vec::new();
            loop {
                match next(events)? {
                    (Event::SequenceEnd, _) => break Value::List(items),
                    (event, span) => items.push(node(event, &span, events, depth + 1)?),
                }
            }
        }
        Event::MappingStart(0, None) => {
            let mut entries: Vec<(Node, Node)> = Vec::new();
            loop {
                let (event, span) = next(events)?;
                if matches!(event, Event::MappingEnd) {
                    break Value::Map(entries);
                }
                let key = node(event, &span, events, depth + 1)?;
                let name = key.text("a field name")?;
                if entries.iter().any(|(other, _)| other.text("").is_ok_and(|other| other == name)) {
                    return Err(key.error(format!("`{name}` is given twice")));
                }
                let (event, span) = next(events)?;
                let value = node(event, &span, events, depth + 1)?;
                entries.push((key, value));
            }
        }
        Event::Alias(_) | Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..) => {
            return Err(here("anchors, aliases and tags are not used here"));
        }
        _ => return Err(here("the document ends in the middle")),
    };
    Ok(Node { value, line, column })
}

fn next<'i>(events: &mut Parser<'i, saphyr_parser::StrInput<'i>>) -> Result<(Event<'i>, Span), At> {
    match events.next() {
        Some(event) => event.map_err(scan),
        None => Err(at(1, 0, "the document ends in the middle")),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function in `map_err`")]
fn scan(error: ScanError) -> At {
    at(error.marker().line(), error.marker().col(), error.info())
}

fn at(line: usize, col: usize, message: &str) -> At {
    At { line, column: col + 1, message: message.to_owned() }
}
