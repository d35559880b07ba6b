//! What others say costs no more than so much.

use super::*;
use crate::{
    envelope::Envelope,
    sequenced::{peers::MOST, receiver::MOST_TRACKS},
};

/// Interested in everything.
struct Everything;

impl Local for Everything {
    fn stamp(&self, _: &Topic) -> Option<u64> {
        Some(1)
    }

    fn tell(&self, _: &Topic, _: Told) {}
}

fn node(number: u64) -> NodeId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    NodeId::from_bytes(bytes)
}

fn sequencer() -> Sequencer {
    let settings = Settings {
        numbered: true,
        retention: Retention::default(),
        deadline: Duration::from_secs(10),
        log: false,
        rules: Rules::ALL,
    };
    let sequencer = Sequencer::new(settings, None);
    sequencer.link_up(Duration::ZERO);
    sequencer
}

/// One envelope behind a hole, or without one, of a made-up origin.
fn receive(sequencer: &Sequencer, origin: u64, topic: &Topic, number: u64, position: u64) -> usize {
    let mut envelope = Envelope::new(topic.clone(), "x");
    envelope.origin = Some(node(origin));
    let predecessor = if number == 1 { 0 } else { position - 1 };
    envelope.sequence = Some(Sequence { epoch: 1, number, position, predecessor });
    let mut actions = Vec::new();
    let now = Duration::from_secs(1);
    sequencer.receive(node(origin), 1, envelope, now, &mut actions, &mut |_| {});
    actions.len()
}

fn bounded(sequencer: &Sequencer) {
    assert!(sequencer.peers().len() <= MOST, "{} peers", sequencer.peers().len());
    for lane in &sequencer.receivers {
        let tracks = locked(lane).tracks();
        assert!(tracks <= MOST_TRACKS, "{tracks} tracks");
    }
}

#[test]
fn made_up_origins_and_holes_are_bounded() {
    let sequencer = sequencer();
    let topics: Vec<Topic> = (0..80).map(|number| Topic::group("h", &number.to_string())).collect();
    let begun = std::time::Instant::now();
    for origin in 0..10_000 {
        for (number, topic) in topics.iter().enumerate() {
            receive(&sequencer, origin, topic, 7, 100 + number as u64);
        }
        if origin % 1000 == 0 {
            bounded(&sequencer);
        }
    }
    bounded(&sequencer);
    let mut actions = Vec::new();
    let now = Duration::from_secs(2);
    sequencer.tick(now, Duration::from_secs(20), 0, &Everything, &mut actions);
    bounded(&sequencer);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[test]
fn a_listing_tells_every_topic_once_in_the_order_of_use() {
    let sequencer = sequencer();
    for number in 0..1000 {
        let mut envelope = Envelope::new(Topic::group("h", &(number % 700).to_string()), "x");
        sequencer.publish(&mut envelope, Duration::ZERO);
    }
    let (mut since, mut listed) = (0, Vec::new());
    loop {
        let page = sequencer.page(since, 1000);
        assert!(page.topics.len() <= PAGE && page.through > since);
        listed.extend(page.topics.iter().map(|it| it.last.position));
        since = page.through;
        if page.end {
            break;
        }
    }
    assert_eq!(listed, (301..=1000).collect::<Vec<_>>());
}

#[test]
fn idle_places_give_way_to_new_ones() {
    let sequencer = sequencer();
    let alive = |known_since| {
        let mut alive = sequencer.alive(Phase::Beat, 0, Duration::ZERO);
        alive.known_since = Some(known_since);
        Control::Alive(alive)
    };
    let (topic, now) = (Topic::all(""), Duration::from_secs(1));
    sequencer.heard(node(1), &topic, alive(0), 0, now, &Everything, &mut Vec::new());
    let begun = std::time::Instant::now();
    for number in 0..1_000_000_u64 {
        let topic = Topic::group("h", &number.to_string());
        receive(&sequencer, 1, &topic, 1, number + 1);
    }
    bounded(&sequencer);
    assert_eq!(sequencer.peers().len(), 1);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}
