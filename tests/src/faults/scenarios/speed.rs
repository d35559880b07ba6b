//! Nothing fails: how much gets through.

use std::time::Duration;

use super::{Scenario, scenario};
use crate::{faults::Scene, kit::Outcome};

pub(super) fn all() -> Vec<Scenario> {
    vec![scenario!("full speed", 2.0 s,
        "nothing fails, and for 2 s every node publishes as fast as it may",
        full_speed, { flat_out: true })]
}

async fn full_speed(scene: &Scene) -> Outcome {
    scene.lasts(Duration::from_secs(2)).await;
    Ok(())
}
