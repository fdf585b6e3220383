//! One error for the room: what was being done, and why it failed.

/// What went wrong, and what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source:#}")]
pub struct Error {
    /// What was being done.
    pub what: String,
    /// Why it failed.
    #[source]
    pub source: anyhow::Error,
}

impl Error {
    /// An error with a message of its own.
    pub fn new(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what: what.into(), source: anyhow::Error::msg(why.into()) }
    }
}

/// Says what was being done.
pub trait While<T> {
    /// Adds what was being done to an error.
    fn doing(self, what: impl Into<String>) -> Result<T, Error>;
}

impl<T, E: Into<anyhow::Error>> While<T> for Result<T, E> {
    fn doing(self, what: impl Into<String>) -> Result<T, Error> {
        self.map_err(|source| Error { what: what.into(), source: source.into() })
    }
}
