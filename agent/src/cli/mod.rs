//! The command line: raw arguments, meaning, output in two languages.
