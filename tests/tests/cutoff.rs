//! Law 3: a cut-off beats everything but the management path, from the next packet on.

#[path = "cutoff/clock.rs"]
mod clock;
#[path = "cutoff/companion.rs"]
mod companion;
#[path = "cutoff/faults.rs"]
mod faults;
#[path = "cutoff/levels.rs"]
mod levels;
#[path = "cutoff/model.rs"]
mod model;
#[path = "cutoff/objects.rs"]
mod objects;
#[path = "cutoff/plan.rs"]
mod plan;
#[path = "cutoff/proof.rs"]
mod proof;
#[path = "cutoff/scene.rs"]
mod scene;
#[path = "cutoff/second_person.rs"]
mod second_person;
#[path = "cutoff/slips.rs"]
mod slips;
#[path = "cutoff/staged.rs"]
mod staged;
#[path = "cutoff/times.rs"]
mod times;
