//! Blocks outlive the agent, and newcomers do not push out who is known.

use anyhow::{Result, ensure};
use sekimori_tests::harness::townhall::{CLOUD_V4, PC_017};

use super::scene::{open_rules, scene};

#[test]
fn blocks_hold_and_are_placed_with_the_agent_dead() -> Result<()> {
    let mut scene = scene(&open_rules(), "defaults: {syn_flood: {action: block}}")?;
    scene.agent.kill9()?;
    scene.attack(&PC_017, "hping3", &format!("-q -S -p 9999 -i u20 -c 5000 {CLOUD_V4}"))?;
    let left = scene.left("syn")?;
    ensure!((1..=1_000).contains(&left), "{left} packets left");
    scene.agent.restart()?;
    scene.attack(&PC_017, "nping", &format!("--tcp -p 443 -c 5 -q {CLOUD_V4}"))?;
    ensure!(scene.left("syn")? == left, "the block is gone");
    scene.incident("syn_flood")?;
    Ok(())
}
