//! Attacks from the inside, made with the tools attackers use: seen in the first packets, stopped at the gate; and what is
//! nearest to them but benign, left alone.

#[path = "detect/abuse.rs"]
mod abuse;
#[path = "detect/benign.rs"]
mod benign;
#[path = "detect/crowds.rs"]
mod crowds;
#[path = "detect/floods.rs"]
mod floods;
#[path = "detect/impostors.rs"]
mod impostors;
#[path = "detect/office.rs"]
mod office;
#[path = "detect/outlive.rs"]
mod outlive;
#[path = "detect/placed.rs"]
mod placed;
#[path = "detect/scans.rs"]
mod scans;
#[path = "detect/scene.rs"]
mod scene;
#[path = "detect/slow.rs"]
mod slow;
