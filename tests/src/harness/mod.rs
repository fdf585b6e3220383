//! Namespaces, wires and the machines at their ends.

pub mod agent;
pub mod bpffs;
pub mod counted;
pub mod counters;
pub mod download;
pub mod fast;
pub mod flood;
pub mod frame;
pub mod gate;
pub mod http;
pub mod incidents;
pub mod link;
pub mod long_line;
pub mod netns;
pub mod nft;
pub mod offload;
pub mod outside;
pub mod packet;
pub mod pki;
pub mod policy;
pub mod raw;
pub mod service;
pub mod stream;
pub mod tool;
pub mod town;
pub mod townhall;
