//! The checker finds each fault, and none where there is none.

use std::time::{Duration, Instant};

use backplane_core::{Delivery, Envelope, Event, LinkError, PublishError, Receipt};

use super::{receiver::Heard, *};
use crate::kit::Stop;

const LINK_DOWN: fn() -> PublishError = || PublishError::LinkDown(Arc::new(LinkError::NotYet));

/// One publisher elsewhere, and one receiver that expects everything.
struct Scene {
    checker: Checker,
    stream: Arc<Stream>,
    receiver: Arc<Receiver>,
}

impl Scene {
    fn new() -> Self {
        let checker = Checker::new();
        let topic = Topic::group("orders", "kitchen");
        let stream = checker.stream(NodeId::random(), &topic);
        let receiver = checker.receiver("it", NodeId::random());
        receiver.expects(&[topic]);
        Self { checker, stream, receiver }
    }

    /// Sends that many, all published.
    fn sent(self, count: usize) -> Self {
        for _ in 0..count {
            let (number, _) = self.stream.next(0);
            self.stream.answered(number, Answer::Ok(Receipt::Accepted));
        }
        self
    }

    fn answered(&self, outcome: &Result<Receipt, PublishError>) -> u64 {
        let (number, _) = self.stream.next(0);
        self.stream.answered(number, Answer::of(outcome));
        number
    }

    fn heard(self, numbers: impl IntoIterator<Item = u64>) -> Self {
        for number in numbers {
            self.receiver.accept(&Event::Message(self.envelope(number)));
        }
        self
    }

    fn envelope(&self, number: u64) -> Envelope {
        let mut envelope = Envelope::new(self.stream.topic.clone(), self.stream.body(number, 3));
        envelope.origin = Some(self.stream.origin);
        envelope
    }

    fn findings(&self) -> Findings {
        self.checker.report().receivers.remove(0)
    }

    #[track_caller]
    fn fails(&self) -> Findings {
        assert!(self.checker.report().exact().is_err());
        self.findings()
    }
}

fn places(findings: &Findings) -> Vec<(Place, u64, u64)> {
    findings.lost.iter().map(|run| (run.place, run.first, run.last)).collect()
}

#[test]
fn nothing_wrong_is_nothing_found() {
    let scene = Scene::new().sent(10).heard(0..10);
    scene.checker.report().exact().unwrap();
    assert_eq!(scene.findings().arrived, 10);
}

#[test]
fn losses_are_found_at_each_place() {
    let findings = Scene::new().sent(10).heard(2..8).fails();
    assert_eq!(places(&findings), [(Place::Prefix, 0, 1), (Place::Suffix, 8, 9)]);
    let findings = Scene::new().sent(10).heard([0, 1, 4, 6, 7, 8, 9]).fails();
    assert_eq!(places(&findings), [(Place::Middle, 2, 3), (Place::Middle, 5, 5)]);
    let findings = Scene::new().sent(3).fails();
    assert_eq!(places(&findings), [(Place::Whole, 0, 2)]);
    assert_eq!(findings.lost_by(How::Unreported), 3);
    assert!(Scene::new().sent(3).checker.report().accounted(Delivery::AtMostOnce).is_err());
}

#[test]
fn what_came_before_the_interest_may_be_missing() {
    let scene = Scene::new().sent(5);
    scene.receiver.expects(std::slice::from_ref(&scene.stream.topic));
    scene.checker.report().exact().unwrap();
}

#[test]
fn duplicates_are_counted_each_time() {
    let scene = Scene::new().sent(3).heard([0, 1, 1, 2, 2, 2, 0]);
    let findings = scene.fails();
    assert_eq!(findings.doubled.len(), 4);
    assert!(findings.reordered.is_empty());
    scene.checker.report().accounted(Delivery::AtLeastOnce).unwrap();
    assert!(scene.checker.report().accounted(Delivery::AtMostOnce).is_err());
}

#[test]
fn another_order_is_found() {
    let scene = Scene::new().sent(5).heard([0, 3, 1, 2, 4]);
    assert_eq!(scene.fails().reordered.len(), 2);
    assert!(scene.checker.report().accounted(Delivery::AtLeastOnce).is_err());
}

#[test]
fn strangers_are_found() {
    let scene = Scene::new().sent(1).heard([0, 1]);
    assert!(scene.fails().strangers[0].contains("never sent"));

    let scene = Scene::new().sent(1);
    let mut astray = scene.envelope(0);
    astray.topic = Topic::group("orders", "elsewhere");
    scene.receiver.accept(&Event::Message(astray));
    assert_eq!(scene.fails().strangers.len(), 1);

    let scene = Scene::new();
    let mut forged = scene.envelope(0);
    forged.origin = Some(NodeId::random());
    scene.receiver.accept(&Event::Message(forged));
    scene.receiver.accept(&Event::Message(Envelope::new(Topic::all("orders"), "other")));
    assert_eq!(scene.fails().strangers.len(), 2);
}

#[test]
fn a_topic_without_interest_is_found() {
    let scene = Scene::new();
    let other = scene.checker.stream(NodeId::random(), &Topic::all("orders"));
    let (number, body) = other.next(0);
    other.answered(number, Answer::Ok(Receipt::Accepted));
    let mut envelope = Envelope::new(other.topic.clone(), body);
    envelope.origin = Some(other.origin);
    scene.receiver.accept(&Event::Message(envelope));
    assert!(scene.fails().strangers[0].contains("not expected"));
}

#[test]
fn tickets_report_losses_and_are_held_to_their_word() {
    let scene = Scene::new().sent(1);
    let alone = scene.answered(&Err(LINK_DOWN()));
    let unknown = scene.answered(&Err(PublishError::Unknown));
    let scene = scene.heard([0]);
    scene.checker.report().accounted(Delivery::AtMostOnce).unwrap();
    assert_eq!(scene.findings().lost_by(How::Ticket), 2);
    let scene = scene.heard([unknown]);
    scene.checker.report().accounted(Delivery::AtMostOnce).unwrap();
    let scene = Scene::heard(scene, [alone]);
    assert_eq!(scene.fails().contradicted.len(), 1);
    assert!(scene.checker.report().accounted(Delivery::AtMostOnce).is_err());
}

#[test]
fn what_was_turned_away_must_not_arrive() {
    let scene = Scene::new();
    let (number, _) = scene.stream.next(0);
    scene.stream.answered(number, Answer::Nothing);
    scene.checker.report().exact().unwrap();
    assert_eq!(scene.heard([number]).fails().contradicted.len(), 1);
}

#[test]
fn a_nodes_own_sinks_get_everything_that_was_accepted() {
    let checker = Checker::new();
    let (node, topic) = (NodeId::random(), Topic::all("orders"));
    let stream = checker.stream(node, &topic);
    let receiver = checker.receiver("local", node);
    receiver.expects(std::slice::from_ref(&topic));
    let scene = Scene { checker, stream, receiver };
    let alone = scene.answered(&Err(LINK_DOWN()));
    // Not even an interruption excuses it.
    scene.receiver.accept(&Event::Interrupted { since: Instant::now() });
    assert!(scene.checker.report().accounted(Delivery::AtMostOnce).is_err());
    let scene = scene.heard([alone]);
    scene.checker.report().exact().unwrap();
}

#[test]
fn only_what_was_on_its_way_during_an_interruption_is_reported_by_it() {
    let pass = || std::thread::park_timeout(Duration::from_millis(2));
    let scene = Scene::new().sent(1);
    pass();
    let since = Instant::now();
    pass();
    let scene = scene.sent(2);
    scene.receiver.accept(&Event::Interrupted { since });
    let scene = scene.sent(1);
    scene.receiver.accept(&Event::Restored);
    pass();
    let scene = scene.sent(1);
    let findings = scene.findings();
    assert_eq!(findings.lost_by(How::Interruption), 3);
    assert_eq!(
        places(&findings),
        [(Place::Prefix, 0, 0), (Place::Middle, 1, 3), (Place::Suffix, 4, 4)]
    );
    assert!(scene.checker.report().accounted(Delivery::AtMostOnce).is_err());
    let scene = scene.heard([0, 4]);
    scene.checker.report().accounted(Delivery::AtMostOnce).unwrap();
}

#[test]
fn a_receipt_that_proves_little_leaves_the_time_of_passing_open() {
    let scene = Scene::new();
    let (number, _) = scene.stream.next(0);
    scene.stream.answered(number, Answer::Ok(Receipt::Sent));
    std::thread::park_timeout(Duration::from_millis(2));
    scene.receiver.accept(&Event::Interrupted { since: Instant::now() });
    scene.checker.report().accounted(Delivery::AtMostOnce).unwrap();
}

#[test]
fn gaps_report_as_many_as_they_say() {
    let gap = |scene: &Scene, count| {
        let (topic, origin) = (scene.stream.topic.clone(), scene.stream.origin);
        scene.receiver.notes().heard.push(Heard::Gap { topic, origin: Some(origin), count });
    };
    let scene = Scene::new().sent(4).heard([0]);
    gap(&scene, Some(2));
    assert_eq!(scene.findings().lost_by(How::Gap), 2);
    assert!(scene.checker.report().accounted(Delivery::AtMostOnce).is_err());
    gap(&scene, Some(1));
    scene.checker.report().accounted(Delivery::AtMostOnce).unwrap();

    let scene = Scene::new().sent(4);
    gap(&scene, None);
    scene.checker.report().accounted(Delivery::AtMostOnce).unwrap();
}

#[test]
fn interruptions_must_take_turns() {
    let interrupted = Event::Interrupted { since: Instant::now() };
    let scene = Scene::new();
    scene.receiver.accept(&Event::Restored);
    scene.receiver.accept(&interrupted);
    scene.receiver.accept(&interrupted);
    assert_eq!(scene.fails().strangers.len(), 2);
}

#[test]
fn a_report_names_what_is_wrong() {
    let scene = Scene::new().sent(9).heard([0, 0, 2, 1, 77]);
    let Stop::Broken(text) = scene.checker.report().exact().unwrap_err() else { panic!() };
    for expected in ["6 lost (Unreported)", "Suffix 3-8", "1 doubled", "1 reordered", "1 not sent"]
    {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
}

#[tokio::test]
async fn it_settles_when_the_latest_has_arrived() {
    let scene = Scene::new().sent(3).heard([0]);
    let mut settled = Box::pin(scene.checker.settled());
    assert!(futures_util::FutureExt::now_or_never(&mut settled).is_none());
    scene.receiver.accept(&Event::Message(scene.envelope(2)));
    settled.await.unwrap();
}
