//! A node fails, while the broker and its link are well.

use std::time::Duration;

use super::{Scenario, scenario};
use crate::{
    faults::{Role, Scene, judge::Excuses},
    kit::{Control, Outcome},
};

const PROCESS: &[Control] = &[Control::Process, Control::Through];
const DIES: Excuses = Excuses { origin_dies: true, ..Excuses::NONE };

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario!("publisher killed", 1.0 s,
            "a node that has not reached the broker for a second, and goes on publishing, is killed",
            publisher_killed,
            { needs: PROCESS, process: true, roles: last_publishes, excuses: DIES }),
        scenario!("publisher killed and restarted", 2.0 s,
            "a node is killed in the midst of publishing, and started again a second later",
            publisher_restarted,
            { needs: PROCESS, process: true, spare: true, roles: last_publishes, excuses: DIES }),
        scenario!("receiver paused 4 s", 4.0 s, "a node that receives is frozen for 4 s",
            receiver_paused_4_s, { needs: PROCESS, process: true, roles: last_receives }),
        scenario!("receiver paused 30 s", 30.0 s, "a node that receives is frozen for 30 s",
            receiver_paused_30_s, { needs: PROCESS, process: true, roles: last_receives }),
    ]
}

const fn last_publishes(node: usize, nodes: usize) -> Role {
    if node + 1 == nodes { Role::Publishes } else { Role::Both }
}

const fn last_receives(node: usize, nodes: usize) -> Role {
    if node + 1 == nodes { Role::Receives } else { Role::Both }
}

async fn publisher_killed(scene: &Scene) -> Outcome {
    let last = scene.nodes() - 1;
    scene.proxy(last)?.cut_off();
    scene.lasts(Duration::from_secs(1)).await;
    scene.process(last)?.kill().await
}

async fn publisher_restarted(scene: &Scene) -> Outcome {
    scene.process(scene.nodes() - 1)?.kill().await?;
    scene.lasts(Duration::from_secs(1)).await;
    scene.start_spare().await
}

async fn receiver_paused(scene: &Scene, time: Duration) -> Outcome {
    let process = scene.process(scene.nodes() - 1)?;
    process.pause().await?;
    scene.lasts(time).await;
    process.resume()
}

async fn receiver_paused_4_s(scene: &Scene) -> Outcome {
    receiver_paused(scene, Duration::from_secs(4)).await
}

async fn receiver_paused_30_s(scene: &Scene) -> Outcome {
    receiver_paused(scene, Duration::from_secs(30)).await
}
