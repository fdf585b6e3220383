//! The cut-off overlay and its state on disk.
