//! From YAML to a valid [`model::Policy`]: `document` says what the file says, `validate` what it means.
//!
//! `yaml` → `decode` → `document` → `validate` → `model`; `load` walks the files, `lint` comments on the result.

pub mod addresses;
pub mod catalogue;
pub mod decode;
pub mod detectors;
pub mod diagnostic;
pub mod document;
pub mod lint;
pub(crate) mod lists;
mod load;
pub mod members;
pub mod model;
pub(crate) mod nearest;
pub mod packet;
pub mod prefixes;
pub mod problem;
mod schema;
mod spans;
mod validate;
pub mod words;
pub mod yaml;

pub use lint::lint;
pub use load::{Loaded, load};
pub use schema::schema;
pub use spans::{Declared, PartySpans, RuleSpans, Spans};
