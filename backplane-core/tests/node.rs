//! The pipeline and its supervisor over a scripted wire, in virtual time.

#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test fails by panicking, and shares its helpers"
)]

mod scripted;

use std::{
    sync::{Arc, Mutex, OnceLock, atomic::Ordering},
    time::Duration,
};

use backplane_core::{
    Backplane, ByteSize, CloseError, Envelope, Event, Link, Next, Node, NodeOptions, PublishError,
    Receipt, Sink, SubscribeError, Topic, stream,
};
use futures_util::{FutureExt, StreamExt};
use scripted::Scripted;

fn topic() -> Topic {
    Topic::group("orders", "kitchen")
}

fn envelope(body: &'static str) -> Envelope {
    Envelope::new(topic(), body)
}

async fn up(node: &Node) {
    node.link().wait_for(Link::is_up).await.unwrap();
}

async fn down(node: &Node) {
    node.link().wait_for(|link| matches!(link, Link::Down { .. })).await.unwrap();
}

#[derive(Debug, Default)]
struct Heard(Mutex<Vec<String>>);

impl Sink for Heard {
    fn accept(&self, event: &Event) {
        let heard = match event {
            Event::Message(envelope) => String::from_utf8_lossy(&envelope.body).into_owned(),
            Event::Interrupted { .. } => "interrupted".to_owned(),
            Event::Restored => "restored".to_owned(),
            other => format!("{other:?}"),
        };
        self.0.lock().unwrap().push(heard);
    }
}

impl Heard {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_publish_serves_local_sinks_at_once_and_the_ticket_tells_the_rest() {
    let wire = Scripted::by_hand();
    let node = wire.node();
    let heard = Arc::new(Heard::default());
    let _subscription = node.subscribe(&[(topic(), Arc::<Heard>::clone(&heard))]).unwrap();
    up(&node).await;
    let mut ticket = node.try_publish(envelope("tea")).unwrap();
    assert_eq!(heard.all(), ["tea"]);
    assert!((&mut ticket).now_or_never().is_none());
    wire.answers.add_permits(1);
    assert_eq!(ticket.await.unwrap(), Receipt::Accepted);
    // Its own echo changes nothing.
    let written = wire.script.written.lock().unwrap()[0].clone();
    wire.inbound().envelope(&written);
    assert_eq!(heard.all(), ["tea"]);
    assert_eq!(node.stats().echoes, 1);
}

#[tokio::test(start_paused = true)]
async fn publishes_from_many_tasks_coalesce_and_two_batches_are_in_flight() {
    let wire = Scripted::by_hand();
    let node = wire.node();
    up(&node).await;
    let first = node.try_publish(envelope("0")).unwrap();
    while wire.bodies().is_empty() {
        tokio::task::yield_now().await;
    }
    let rest: Vec<_> = (0..100).map(|_| node.try_publish(envelope("n")).unwrap()).collect();
    while wire.bodies().len() < 101 {
        tokio::task::yield_now().await;
    }
    wire.answers.add_permits(10);
    first.await.unwrap();
    for ticket in rest {
        ticket.await.unwrap();
    }
    assert_eq!(node.stats().write_round_trips, 2);
    assert_eq!(wire.script.largest_in_flight.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refused_envelope_costs_only_itself() {
    let wire = Scripted::new();
    wire.script.refused_bodies.lock().unwrap().push("bad");
    let node = wire.node();
    up(&node).await;
    let tickets: Vec<_> = ["a", "bad", "b", "bad"]
        .map(|body| node.try_publish(envelope(body)).unwrap())
        .into_iter()
        .collect();
    let outcomes = futures_util::future::join_all(tickets).await;
    let ok: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(ok, [true, false, true, false]);
    assert!(matches!(outcomes[1], Err(PublishError::Refused { .. })));
    assert_eq!((node.stats().sent, node.stats().refused), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_gives_the_envelope_back_and_room_waits() {
    let wire = Scripted::by_hand();
    let mut options = NodeOptions::bare();
    options.queue_bytes = ByteSize::b(3 * (256 + 3));
    let node = wire.node_with(options);
    up(&node).await;
    let mut tickets: Vec<_> = (0..3).map(|_| node.try_publish(envelope("tea")).unwrap()).collect();
    let Err(PublishError::Full(returned)) = node.try_publish(envelope("one")) else {
        panic!("it has room for three");
    };
    assert_eq!(returned.body, "one");
    assert_eq!(node.stats().full, 1);
    assert!(node.room(&returned).now_or_never().is_none());
    let waits = node.publish(*returned);
    wire.answers.add_permits(10);
    assert_eq!(waits.await.unwrap(), Receipt::Accepted);
    tickets.drain(..).for_each(|ticket| assert!(ticket.now_or_never().unwrap().is_ok()));
    // One that is larger than the whole bound goes alone.
    let large = Envelope::new(topic(), vec![0; 1000]);
    assert_eq!(node.publish(large).await.unwrap(), Receipt::Accepted);
}

#[tokio::test(start_paused = true)]
async fn many_publishers_share_a_short_queue() {
    let wire = Scripted::new();
    let mut options = NodeOptions::bare();
    options.queue_envelopes = 2;
    let node = Arc::new(wire.node_with(options));
    up(&node).await;
    let publishers: Vec<_> = (0..16)
        .map(|_| {
            let node = Arc::clone(&node);
            tokio::spawn(async move {
                for _ in 0..50 {
                    node.publish(envelope("tea")).await.unwrap();
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await.unwrap();
    }
    assert_eq!(wire.bodies().len(), 800);
    // Waiting for room and then not publishing takes nothing from others.
    for _ in 0..100 {
        node.room(&envelope("tea")).await.unwrap();
    }
    node.publish(envelope("tea")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sent_is_an_error_and_happens_nowhere() {
    let wire = Scripted::new();
    let node = wire.node();
    let heard = Arc::new(Heard::default());
    let _subscription = node.subscribe(&[(topic(), Arc::<Heard>::clone(&heard))]).unwrap();
    up(&node).await;
    let large = Envelope::new(topic(), vec![0; 1025]);
    assert!(matches!(node.try_publish(large), Err(PublishError::TooLarge { .. })));
    let long = Envelope::new(Topic::group("h", &"n".repeat(1025)), "");
    assert!(matches!(node.try_publish(long), Err(PublishError::NameTooLong)));
    let excludes = envelope("x").except((0..10_000).map(|n| format!("connection {n}")));
    let outcome = node.try_publish(excludes);
    assert!(matches!(outcome, Err(PublishError::TooManyExceptions { count: 10_000 })));
    assert_eq!(heard.all(), [""; 0]);
    assert_eq!(node.stats().accepted, 0);
}

#[tokio::test(start_paused = true)]
async fn a_sink_may_not_publish() {
    #[derive(Debug, Default)]
    struct Publishes(OnceLock<Arc<Node>>, Mutex<Vec<PublishError>>);
    impl Sink for Publishes {
        fn accept(&self, _: &Event) {
            let node = self.0.get().unwrap();
            let error = node.try_publish(envelope("again")).unwrap_err();
            self.1.lock().unwrap().push(error);
        }
    }
    let wire = Scripted::new();
    let node = Arc::new(wire.node());
    let sink = Arc::new(Publishes::default());
    sink.0.set(Arc::clone(&node)).unwrap();
    let _subscription = node.subscribe(&[(topic(), Arc::<Publishes>::clone(&sink))]).unwrap();
    up(&node).await;
    node.publish(envelope("tea")).await.unwrap();
    let errors = sink.1.lock().unwrap();
    assert!(matches!(errors[..], [PublishError::InsideSink]), "{errors:?}");
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_panics_costs_its_envelope_only() {
    #[derive(Debug)]
    struct Panics;
    impl Sink for Panics {
        fn accept(&self, event: &Event) {
            if matches!(event, Event::Message(envelope) if envelope.body == "bad") {
                panic!("on purpose");
            }
        }
    }
    let wire = Scripted::new();
    let mut options = NodeOptions::bare();
    options.queue_bytes = ByteSize::b(2 * (256 + 3));
    options.queue_envelopes = 2;
    let node = wire.node_with(options);
    let _subscription = node.subscribe(&[(topic(), Arc::new(Panics))]).unwrap();
    up(&node).await;
    for _ in 0..5 {
        let publish = std::panic::AssertUnwindSafe(|| drop(node.try_publish(envelope("bad"))));
        assert!(std::panic::catch_unwind(publish).is_err());
    }
    // Neither is this thread taken for one inside a sink, nor is room lost.
    for _ in 0..2 {
        let _ticket = node.try_publish(envelope("tea")).unwrap();
    }
    assert_eq!(node.publish(envelope("tea")).await.unwrap(), Receipt::Accepted);
    assert_eq!(wire.bodies(), ["tea"; 3]);
}

#[tokio::test(start_paused = true)]
async fn while_the_broker_is_away_the_node_serves_itself_and_says_so() {
    let wire = Scripted::new();
    wire.script.away.store(true, Ordering::Relaxed);
    let node = wire.node();
    let heard = Arc::new(Heard::default());
    let subscription = node.subscribe(&[(topic(), Arc::<Heard>::clone(&heard))]).unwrap();
    down(&node).await;
    let error = node.publish(envelope("tea")).await.unwrap_err();
    assert!(matches!(error, PublishError::LinkDown(_)), "{error}");
    assert_eq!(heard.all(), ["tea"]);
    assert!(subscription.confirmed().now_or_never().is_none());
    wire.script.away.store(false, Ordering::Relaxed);
    subscription.confirmed().await.unwrap();
    up(&node).await;
    node.publish(envelope("more")).await.unwrap();
    assert_eq!(heard.all(), ["tea", "more"], "no Interrupted before the first confirmation");
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_told_once_and_interest_is_restored_whole() {
    let wire = Scripted::by_hand();
    let node = wire.node();
    let heard = Arc::new(Heard::default());
    let topics: Vec<(Topic, Arc<dyn Sink>)> = (0..100)
        .map(|n| (Topic::group("h", &n.to_string()), Arc::<Heard>::clone(&heard) as Arc<dyn Sink>))
        .collect();
    let subscription = node.subscribe(&topics).unwrap();
    subscription.confirmed().await.unwrap();
    up(&node).await;
    let in_flight = node.try_publish(envelope("in flight")).unwrap();
    while wire.bodies().is_empty() {
        tokio::task::yield_now().await;
    }
    let stale = wire.inbound();
    wire.script.subscribed.lock().unwrap().clear();
    wire.lose();
    assert!(matches!(in_flight.await, Err(PublishError::Unknown)));
    node.link().wait_for(|link| matches!(link, Link::Up { epoch: 2 })).await.unwrap();
    assert_eq!(heard.all(), ["interrupted", "restored"]);
    // The hundred, and the node's own probe topic.
    assert_eq!(wire.script.subscribed.lock().unwrap().len(), 102);
    // The old connection delivers nothing any more.
    let mut foreign = Envelope::new(Topic::group("h", "1"), "late");
    foreign.origin = Some(backplane_core::NodeId::random());
    stale.envelope(&foreign);
    assert_eq!(heard.all().len(), 2);
    wire.inbound().envelope(&foreign);
    assert_eq!(heard.all().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_takes_but_does_not_deliver_is_muted_and_replaced() {
    let wire = Scripted::new();
    let node = wire.node();
    let heard = Arc::new(Heard::default());
    let subscription = node.subscribe(&[(topic(), Arc::<Heard>::clone(&heard))]).unwrap();
    subscription.confirmed().await.unwrap();
    up(&node).await;
    let mut link = node.link();
    let before = tokio::time::Instant::now();
    wire.script.mute.store(true, Ordering::Relaxed);
    link.wait_for(|link| matches!(link, Link::Muted { .. })).await.unwrap();
    let noticed = before.elapsed();
    let options = NodeOptions::bare();
    assert!(noticed <= options.probe_every + options.probe_deadline, "{noticed:?}");
    wire.script.mute.store(false, Ordering::Relaxed);
    link.wait_for(Link::is_up).await.unwrap();
    assert_eq!(heard.all(), ["interrupted", "restored"]);
}

#[tokio::test(start_paused = true)]
async fn a_forged_probe_proves_nothing() {
    let wire = Scripted::new();
    let node = wire.node();
    up(&node).await;
    let mut forged = wire.script.probe.lock().unwrap().clone().unwrap();
    forged.body = u64::MAX.to_le_bytes().to_vec().into();
    wire.inbound().envelope(&forged);
    wire.script.mute.store(true, Ordering::Relaxed);
    let mut link = node.link();
    let muted = link.wait_for(|link| matches!(link, Link::Muted { .. }));
    tokio::time::timeout(Duration::from_secs(60), muted).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn attempts_go_on_with_growing_bounded_pauses() {
    let wire = Scripted::new();
    wire.script.away.store(true, Ordering::Relaxed);
    let node = wire.node();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let attempts = wire.script.attempts.load(Ordering::Relaxed);
    assert!((300..=620).contains(&attempts), "every one to two seconds: {attempts}");
    wire.script.away.store(false, Ordering::Relaxed);
    up(&node).await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_topic_does_not_hold_the_others() {
    let wire = Scripted::new();
    wire.script.refused_topics.lock().unwrap().push("forbidden".to_owned());
    let node = wire.node();
    let sink: Arc<dyn Sink> = Arc::new(Heard::default());
    let forbidden = node.subscribe(&[(Topic::group("h", "forbidden"), Arc::clone(&sink))]).unwrap();
    let allowed = node.subscribe(&[(topic(), sink)]).unwrap();
    allowed.confirmed().await.unwrap();
    let error = forbidden.confirmed().await.unwrap_err();
    assert!(matches!(error, SubscribeError::Refused { .. }), "{error}");
    up(&node).await;
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_subscriptions_takes_few_round_trips() {
    let wire = Scripted::new();
    let node = Arc::new(wire.node());
    up(&node).await;
    let before = node.stats().interest_round_trips;
    let sink: Arc<dyn Sink> = Arc::new(Heard::default());
    let joins = (0..10_000).map(|n| {
        let (node, sink) = (Arc::clone(&node), Arc::clone(&sink));
        async move {
            let topic = Topic::group("h", &n.to_string());
            let subscription = node.subscribe(&[(topic, sink)]).unwrap();
            subscription.confirmed().await.unwrap();
            subscription
        }
    });
    let joined = futures_util::future::join_all(joins).await;
    let round_trips = node.stats().interest_round_trips - before;
    assert!(round_trips < 100, "{round_trips}");
    drop(joined);
    // Virtual time passes only while nothing else can happen.
    while wire.script.unsubscribed.lock().unwrap().len() < 10_000 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn closing_sends_what_is_queued() {
    let wire = Scripted::new();
    let node = wire.node();
    up(&node).await;
    for _ in 0..3000 {
        let _ticket = node.try_publish(envelope("tea")).unwrap();
    }
    let flushed = node.close(Duration::from_secs(5)).await.unwrap();
    assert_eq!((flushed.sent, wire.bodies().len()), (3000, 3000));
    assert!(matches!(node.try_publish(envelope("late")), Err(PublishError::Closed)));
    assert!(matches!(node.publish(envelope("late")).await, Err(PublishError::Closed)));
    assert!(matches!(node.room(&envelope("late")).await, Err(PublishError::Closed)));
    let sink: Arc<dyn Sink> = Arc::new(Heard::default());
    assert!(matches!(node.subscribe(&[(topic(), sink)]), Err(SubscribeError::Closed)));
    assert!(matches!(node.close(Duration::ZERO).await, Err(CloseError::AlreadyClosed)));
    assert!(matches!(*node.link().borrow(), Link::Closed));
}

#[tokio::test(start_paused = true)]
async fn closing_past_its_deadline_says_what_was_not_sent() {
    let wire = Scripted::by_hand();
    let node = wire.node();
    up(&node).await;
    let tickets: Vec<_> = (0..5).map(|_| node.try_publish(envelope("tea")).unwrap()).collect();
    let error = node.close(Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(error, CloseError::DeadlinePassed { unsent: 5 }), "{error}");
    for ticket in tickets {
        assert!(ticket.await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn closing_while_the_broker_is_away_returns_at_once() {
    let wire = Scripted::new();
    wire.script.away.store(true, Ordering::Relaxed);
    let node = wire.node();
    down(&node).await;
    assert_eq!(node.close(Duration::from_secs(5)).await.unwrap().sent, 0);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_node_ends_its_task() {
    let wire = Scripted::new();
    let node = wire.node();
    up(&node).await;
    let mut link = node.link();
    drop(node);
    link.wait_for(|link| matches!(link, Link::Closed)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stream_says_how_many_it_dropped_and_where() {
    let wire = Scripted::new();
    let node = wire.node();
    let mut events = stream(&node, &[topic()], 2).unwrap();
    up(&node).await;
    for body in ["1", "2", "3", "4"] {
        let _ticket = node.try_publish(envelope(body)).unwrap();
    }
    let mut read = async || match events.next().await {
        Some(Next::Event(Event::Message(it))) => String::from_utf8_lossy(&it.body).into_owned(),
        other => format!("{other:?}"),
    };
    assert_eq!(read().await, "1");
    assert_eq!(read().await, "2");
    assert_eq!(read().await, "Some(Dropped(2))", "told though nothing follows");
    let _ticket = node.try_publish(envelope("5")).unwrap();
    assert_eq!(read().await, "5");
}

#[tokio::test(start_paused = true)]
async fn a_doubt_opens_and_closes_at_once() {
    let wire = Scripted::new();
    let node = wire.node();
    let heard = Arc::new(Heard::default());
    let subscription = node.subscribe(&[(topic(), Arc::<Heard>::clone(&heard))]).unwrap();
    subscription.confirmed().await.unwrap();
    up(&node).await;
    wire.inbound().doubt();
    assert_eq!(heard.all(), ["interrupted", "restored"]);
    assert!(node.link().borrow().is_up());
}
