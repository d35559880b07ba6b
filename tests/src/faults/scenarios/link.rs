//! A link between a node and the broker fails, while the broker is well.

use std::time::Duration;

use backplane_core::{NodeOptions, chaos::ChaosOptions};

use super::{Scenario, scenario};
use crate::{
    faults::{Direction, Role, Scene, Which},
    kit::{Control, Outcome, SOON, ensure, eventually},
};

const PROXY: &[Control] = &[Control::Through];

/// In these scenarios node 0 only publishes, and all others only receive.
const PUBLISHER: usize = 0;
/// The receiver whose link fails; those after it must get everything.
const RECEIVER: usize = 1;

/// How long links are cut, mostly.
const SHORT: Duration = Duration::from_secs(2);

/// What waits for a reader before the server cuts it off.
const LIMIT: u32 = 1024 * 1024;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario!("link of the publisher cut 2 s", 2.0 s,
            "the publisher's connections are closed, and refused for 2 s",
            publisher_cut, { needs: PROXY, roles: one_publishes }),
        scenario!("link of a receiver cut 2 s", 2.0 s,
            "one receiver's connections are closed, and refused for 2 s",
            receiver_cut, { needs: PROXY, roles: one_publishes }),
        scenario!("link of a receiver cut 20 s", 20.0 s,
            "one receiver's connections are closed, and refused for 20 s",
            receiver_cut_20_s, { needs: PROXY, roles: one_publishes }),
        scenario!("both links cut 2 s", 2.0 s,
            "the connections of the publisher and of one receiver are closed, and refused for 2 s",
            both_cut, { needs: PROXY, roles: one_publishes }),
        scenario!("links reset", 1.0 s,
            "all connections are reset, three times", links_reset, { needs: PROXY }),
        scenario!("nothing reaches the broker", 4.0 s,
            "what one node sends vanishes until it notices", hole_to_broker, { needs: PROXY }),
        scenario!("nothing reaches the node", 4.0 s,
            "what the broker sends to one node vanishes until it notices",
            hole_to_node, { needs: PROXY }),
        scenario!("200 ms ± 200 ms jitter", 4.0 s,
            "everything comes late by 0 to 400 ms each way", jitter, { needs: PROXY }),
        scenario!("truncated frames", 2.0 s,
            "connections end in the middle of a frame, four times", truncated, { needs: PROXY }),
        scenario!("slow reader", 6.0 s,
        "one node reads slowly until the broker cuts it off", slow_reader, {
            needs: &[Control::Through, Control::Limit, Control::Census],
            limit: Some(LIMIT),
            bytes_per_second: 3_000_000,
            options: patient,
        }),
        scenario!("chaos", 3.0 s,
            "of all that arrives, a tenth each is dropped, doubled, reordered and delayed",
            chaos, { needs: &[Control::Chaos], chaos: Some(ChaosOptions::one_in_ten) }),
    ]
}

const fn one_publishes(node: usize, _: usize) -> Role {
    if node == PUBLISHER { Role::Publishes } else { Role::Receives }
}

async fn cut(scene: &Scene, nodes: &[usize], away: Duration) -> Outcome {
    for node in nodes {
        scene.proxy(*node)?.cut_off();
    }
    scene.lasts(away).await;
    for node in nodes {
        scene.noticed(*node).await?;
        scene.proxy(*node)?.heal();
    }
    Ok(())
}

async fn publisher_cut(scene: &Scene) -> Outcome {
    cut(scene, &[PUBLISHER], SHORT).await
}

async fn receiver_cut(scene: &Scene) -> Outcome {
    cut(scene, &[RECEIVER], SHORT).await
}

async fn receiver_cut_20_s(scene: &Scene) -> Outcome {
    cut(scene, &[RECEIVER], Duration::from_secs(20)).await
}

async fn both_cut(scene: &Scene) -> Outcome {
    cut(scene, &[PUBLISHER, RECEIVER], SHORT).await
}

async fn links_reset(scene: &Scene) -> Outcome {
    for _ in 0..3 {
        scene.forget_what_was_noticed();
        scene.proxies().for_each(|proxy| proxy.reset(Which::All));
        again(scene).await?;
        scene.lasts(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// Waits until every node has noticed, and is up again.
async fn again(scene: &Scene) -> Outcome {
    for node in 0..scene.nodes() {
        scene.noticed(node).await?;
        scene.up(node).await?;
    }
    Ok(())
}

async fn hole(scene: &Scene, direction: Direction) -> Outcome {
    scene.proxy(RECEIVER)?.hold(&[direction]);
    scene.noticed(RECEIVER).await?;
    scene.proxy(RECEIVER)?.heal();
    Ok(())
}

async fn hole_to_broker(scene: &Scene) -> Outcome {
    hole(scene, Direction::ToBroker).await
}

async fn hole_to_node(scene: &Scene) -> Outcome {
    hole(scene, Direction::ToNode).await
}

async fn jitter(scene: &Scene) -> Outcome {
    const LATE: Duration = Duration::from_millis(200);
    scene.proxies().for_each(|proxy| proxy.delay(Direction::BOTH, LATE, LATE));
    scene.lasts(Duration::from_secs(4)).await;
    scene.proxies().for_each(super::super::FaultProxy::heal);
    Ok(())
}

async fn truncated(scene: &Scene) -> Outcome {
    let mut random = scene.random();
    for direction in [Direction::ToNode, Direction::ToBroker].repeat(2) {
        scene.forget_what_was_noticed();
        for proxy in scene.proxies() {
            // No frame is as short, and hardly any ends there.
            proxy.truncate(&[direction], 1 + random.below(3_000) as u64);
        }
        again(scene).await?;
    }
    Ok(())
}

/// The broker is to notice before the node does.
const fn patient(options: &mut NodeOptions) {
    const LONG: Duration = Duration::from_secs(60);
    (options.probe_deadline, options.answer_deadline) = (LONG, LONG);
}

async fn slow_reader(scene: &Scene) -> Outcome {
    const TRICKLE: u64 = 50_000;
    let before = scene.medium().census().await?.connections;
    scene.proxy(RECEIVER)?.throttle(&[Direction::ToNode], TRICKLE);
    let check = async || {
        let now = scene.medium().census().await?.connections;
        let known = format!("the broker knows {now} connections, and knew {before} before");
        Ok(if now < before { Ok(()) } else { Err(known) })
    };
    eventually(SOON * 2, "the broker to cut off a slow reader", check).await?;
    scene.proxy(RECEIVER)?.heal();
    scene.noticed(RECEIVER).await
}

async fn chaos(scene: &Scene) -> Outcome {
    scene.chaos().start();
    scene.lasts(Duration::from_secs(3)).await;
    scene.chaos().stop();
    let counts = scene.chaos().counts();
    let happened = counts.dropped > 0 && counts.doubled > 0 && counts.reordered > 0;
    ensure!(happened && counts.delayed > 0, "there was no chaos: {counts:?}");
    Ok(())
}
