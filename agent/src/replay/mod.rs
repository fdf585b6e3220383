//! Captures judged by the real programs in a private instance.
