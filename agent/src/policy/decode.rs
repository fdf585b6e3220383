//! From YAML nodes to structs: one definition gives the decoder (unknown fields refused, all errors in one run,
//! near misses suggested) and the JSON Schema.
//!
//! A value that cannot be decoded is reported and left out, so that the rest is still looked at; whoever decodes
//! must refuse the result if [`Sink::errors`] grew.

use serde_json::{Map, Value as Json, json};

use super::{
    diagnostic::{Sink, Span, Text},
    nearest::nearest,
    problem::Problem,
    words::Ident,
    yaml::{Entry, Node, Value},
};

/// Schema definitions by struct name.
pub type Definitions = Map<String, Json>;

/// Something a YAML node can say.
pub trait Decode: Sized {
    /// Reads `node`; `None` if that was impossible (reported).
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self>;
    /// Its JSON Schema; structs go to `definitions`.
    fn schema(definitions: &mut Definitions) -> Json;
    /// The value of a field that is not given; `None`: the field is required.
    fn absent() -> Option<Self> {
        None
    }
}

/// One scalar with a meaning of its own.
pub trait Leaf: Sized {
    /// Reads the text; `plain` is false for quoted text.
    fn parse(text: &str, plain: bool) -> Result<Self, Wrong>;
    /// What it should look like.
    fn expected() -> Text;
    /// Its JSON Schema.
    fn schema() -> Json;
}

/// Why a scalar was refused.
#[derive(Debug)]
pub struct Wrong {
    /// The problem.
    pub problem: Problem,
    /// What was probably meant.
    pub suggestion: Option<String>,
}
impl From<Problem> for Wrong {
    fn from(problem: Problem) -> Self {
        Self { problem, suggestion: None }
    }
}

/// A scalar with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At<T> {
    /// Where it begins.
    pub at: Span,
    /// What it says.
    pub value: T,
}

impl<T: Leaf> Decode for At<T> {
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
        let Value::Scalar { text, plain } = &node.value else {
            wrong_type(node, &T::expected(), sink);
            return None;
        };
        match T::parse(text, *plain) {
            Ok(value) => Some(Self { at: node.at, value }),
            Err(wrong) => {
                let report = sink.report(node.at, &wrong.problem);
                report.text(text).expected(T::expected()).suggest(wrong.suggestion);
                None
            }
        }
    }
    fn schema(_: &mut Definitions) -> Json {
        T::schema()
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
        T::decode(node, sink).map(Some)
    }
    fn schema(definitions: &mut Definitions) -> Json {
        T::schema(definitions)
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
        let Value::List(items) = &node.value else {
            wrong_type(node, &Text::new("a list", "リスト"), sink);
            return None;
        };
        Some(items.iter().filter_map(|item| T::decode(item, sink)).collect())
    }
    fn schema(definitions: &mut Definitions) -> Json {
        json!({"type": "array", "items": T::schema(definitions)})
    }
    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}

/// A list with at least one element; required where it is not an `Option`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NonEmpty<T>(pub Vec<T>);

impl<T: Decode> Decode for NonEmpty<T> {
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
        let items = Vec::decode(node, sink)?;
        if matches!(&node.value, Value::List(all) if all.is_empty()) {
            sink.report(node.at, &Problem::EmptyList);
            return None;
        }
        Some(Self(items))
    }
    fn schema(definitions: &mut Definitions) -> Json {
        json!({"type": "array", "minItems": 1, "items": T::schema(definitions)})
    }
}

/// One value, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T: Decode> Decode for OneOrMany<T> {
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
        match &node.value {
            Value::List(_) => NonEmpty::decode(node, sink).map(|list| Self(list.0)),
            _ => T::decode(node, sink).map(|one| Self(vec![one])),
        }
    }
    fn schema(definitions: &mut Definitions) -> Json {
        let one = T::schema(definitions);
        json!({"anyOf": [one, {"type": "array", "minItems": 1, "items": one}]})
    }
}

/// Things by name, in document order. A thing that could not be decoded keeps its name, so that references to it
/// are not reported as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<T>(pub Vec<(At<Ident>, Option<T>)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Decode> Decode for Named<T> {
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            wrong_type(node, &Text::new("a mapping from names", "名前をキーとするマップ"), sink);
            return None;
        };
        let mut named = Vec::with_capacity(entries.len());
        for entry in entries {
            let text = Value::Scalar { text: entry.key.clone(), plain: true };
            let name = At::<Ident>::decode(&Node { at: entry.at, value: text }, sink);
            let value = T::decode(&entry.value, sink);
            if let Some(name) = name {
                named.push((name, value));
            }
        }
        Some(Self(named))
    }
    fn schema(definitions: &mut Definitions) -> Json {
        json!({
            "type": "object",
            "propertyNames": Ident::schema(),
            "additionalProperties": T::schema(definitions),
        })
    }
    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}

/// Reports a node of the wrong kind.
pub(crate) fn wrong_type(node: &Node, expected: &Text, sink: &mut Sink) {
    let (problem, text) = match &node.value {
        Value::Refused => return,
        Value::Null => (Problem::EmptyValue, ""),
        Value::Scalar { text, .. } => (Problem::WrongType { found: "single value".into() }, text.as_str()),
        Value::List(_) => (Problem::WrongType { found: "list".into() }, "["),
        Value::Map(_) => (Problem::WrongType { found: "mapping".into() }, "{"),
    };
    sink.report(node.at, &problem).text(text).expected(expected.clone());
}

/// The entries of a struct, fields it does not have reported.
pub(crate) fn entries<'n>(node: &'n Node, label: &str, fields: &[&str], sink: &mut Sink) -> Option<&'n [Entry]> {
    let Value::Map(entries) = &node.value else {
        let text = Text::new(format!("a mapping ({label})"), format!("マップ({label})"));
        wrong_type(node, &text, sink);
        return None;
    };
    for entry in entries {
        if !fields.contains(&entry.key.as_str()) {
            let field = super::diagnostic::shorten(&entry.key);
            let problem = Problem::UnknownField { field, owner: label.to_owned() };
            sink.report(entry.at, &problem)
                .text(&entry.key)
                .expected(Text::same(fields.join(", ")))
                .suggest(nearest(&entry.key, fields.iter().copied()));
        }
    }
    Some(entries)
}

/// One field of a struct.
pub(crate) fn field<T: Decode>(at: Span, entries: &[Entry], name: &str, label: &str, sink: &mut Sink) -> Option<T> {
    let Some(entry) = entries.iter().find(|entry| entry.key == name) else {
        let absent = T::absent();
        if absent.is_none() {
            sink.report(at, &Problem::MissingField { field: name.to_owned(), owner: label.to_owned() });
        }
        return absent;
    };
    if entry.value.value == Value::Null {
        // `addresses:` with everything below it commented out must not silently mean "any address".
        sink.report(entry.at, &Problem::EmptyValue).text(name);
        return T::absent();
    }
    T::decode(&entry.value, sink).or_else(T::absent)
}

/// The JSON Schema of a struct's fields: (name, description, required, schema).
pub(crate) fn object(description: &str, fields: Vec<(&str, String, bool, Json)>) -> Json {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, text, needed, mut schema) in fields {
        if let Json::Object(schema) = &mut schema {
            schema.insert("description".into(), Json::from(text));
        }
        properties.insert(name.to_owned(), schema);
        if needed {
            required.push(Json::from(name));
        }
    }
    json!({
        "type": "object",
        "description": description,
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// Raw identifiers (`r#in`) without their prefix.
pub(crate) fn plain_name(name: &'static str) -> &'static str {
    name.strip_prefix("r#").unwrap_or(name)
}

/// Defines structs that decode themselves and describe themselves as JSON Schema. The string after the name is
/// what messages call it. `span` is the position of the mapping.
macro_rules! document {
    ($( $(#[doc = $doc:literal])+ pub struct $name:ident ($label:literal) {
        $( $(#[doc = $text:literal])+ $field:ident : $ty:ty, )*
    } )*) => { $(
        $(#[doc = $doc])+
        #[derive(Debug, Clone)]
        pub struct $name {
            /// Where the mapping begins.
            pub span: $crate::policy::diagnostic::Span,
            $( $(#[doc = $text])+ pub $field: $ty, )*
        }
        impl $crate::policy::decode::Decode for $name {
            fn decode(
                node: &$crate::policy::yaml::Node,
                sink: &mut $crate::policy::diagnostic::Sink,
            ) -> Option<Self> {
                use $crate::policy::decode::{entries, field, plain_name};
                let fields = [ $( plain_name(stringify!($field)) ),* ];
                let entries = entries(node, $label, &fields, sink)?;
                $( let $field = field::<$ty>(node.at, entries, plain_name(stringify!($field)), $label, sink); )*
                Some(Self { span: node.at, $( $field: $field?, )* })
            }
            fn schema(definitions: &mut $crate::policy::decode::Definitions) -> serde_json::Value {
                use $crate::policy::decode::{Decode, object, plain_name};
                if !definitions.contains_key(stringify!($name)) {
                    definitions.insert(stringify!($name).to_owned(), serde_json::Value::Null);
                    let fields = vec![ $( (
                        plain_name(stringify!($field)),
                        concat!($($text),+).trim().to_owned(),
                        <$ty as Decode>::absent().is_none(),
                        <$ty as Decode>::schema(definitions),
                    ) ),* ];
                    let schema = object(concat!($($doc),+).trim(), fields);
                    definitions.insert(stringify!($name).to_owned(), schema);
                }
                serde_json::json!({ "$ref": concat!("#/$defs/", stringify!($name)) })
            }
        }
    )* };
}
pub(crate) use document;

/// Gives an enum of keywords its decoder and schema.
macro_rules! keywords {
    ($ty:ty, $what:literal { $( $word:literal => $value:expr ),+ $(,)? }) => {
        impl $crate::policy::decode::Leaf for $ty {
            fn parse(text: &str, _: bool) -> Result<Self, $crate::policy::decode::Wrong> {
                match text {
                    $( $word => Ok($value), )+
                    _ => Err($crate::policy::decode::bad_word(text, $what, &[ $( $word ),+ ])),
                }
            }
            fn expected() -> $crate::policy::diagnostic::Text {
                $crate::policy::diagnostic::Text::same([ $( $word ),+ ].join(" | "))
            }
            fn schema() -> serde_json::Value {
                serde_json::json!({ "enum": [ $( $word ),+ ] })
            }
        }
    };
}
pub(crate) use keywords;

/// A word that is none of those allowed.
pub(crate) fn bad_word(text: &str, what: &str, words: &[&str]) -> Wrong {
    Wrong {
        problem: Problem::BadWord { found: super::diagnostic::shorten(text), what: what.to_owned() },
        suggestion: nearest(text, words.iter().copied()).map(str::to_owned),
    }
}
