//! One of several servers fails, while the others are well.

use super::{Scenario, scenario};
use crate::{
    faults::Scene,
    kit::{Control, Outcome},
};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario!("failover", 5.0 s,
            "the server that serves is killed, another takes over, and the old one comes back",
            failover, { needs: &[Control::FailOver] }),
        scenario!("rolling restart", 6.0 s, "every server is restarted, one after the other",
            rolling_restart, { needs: &[Control::Roll] }),
        scenario!("lame duck", 5.0 s,
            "a server sends its clients away, ends, and is started again",
            lame_duck, { needs: &[Control::LameDuck] }),
        scenario!("topics moved", 2.0 s,
            "topics are moved from one server to another, and back",
            topics_moved, { needs: &[Control::MoveTopics] }),
    ]
}

async fn failover(scene: &Scene) -> Outcome {
    scene.medium().fail_over().await?;
    all_up(scene).await
}

async fn rolling_restart(scene: &Scene) -> Outcome {
    scene.medium().roll().await?;
    all_up(scene).await
}

async fn lame_duck(scene: &Scene) -> Outcome {
    scene.medium().lame_duck().await?;
    all_up(scene).await
}

async fn topics_moved(scene: &Scene) -> Outcome {
    for _ in 0..2 {
        scene.medium().move_topics().await?;
        all_up(scene).await?;
    }
    Ok(())
}

async fn all_up(scene: &Scene) -> Outcome {
    for node in 0..scene.nodes() {
        scene.up(node).await?;
    }
    Ok(())
}
