//! P9: applications with different prefixes on one broker never hear each other.

use std::sync::Arc;

use backplane_core::{Backplane, Envelope, Filter, Topic};

use super::HUB;
use crate::kit::{Collector, Control, Outcome, Stage, Stop, ensure, fence, publish};

/// Several applications, with prefixes like each other, use the same topics.
///
/// # Errors
///
/// One heard another.
pub async fn applications_never_hear_each_other(stage: &Stage) -> Outcome {
    stage.needs(Control::Prefix)?;
    let prefixes = ["shop", "shop2", "sho", "Shop", "shop-eu", "s"];
    let mut applications = vec![(None, stage.node().await?, stage.node().await?)];
    for prefix in prefixes {
        let setup = || stage.setup().prefix(prefix);
        let nodes = (stage.node_with(setup()).await?, stage.node_with(setup()).await?);
        applications.push((Some(prefix), nodes.0, nodes.1));
    }
    let topics = [Topic::all(HUB), Topic::group(HUB, "g"), Topic::user(HUB, "u")];
    apart(&applications, &topics).await
}

/// A prefix and a hub that together read like another prefix and hub.
///
/// # Errors
///
/// One heard another.
pub async fn a_prefix_is_no_part_of_a_name(stage: &Stage) -> Outcome {
    stage.needs(Control::Prefix)?;
    let mut applications = Vec::new();
    for prefix in ["a", "ab", "b", "aorders", "orders", "a.b", "a/b", "a:b", "a*", "*"] {
        let setup = || stage.setup().prefix(prefix);
        // To refuse a prefix is one way to keep it apart.
        if let Err(Stop::Broken(refusal)) = stage.medium().node(setup()).await {
            stage.note(format_args!("the prefix {prefix:?} is refused: {refusal}"));
            continue;
        }
        let nodes = (stage.node_with(setup()).await?, stage.node_with(setup()).await?);
        applications.push((Some(prefix), nodes.0, nodes.1));
    }
    let mut topics = Vec::new();
    for hub in ["", "a", "b", "ab", "bb", "orders", "borders", "rders"] {
        for joint in ["", "/", ".", ":"] {
            topics.push(Topic::all(&format!("{joint}{hub}")));
            topics.push(Topic::all(&format!("b{joint}{hub}")));
            topics.push(Topic::group(&format!("{hub}{joint}"), "all"));
        }
    }
    topics.sort_by_key(ToString::to_string);
    topics.dedup();
    apart(&applications, &topics).await
}

type Application<'a> = (Option<&'a str>, Arc<dyn Backplane>, Arc<dyn Backplane>);

async fn apart(applications: &[Application<'_>], topics: &[Topic]) -> Outcome {
    let mut ears = Vec::new();
    for (_, here, _) in applications {
        ears.push(Collector::listen(&**here, topics).await?);
    }
    for (prefix, _, there) in applications {
        for topic in topics {
            let body = format!("{prefix:?}");
            publish(&**there, Envelope::new(topic.clone(), body)).await?;
        }
    }
    for (ear, _) in &ears {
        ear.has(topics.len(), "an application's own envelopes").await?;
    }
    for ((prefix, here, there), (ear, _)) in applications.iter().zip(&ears) {
        for topic in topics {
            fence(&**there, topic, &[ear]).await?;
        }
        let bodies = ear.bodies();
        let own = format!("{prefix:?}");
        let strange: Vec<_> = bodies.iter().filter(|body| **body != own).collect();
        ensure!(strange.is_empty(), "the application {prefix:?} heard {strange:?}");
        ensure!(bodies.len() == topics.len(), "{prefix:?} heard {} envelopes", bodies.len());
        // As many fences; and nothing may come that the node has to drop itself.
        let (received, expected) = (here.stats().received, 2 * topics.len() as u64);
        if here.semantics().filter == Filter::Broker {
            ensure!(received == expected, "{received} came to {prefix:?} instead of {expected}");
        }
    }
    Ok(())
}
