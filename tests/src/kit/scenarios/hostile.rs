//! P10 and P14: anything may arrive on a channel.

use std::{sync::Arc, time::Duration};

use backplane_core::{Backplane, Envelope, Link, NodeOptions, Stats, Subscription, Topic};
use bytes::Bytes;

use super::{
    HUB,
    garbage::{HEADER, KIND, ROUTE, append, boundaries, damage, specimen, specimens, strangers},
};
use crate::kit::{
    Checker, Collector, Control, Doing, Outcome, SOON, Stage, ensure, eventually, fence, publish,
    within,
};

/// Who sends, who listens, and what they have sent.
struct Scene {
    here: Arc<dyn Backplane>,
    there: Arc<dyn Backplane>,
    topic: Topic,
    ear: Arc<Collector>,
    _subscription: Subscription,
    before: Stats,
    good: usize,
}

impl Scene {
    async fn set(stage: &Stage) -> Outcome<Self> {
        stage.needs(Control::Inject)?;
        let [here, there] = stage.nodes().await?;
        let topic = Topic::group(HUB, "hostile");
        let (ear, subscription) = Collector::listen(&*here, std::slice::from_ref(&topic)).await?;
        let before = here.stats();
        Ok(Self { here, there, topic, ear, _subscription: subscription, before, good: 0 })
    }

    /// Publishes a good envelope in between.
    async fn good(&mut self) -> Outcome {
        let body = format!("good {}", self.good);
        self.good += 1;
        publish(&*self.there, Envelope::new(self.topic.clone(), body)).await
    }

    /// How many pieces the listening node has counted as unreadable.
    fn unreadable(&self) -> u64 {
        let now = self.here.stats();
        now.malformed + now.unknown_version - self.before.malformed - self.before.unknown_version
    }

    async fn counted(&self, count: u64) -> Outcome {
        eventually(SOON, format!("{count} bad pieces to be counted"), async || {
            let counted = self.unreadable();
            Ok(if counted >= count { Ok(()) } else { Err(format!("{counted} are")) })
        })
        .await
    }

    /// All good envelopes have arrived, in order, and the link has never gone.
    async fn unharmed(&self) -> Outcome {
        fence(&*self.there, &self.topic, &[&self.ear]).await?;
        let good: Vec<Bytes> =
            self.ear.bodies().into_iter().filter(|body| body.starts_with(b"good ")).collect();
        let expected: Vec<String> = (0..self.good).map(|at| format!("good {at}")).collect();
        ensure!(good == expected, "of {} good envelopes, {} came", self.good, good.len());
        for node in [&self.here, &self.there] {
            let link = node.link().borrow().clone();
            ensure!(matches!(link, Link::Up { epoch: 1 }), "a link is {link:?}");
        }
        Ok(())
    }
}

/// What is no envelope at all, among good ones: random bytes, other protocols, claims of huge
/// lengths, and envelopes cut off. Each is counted and dropped; the good ones arrive.
///
/// # Errors
///
/// It is otherwise.
pub async fn strange_bytes_are_counted_and_dropped(stage: &Stage) -> Outcome {
    let mut scene = Scene::set(stage).await?;
    let [single, bundle] = specimens(&scene.topic).await?;
    let mut random = stage.random();
    let mut pieces = strangers(&mut random);
    // Cut off anywhere within the header, or within a bundle's last envelope.
    pieces.extend((0..single.len().min(HEADER + 40)).map(|end| single[..end].to_vec()));
    let whole = boundaries(&bundle);
    let cuts = (HEADER..bundle.len()).filter(|end| !whole.contains(end));
    pieces.extend(cuts.map(|end| bundle[..end].to_vec()));
    random.shuffle(&mut pieces);
    for (number, piece) in pieces.iter().enumerate() {
        stage.medium().inject(&scene.topic, piece).await?;
        let counted = scene.counted(number as u64 + 1).await;
        counted.doing(format!("a piece of {} bytes, {piece:.40x?}", piece.len()))?;
        if number % 10 == 0 {
            scene.good().await?;
        }
    }
    scene.good().await?;
    scene.unharmed().await?;
    let strange: Vec<_> = scene.ear.bodies();
    let strange: Vec<_> = strange.iter().filter(|it| !it.starts_with(b"good ")).collect();
    // The whole envelopes of a bundle that was cut off are good.
    let whole = strange.iter().all(|body| body.starts_with(b"damaged "));
    ensure!(whole, "a sink was handed {strange:.50?}");
    stage.note(format_args!("{} pieces, {} counted", pieces.len(), scene.unreadable()));
    Ok(())
}

/// Genuine envelopes with bits flipped, bytes missing, doubled or exchanged. Some are still
/// readable, and may arrive; nothing else happens, and good envelopes between them arrive.
///
/// # Errors
///
/// It is otherwise.
pub async fn damaged_envelopes_harm_nobody(stage: &Stage) -> Outcome {
    const COUNT: usize = 2000;
    let mut scene = Scene::set(stage).await?;
    let specimens = specimens(&scene.topic).await?;
    let mut random = stage.random();
    for number in 0..COUNT {
        let mut bytes = specimens[random.below(2)].clone();
        for _ in 0..=random.below(3) {
            damage(&mut bytes, &mut random);
        }
        stage.medium().inject(&scene.topic, &bytes).await.doing(format!("{bytes:.300x?}"))?;
        if number % 20 == 0 {
            scene.good().await?;
        }
    }
    scene.unharmed().await?;
    let bad = scene.unreadable();
    ensure!(bad > 0, "not one of {COUNT} damaged envelopes was counted");
    stage.note(format_args!("{COUNT} damaged envelopes, {bad} counted"));
    Ok(())
}

/// Versions, kinds and routes that this version does not know are counted and skipped; fields that
/// a newer one appended to the header are skipped, and the envelope arrives.
///
/// # Errors
///
/// It is otherwise.
pub async fn a_newer_version_is_skipped_and_its_new_fields_too(stage: &Stage) -> Outcome {
    let mut scene = Scene::set(stage).await?;
    let [single, bundle] = specimens(&scene.topic).await?;
    let mut newer = Vec::new();
    let changed = |at: usize, value: u8| {
        let mut bytes = single.clone();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        bytes
    };
    newer.extend([0x02, 0x03, 0x7F, 0x00, 0xFF].map(|version| changed(1, version)));
    newer.extend([5, 6, 100, u8::MAX].map(|route| changed(ROUTE, route)));
    newer.extend([100, u8::MAX].map(|kind| changed(KIND, kind)));
    let mut bundle = bundle;
    bundle[1] = 0x82;
    newer.push(bundle);
    let before = scene.here.stats().unknown_version;
    for bytes in &newer {
        stage.medium().inject(&scene.topic, bytes).await?;
        scene.good().await?;
    }
    // In a cluster, a stranger's bytes may come on another way than the good envelopes, and later.
    scene.counted(newer.len() as u64).await?;
    scene.unharmed().await?;
    let counted = scene.here.stats().unknown_version - before;
    ensure!(counted == newer.len() as u64, "{counted} of {} newer ones counted", newer.len());
    let bodies = scene.ear.bodies();
    ensure!(bodies.len() == scene.good, "a newer one arrived: {bodies:?}");

    let mut longer = scene.good;
    for (more, numbered) in [1, 3, 1000].into_iter().flat_map(|it| [(it, false), (it, true)]) {
        let options = if numbered { NodeOptions::default() } else { NodeOptions::bare() };
        // Of a node of its own: it is the first that this one publishes.
        let frame = specimen(&scene.topic, "appended", options).await?;
        let mut appended = vec![0xA5; more];
        // A field that this version does not know stands behind the numbers, or behind their absence.
        if !numbered {
            appended[0] = 0;
        }
        stage.medium().inject(&scene.topic, &append(&frame, &appended)).await?;
        longer += 1;
        scene.ear.has(longer, "the envelope of a newer version").await?;
        let last = scene.ear.messages().pop();
        let right = last.as_ref().is_some_and(|it| it.body == "appended" && it.except.len() == 2);
        ensure!(right, "{more} appended bytes made {last:?} of it");
    }
    Ok(())
}

/// While a stranger floods the channel, good envelopes arrive, once and in order.
///
/// # Errors
///
/// They don't.
pub async fn a_flood_of_garbage_does_not_stall(stage: &Stage) -> Outcome {
    const COUNT: usize = 5000;
    stage.needs(Control::Inject)?;
    let [here, there] = stage.nodes().await?;
    let topic = Topic::group(HUB, "flooded");
    let checker = Checker::new();
    let listener = checker.listen("here", &*here, std::slice::from_ref(&topic)).await?;
    let publisher = checker.publisher(&there, &topic);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let load =
        tokio::spawn(
            async move { publisher.keep_publishing(Duration::from_millis(5), stopped).await },
        );
    let mut random = stage.random();
    for number in 1..=COUNT {
        let length = 1 + random.below(300);
        let mut bytes = random.bytes(length);
        bytes[0] = random.next() as u8 & 0x7F;
        stage.medium().inject(&topic, &bytes).await?;
        if number % 50 == 0 {
            listener.receiver.has(number / 50).await?;
        }
    }
    stop.send_replace(true);
    let certain = within(SOON, "the publisher to end", load).await???;
    checker.settled().await?;
    checker.report().exact()?;
    eventually(SOON, "all garbage to be counted", async || {
        let counted = here.stats().malformed;
        Ok(if counted == COUNT as u64 { Ok(()) } else { Err(format!("{counted} of {COUNT}")) })
    })
    .await?;
    stage.note(format_args!("{certain} good envelopes among {COUNT} pieces of garbage"));
    Ok(())
}
