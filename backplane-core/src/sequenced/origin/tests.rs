//! The bounds of what an origin keeps, and its cost.

use bytesize::ByteSize;

use super::*;

const LANES: usize = 16;

fn topic(number: u64) -> Topic {
    Topic::group("h", &number.to_string())
}

/// The lanes of a node, as its sequencer has them.
struct Lanes {
    held: Held,
    lanes: Vec<Origin>,
    retention: Retention,
    published: u64,
    actions: usize,
}

impl Lanes {
    fn new(retention: Retention) -> Self {
        let lanes = (0..LANES).map(|_| Origin::new(retention, LANES, Rules::ALL)).collect();
        Self { held: Held::default(), lanes, retention, published: 0, actions: 0 }
    }

    fn publish(&mut self, number: u64, body: usize, now: Moment) -> Sequence {
        let mut envelope = Envelope::new(topic(number), vec![0; body]);
        self.lanes[number as usize % LANES].publish(&mut envelope, now, &self.held);
        self.published += 1;
        self.check();
        envelope.sequence.unwrap()
    }

    fn tick(&mut self, now: Moment) {
        let mut actions = Vec::new();
        self.lanes.iter_mut().for_each(|lane| lane.tick(now, true, &self.held, &mut actions));
        self.actions += actions.len();
        self.check();
    }

    fn check(&self) {
        let (_, bytes, topics) = self.holding();
        assert!(bytes <= super::bytes(self.retention.bytes), "{bytes} bytes");
        assert!(topics <= self.retention.topics, "{topics} topics");
    }

    /// Envelopes, bytes, topics.
    fn holding(&self) -> (usize, usize, usize) {
        self.lanes
            .iter()
            .map(Origin::holding)
            .fold((0, 0, 0), |sum, lane| (sum.0 + lane.0, sum.1 + lane.1, sum.2 + lane.2))
    }

    /// What is said to be held is held.
    fn count(&self) {
        let (said_envelopes, said_bytes, _) = self.holding();
        let all = || self.lanes.iter().flat_map(|lane| lane.topics.values());
        let kept = || all().flat_map(|it| &it.kept);
        let bytes = kept().map(|it| it.cost as usize).sum::<usize>();
        assert_eq!(said_bytes, bytes);
        assert_eq!(all().map(|it| it.bytes).sum::<usize>(), bytes);
        let envelopes = kept().filter(|it| it.body.is_some()).count();
        assert_eq!(said_envelopes, envelopes);
    }
}

/// The largest body over a broker: what overtakes it, such as an answer on another topic, lets receivers ask
/// for it while it is still on its way.
#[test]
fn by_default_the_largest_body_of_any_broker_can_be_sent_again() {
    let mut lanes = Lanes::new(Retention::default());
    for _ in 0..3 {
        lanes.publish(7, 8 * 1024 * 1024, Moment::ZERO);
        lanes.count();
        assert_eq!(lanes.holding().0, 1);
    }
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|it| it.parse::<usize>().ok());
    pages.unwrap_or_default() * 4096
}

/// Alone in its process, as it looks at all of the process's memory:
/// `cargo test --release -p backplane-core --lib memory_of_a_million -- --ignored --nocapture`.
#[test]
#[ignore = "measures the process"]
fn memory_of_a_million_topics_is_bounded() {
    let (topics, grown) = a_million_topics();
    println!("{topics} topics, {grown} bytes, {} a topic", grown / topics);
    assert!(grown < 256 * 1024 * 1024, "{grown}");
}

#[test]
fn a_million_topics_used_once_are_bounded() {
    a_million_topics();
}

/// How many were remembered, and by how much the process grew.
fn a_million_topics() -> (usize, usize) {
    let before = resident();
    let mut lanes = Lanes::new(Retention::default());
    let mut now = Moment::ZERO;
    let mut most = 0;
    for number in 0..1_000_000 {
        lanes.publish(number, 64, now);
        if number % 10_000 == 0 {
            now += Duration::from_millis(100);
            lanes.tick(now);
            most = most.max(resident());
        }
    }
    lanes.count();
    let grown = most.saturating_sub(before);
    let (_, _, topics) = lanes.holding();
    // And it ends.
    for _ in 0..100 {
        now += Duration::from_secs(1);
        lanes.tick(now);
    }
    assert_eq!(lanes.holding(), (0, 0, 0));
    lanes.count();
    (topics, grown)
}

#[test]
fn a_topic_in_a_lane_that_holds_nothing_finds_room() {
    let retention = Retention { bytes: ByteSize::mib(1), ..Retention::default() };
    let mut lanes = Lanes::new(retention);
    // One lane takes all that it can have.
    for _ in 0..20_000 {
        lanes.publish(0, 1000, Moment::ZERO);
    }
    let sequence = lanes.publish(1, 1000, Moment::ZERO);
    assert!(lanes.lanes[1].topics[&topic(1)].keeps(sequence.position));
    lanes.count();
}

#[test]
fn what_is_withdrawn_is_bounded_too_and_clearing_is_not_quadratic() {
    let retention = Retention { bytes: ByteSize::mib(4), ..Retention::default() };
    let mut lanes = Lanes::new(retention);
    let begun = std::time::Instant::now();
    for number in 0..200_000 {
        let number = number % 5_000;
        let sequence = lanes.publish(number, 100, Moment::ZERO);
        lanes.lanes[number as usize % LANES].withdraw(&topic(number), sequence, &lanes.held);
    }
    lanes.count();
    let (envelopes, bytes, _) = lanes.holding();
    assert!(bytes > 0);
    assert_eq!(envelopes, 0);
    let queued: usize = lanes.lanes.iter().map(|lane| lane.chunks.len()).sum();
    assert!(queued <= 200_000);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn a_topic_used_now_and_then_is_due_once_per_step() {
    let mut lanes = Lanes::new(Retention::default());
    let mut now = Moment::ZERO;
    for step in 0..5_000 {
        now += Duration::from_millis(100);
        if step % 4 == 0 {
            lanes.publish(0, 1, now);
        }
        lanes.tick(now);
    }
    let due: usize = lanes.lanes[0].due.iter().map(VecDeque::len).sum();
    assert!(due < 50, "{due}");
}
