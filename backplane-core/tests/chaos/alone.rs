//! One node, whose wire is played by hand.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use backplane_core::{
    Backplane, ByteSize, Delivery, Envelope, Event, Link, Node, NodeId, NodeOptions, Order,
    Sequencing, Sink, Subscription, Topic,
    chaos::{Chaos, ChaosCounts, ChaosError, ChaosHandle, ChaosOptions},
    wire::Wire,
};
use tokio::time::Instant;

use crate::{SOON, scripted::Scripted, until};

fn topic() -> Topic {
    Topic::group("orders", "kitchen")
}

/// Bodies, each with the time at which it came.
#[derive(Debug)]
struct Heard {
    begun: Instant,
    bodies: Mutex<Vec<(Duration, String)>>,
}

impl Sink for Heard {
    fn accept(&self, event: &Event) {
        if let Event::Message(it) = event {
            let body = String::from_utf8_lossy(&it.body).into_owned();
            self.bodies.lock().unwrap().push((self.begun.elapsed(), body));
        }
    }
}

struct Play {
    wire: Scripted,
    node: Node,
    switch: ChaosHandle,
    heard: Arc<Heard>,
    _interest: Subscription,
}

impl Play {
    async fn new(options: ChaosOptions) -> Self {
        let wire = Scripted::new();
        let chaos = Chaos::new(wire.clone(), options).unwrap();
        let switch = chaos.handle();
        let node = Node::start(chaos, NodeOptions::bare());
        let heard = Arc::new(Heard { begun: Instant::now(), bodies: Mutex::default() });
        let sink = Arc::clone(&heard) as Arc<dyn Sink>;
        let interest = node.subscribe(&[(topic(), sink)]).unwrap();
        interest.confirmed().await.unwrap();
        node.link().wait_for(Link::is_up).await.unwrap();
        Self { wire, node, switch, heard, _interest: interest }
    }

    /// One of another node's arrives.
    fn arrives(&self, number: u32) {
        let mut envelope = Envelope::new(topic(), number.to_string());
        envelope.origin = Some(NodeId::from_bytes([7; 16]));
        self.wire.inbound().envelope(&envelope);
    }

    fn bodies(&self) -> Vec<String> {
        self.heard.bodies.lock().unwrap().iter().map(|(_, body)| body.clone()).collect()
    }

    /// Waits until so many have come.
    async fn heard(&self, count: usize) {
        until("heard", || self.bodies().len() >= count).await;
    }

    async fn settled(&self) {
        until("settled", || self.switch.counts().held() == 0).await;
    }
}

fn bodies(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|it| it.to_string()).collect()
}

async fn story(seed: u64) -> (Vec<(Duration, String)>, ChaosCounts) {
    let play = Play::new(ChaosOptions::one_in_ten(seed)).await;
    let before = play.switch.counts();
    assert_eq!(before.arrived, before.passed + before.dropped + before.held() - before.doubled);
    for number in 0..500 {
        play.arrives(number);
        if number % 7 == 0 {
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }
    play.settled().await;
    let heard = play.heard.bodies.lock().unwrap().clone();
    (heard, play.switch.counts())
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_and_the_same_frames_give_the_same_decisions() {
    let (first, again, other) = (story(7).await, story(7).await, story(8).await);
    assert_eq!(first, again);
    assert_ne!(first, other);
}

#[tokio::test(start_paused = true)]
async fn no_more_are_held_than_allowed_and_what_finds_no_room_goes_on() {
    let mut options = ChaosOptions::default();
    options.delay = 1.0;
    options.delay_for = Duration::from_secs(1)..=Duration::from_secs(2);
    let (mut few, mut small) = (options.clone(), options);
    few.held_frames = 10;
    small.held_bytes = ByteSize::kib(1);
    for (options, most) in [(few, 10), (small, 4)] {
        let play = Play::new(options).await;
        let before = play.switch.counts();
        (0..25).for_each(|number| play.arrives(number));
        let counts = play.switch.counts();
        // What the node says to everyone, it hears as well: some of that may be held already.
        assert!((1..=most).contains(&counts.held()), "{counts:?}");
        let held = counts.held() - before.held();
        assert_eq!(counts.full - before.full, 25 - held);
        assert_eq!(play.bodies().len() as u64, 25 - held);
        play.heard(25).await;
        assert_eq!(play.switch.counts().lost_messages, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_held_for_longer_than_the_options_say() {
    let mut late = ChaosOptions::default();
    late.delay = 1.0;
    late.delay_for = Duration::from_secs(1)..=Duration::from_secs(2);
    // Nothing follows that could overtake it.
    let mut behind = ChaosOptions::default();
    behind.reorder = 1.0;
    behind.overtaken_within = Duration::from_secs(1);
    let just_after = Duration::from_millis(10);
    for (options, most) in [(late, Duration::from_secs(2)), (behind, Duration::from_secs(1))] {
        let play = Play::new(options).await;
        let since = play.heard.begun.elapsed();
        play.arrives(1);
        play.heard(1).await;
        let (at, _) = play.heard.bodies.lock().unwrap().last().cloned().unwrap();
        let took = at - since;
        assert!(took >= Duration::from_secs(1) && took <= most + just_after, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn switched_off_it_lets_go_what_it_holds_and_touches_nothing() {
    let mut options = ChaosOptions::default();
    options.delay = 1.0;
    options.delay_for = Duration::from_secs(60)..=Duration::from_secs(90);
    let play = Play::new(options).await;
    (0..50).for_each(|number| play.arrives(number));
    assert_eq!(play.bodies(), bodies([]));
    let stopped = Instant::now();
    play.switch.stop();
    play.settled().await;
    assert!(stopped.elapsed() < Duration::from_secs(1));
    (50..100).for_each(|number| play.arrives(number));
    assert_eq!(play.bodies(), bodies(0..100));
    play.switch.start();
    assert!(play.switch.is_on());
    play.arrives(100);
    assert_eq!(play.switch.counts().held(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_lost_with_its_connection_and_counted() {
    let mut options = ChaosOptions::default();
    options.delay = 1.0;
    options.delay_for = Duration::from_secs(60)..=Duration::from_secs(90);
    let play = Play::new(options).await;
    (0..10).for_each(|number| play.arrives(number));
    let before = play.switch.counts();
    play.wire.lose();
    play.node.link().wait_for(|link| !link.is_up()).await.unwrap();
    play.node.link().wait_for(Link::is_up).await.unwrap();
    let counts = play.switch.counts();
    assert_eq!(counts.abandoned, before.held());
    assert_eq!(counts.lost_messages, 10);
    // The next connection has a storm of its own.
    play.arrives(10);
    play.switch.stop();
    play.settled().await;
    assert_eq!(play.bodies(), bodies([10]));
}

#[tokio::test(start_paused = true)]
async fn probes_are_spared_unless_asked_for() {
    let mut options = ChaosOptions::default();
    options.drop = 1.0;
    let play = Play::new(options.clone()).await;
    let before = play.node.stats().probes;
    until("probed", || play.node.stats().probes > before + 3).await;
    assert!(play.node.link().borrow().is_up());

    options.probes = true;
    let chaos = Chaos::new(Scripted::new(), options).unwrap();
    let switch = chaos.handle();
    let node = Node::start(chaos, NodeOptions::bare());
    let mut link = node.link();
    let muted = link.wait_for(|link| matches!(link, Link::Muted { .. }));
    tokio::time::timeout(SOON, muted).await.unwrap().unwrap();
    switch.stop();
    node.link().wait_for(Link::is_up).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn it_promises_what_is_left() {
    let promised = |options| Chaos::new(Scripted::new(), options).unwrap().semantics();
    let wire = Scripted::new().semantics();
    assert_eq!(promised(ChaosOptions::default()), wire);
    let mut drops = ChaosOptions::default();
    drops.drop = 0.1;
    assert_eq!(promised(drops.clone()).delivery, Delivery::BestEffort);
    assert_eq!(promised(drops).order, wire.order);
    let all = promised(ChaosOptions::one_in_ten(0));
    assert_eq!((all.delivery, all.order), (Delivery::BestEffort, Order::None));

    let over = |sequencing| {
        let chaos = Chaos::new(Scripted::new(), ChaosOptions::one_in_ten(0)).unwrap();
        let mut options = NodeOptions::default();
        options.sequencing = sequencing;
        let promised = Node::start(chaos, options).semantics();
        (promised.delivery, promised.order)
    };
    assert_eq!(over(Sequencing::Auto), (Delivery::Repaired, Order::PerOriginAndTopic));
    assert_eq!(over(Sequencing::Counted), (Delivery::Counted, Order::PerOriginAndTopic));
    assert_eq!(over(Sequencing::Off), (Delivery::BestEffort, Order::None));
}

#[test]
fn options_that_make_no_sense_say_which_and_what_to_do() {
    let error = |change: fn(&mut ChaosOptions)| {
        let mut options = ChaosOptions::default();
        change(&mut options);
        Chaos::new(Scripted::new(), options).unwrap_err()
    };
    let wrong = error(|it| it.double = 1.5);
    assert_eq!(wrong, ChaosError::Probability { option: "double", value: 1.5 });
    let said = wrong.to_string();
    assert!(said.contains("double is 1.5") && said.contains("0.1 for one frame in ten"), "{said}");
    for wrong in [error(|it| it.drop = -0.1), error(|it| it.delay = f64::INFINITY)] {
        assert!(matches!(wrong, ChaosError::Probability { .. }), "{wrong}");
    }
    assert!(error(|it| it.reorder = f64::NAN).to_string().contains("reorder"));
    let turned = error(|it| it.delay_for = Duration::from_secs(2)..=Duration::from_secs(1));
    assert!(turned.to_string().contains("put the shortest first"), "{turned}");
    let never = error(|it| (it.reorder, it.overtaken_by) = (0.1, 0));
    assert_eq!(never, ChaosError::NeverOvertaken);
}
