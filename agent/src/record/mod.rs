//! The append-only record of administrators' actions.
