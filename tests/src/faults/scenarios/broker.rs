//! The broker fails.

use std::{sync::Arc, time::Duration};

use backplane_core::{NodeOptions, Outage, Sink, Topic, WhenFull};

use super::{Scenario, scenario};
use crate::{
    faults::{HUB, Scene, judge::Excuses},
    kit::{Collector, Control, Doing, Outcome, SOON, confirmed, within},
};

const STOP: &[Control] = &[Control::Stop];
const PAUSE: &[Control] = &[Control::Pause];
const ENDS: Excuses = Excuses { medium_ends: true, ..Excuses::NONE };
const COMES_LATE: Excuses = Excuses { meets_first: true, ..ENDS };
const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario!("killed 0.2 s", 0.2 s, "the broker is killed and started empty 0.2 s later",
            killed_200_ms, { needs: STOP, excuses: ENDS }),
        scenario!("killed 2 s", 2.0 s, "the broker is killed and started empty 2 s later",
            killed_2_s, { needs: STOP, excuses: ENDS }),
        scenario!("killed 20 s", 20.0 s, "the broker is killed and started empty 20 s later",
            killed_20_s, { needs: STOP, excuses: ENDS }),
        scenario!("three restarts", 3.0 s, "the broker is restarted empty three times in a row",
            three_restarts, { needs: STOP, excuses: ENDS }),
        scenario!("five kills in 60 s", 60.0 s,
            "every 12 s the broker is killed and started empty 2 s later",
            five_kills, { needs: STOP, excuses: ENDS, least: MINUTE }),
        scenario!("retention exceeded 2 s", 2.0 s,
            "the broker is away for 2 s, and origins keep 100 envelopes per topic",
            killed_2_s, { needs: STOP, excuses: ENDS, options: keep_little }),
        scenario!("retention exceeded 20 s", 20.0 s,
            "the broker is away for 20 s, and origins keep 100 envelopes per topic",
            killed_20_s, { needs: STOP, excuses: ENDS, options: keep_little }),
        scenario!("paused 2 s", 2.0 s, "the broker is frozen for 2 s", paused_2_s, { needs: PAUSE }),
        scenario!("paused 10 s", 10.0 s, "the broker is frozen for 10 s", paused_10_s,
            { needs: PAUSE }),
        scenario!("join storm", 3.0 s,
            "the broker is away for 2 s, and each node joins 2,000 topics meanwhile",
            join_storm, { needs: STOP, excuses: ENDS }),
        scenario!("started with the broker down", 2.0 s,
            "nodes start and publish 2 s before the broker is there",
            broker_comes_late, { needs: STOP, begins_down: true, excuses: COMES_LATE }),
        scenario!("password changed", 3.0 s,
            "the broker's password is changed, and after a second changed back",
            password_changed, { needs: &[Control::Password] }),
        scenario!("receivers cut by the server", 1.0 s,
            "the server ends every connection that receives", receivers_cut,
            { needs: &[Control::Cut] }),
    ]
}

async fn killed(scene: &Scene, away: Duration) -> Outcome {
    scene.medium().kill().await?;
    scene.lasts(away).await;
    scene.medium().start().await
}

async fn killed_200_ms(scene: &Scene) -> Outcome {
    killed(scene, Duration::from_millis(200)).await
}

async fn killed_2_s(scene: &Scene) -> Outcome {
    killed(scene, Duration::from_secs(2)).await
}

async fn killed_20_s(scene: &Scene) -> Outcome {
    killed(scene, Duration::from_secs(20)).await
}

async fn three_restarts(scene: &Scene) -> Outcome {
    for _ in 0..3 {
        scene.medium().stop().await?;
        scene.medium().start().await?;
        for node in 0..scene.nodes() {
            scene.up(node).await?;
        }
        scene.lasts(Duration::from_millis(500)).await;
    }
    Ok(())
}

async fn five_kills(scene: &Scene) -> Outcome {
    const EVERY: Duration = Duration::from_secs(12);
    const AWAY: Duration = Duration::from_secs(2);
    let begun = tokio::time::Instant::now();
    for time in 1..=5 {
        killed(scene, AWAY).await?;
        // The last part is the run's own, after the fault.
        if time < 5 {
            tokio::time::sleep_until(begun + EVERY * time).await;
        }
    }
    Ok(())
}

fn keep_little(options: &mut NodeOptions) {
    const LITTLE: usize = 100;
    options.retention.topic_envelopes = LITTLE;
    if let Outage::Buffer { count, when_full, .. } = &mut options.outage {
        (*count, *when_full) = (LITTLE, WhenFull::DropOldest);
    }
}

async fn paused(scene: &Scene, time: Duration) -> Outcome {
    scene.medium().pause().await?;
    scene.lasts(time).await;
    scene.medium().resume().await
}

async fn paused_2_s(scene: &Scene) -> Outcome {
    paused(scene, Duration::from_secs(2)).await
}

async fn paused_10_s(scene: &Scene) -> Outcome {
    paused(scene, Duration::from_secs(10)).await
}

async fn join_storm(scene: &Scene) -> Outcome {
    const TOPICS: usize = 2_000;
    const AT_ONCE: usize = 100;
    scene.medium().kill().await?;
    let mut joined = Vec::new();
    for node in 0..scene.nodes() {
        let sink = Collector::new();
        for from in (0..TOPICS).step_by(AT_ONCE) {
            let interest: Vec<_> = (from..from + AT_ONCE)
                .map(|at| {
                    let topic = Topic::user(HUB, &format!("storm {node}/{at}"));
                    (topic, Arc::clone(&sink) as Arc<dyn Sink>)
                })
                .collect();
            joined.push(scene.node(node)?.subscribe(&interest).doing("joining")?);
        }
    }
    scene.lasts(Duration::from_secs(2)).await;
    scene.medium().start().await?;
    for subscription in joined {
        confirmed(&subscription).await?;
        scene.keep(subscription);
    }
    Ok(())
}

async fn broker_comes_late(scene: &Scene) -> Outcome {
    scene.lasts(Duration::from_secs(2)).await;
    scene.medium().start().await
}

async fn password_changed(scene: &Scene) -> Outcome {
    scene.medium().change_password().await?;
    for node in 0..scene.nodes() {
        scene.down_for(node, "Authentication").await?;
    }
    scene.lasts(Duration::from_secs(1)).await;
    scene.medium().restore_password().await?;
    for node in 0..scene.nodes() {
        within(SOON, "a node to be let in again", scene.up(node)).await??;
    }
    Ok(())
}

async fn receivers_cut(scene: &Scene) -> Outcome {
    scene.medium().cut(crate::kit::Connections::Receiving).await?;
    for node in 0..scene.nodes() {
        scene.noticed(node).await?;
    }
    Ok(())
}
