//! How deep a cut goes.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Each level does all that the one before does.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The next packet in either direction is gone, running conversations and the box's own traffic included.
    #[default]
    Drop,
    /// The conversations are forgotten as well: nothing resumes by itself on restore.
    Flush,
    /// The interfaces are administratively down as well.
    Link,
}

impl Level {
    /// As in records and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Flush => "flush",
            Self::Link => "link",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
