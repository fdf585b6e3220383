//! The generator's orders and the sink's figures, from the one file that both sides of the kernel compile.

#[path = "../../../../ebpf/src/ruler/plan.rs"]
#[expect(dead_code, reason = "each side of the kernel uses its own part of it")]
mod shared;

pub(crate) use shared::*;

// SAFETY: `repr(C)`, only integers, no padding: any bytes are a value, and every byte of a value is set.
unsafe impl aya::Pod for Plan {}
// SAFETY: as above.
unsafe impl aya::Pod for Arrived {}
