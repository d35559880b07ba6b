use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use super::{Interest, Work};
use crate::{Event, Sink, SubscribeError, Topic};

#[derive(Debug, Default)]
struct Heard(Mutex<Vec<&'static str>>);

impl Sink for Heard {
    fn accept(&self, event: &Event) {
        self.0.lock().unwrap().push(match event {
            Event::Message(_) => "message",
            Event::Gap(_) => "gap",
            Event::Interrupted { .. } => "interrupted",
            Event::Restored => "restored",
            Event::OriginLost { .. } => "origin lost",
        });
    }
}

impl Heard {
    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn sink() -> (Arc<Heard>, Arc<dyn Sink>) {
    let heard = Arc::new(Heard::default());
    (Arc::clone(&heard), heard)
}

/// Lets the broker follow completely.
fn follow(interest: &Interest) -> Work {
    let work = interest.work(usize::MAX);
    work.unsubscribe.iter().for_each(|topic| interest.unrouted(topic));
    work.subscribe.iter().for_each(|topic| interest.routed(topic));
    work
}

async fn is_confirmed(subscription: &super::Subscription) -> bool {
    tokio::select! {
        biased;
        outcome = subscription.confirmed() => { outcome.unwrap(); true }
        () = std::future::ready(()) => false,
    }
}

#[tokio::test]
async fn a_subscription_is_confirmed_when_each_topic_is() {
    let interest = Arc::new(Interest::new());
    let (_, sink) = sink();
    let (a, b) = (Topic::group("h", "a"), Topic::group("h", "b"));
    let both =
        interest.add(&[(a.clone(), Arc::clone(&sink)), (b.clone(), Arc::clone(&sink))], 0).unwrap();
    let work = interest.work(usize::MAX);
    assert_eq!(work.subscribe.len(), 2);
    interest.routed(&a);
    assert!(!is_confirmed(&both).await);
    interest.routed(&b);
    assert!(is_confirmed(&both).await);
    // A second one for a routed topic needs no step.
    let again = interest.add(&[(a, sink)], 0).unwrap();
    assert!(is_confirmed(&again).await);
    assert!(interest.work(usize::MAX).is_empty());
    drop((both, again));
    assert_eq!(follow(&interest).unsubscribe.len(), 2);
    assert_eq!(interest.topics(), 0);
}

#[tokio::test]
async fn a_topic_that_is_being_given_up_is_not_confirmed_to_a_newcomer() {
    let interest = Arc::new(Interest::new());
    let (_, sink) = sink();
    let topic = Topic::group("h", "a");
    let first = interest.add(&[(topic.clone(), Arc::clone(&sink))], 0).unwrap();
    follow(&interest);
    drop(first);
    let leaving = interest.work(usize::MAX);
    assert_eq!(leaving.unsubscribe, std::slice::from_ref(&topic));
    let second = interest.add(&[(topic.clone(), sink)], 0).unwrap();
    assert!(!is_confirmed(&second).await, "the unsubscribe is on its way");
    assert!(interest.work(usize::MAX).is_empty(), "one command per topic at a time");
    interest.unrouted(&topic);
    assert_eq!(follow(&interest).subscribe, std::slice::from_ref(&topic));
    assert!(is_confirmed(&second).await);
}

#[tokio::test]
async fn flips_leave_nothing_behind() {
    let interest = Arc::new(Interest::new());
    let (_, sink) = sink();
    let topic = Topic::group("h", "a");
    for round in 0..1000 {
        let one = interest.add(&[(topic.clone(), Arc::clone(&sink))], 0).unwrap();
        if round % 3 == 0 {
            follow(&interest);
        }
        drop(one);
        assert!(interest.waiting() <= 1, "queued once however often it flips");
    }
    follow(&interest);
    follow(&interest);
    assert_eq!(interest.topics(), 0);
}

#[tokio::test]
async fn waiters_do_not_pile_up_while_the_link_is_down() {
    let interest = Arc::new(Interest::new());
    let (_, sink) = sink();
    let topic = Topic::group("h", "a");
    let stays = interest.add(&[(topic.clone(), Arc::clone(&sink))], 0).unwrap();
    for _ in 0..1000 {
        drop(interest.add(&[(topic.clone(), Arc::clone(&sink))], 0).unwrap());
    }
    assert_eq!(interest.waiters(&topic), 1);
    follow(&interest);
    assert!(is_confirmed(&stays).await);
}

#[tokio::test]
async fn a_refused_topic_tells_its_subscribers_and_is_tried_again_later() {
    let interest = Arc::new(Interest::new());
    let (_, sink) = sink();
    let topic = Topic::group("h", "a");
    let subscription = interest.add(&[(topic.clone(), Arc::clone(&sink))], 0).unwrap();
    interest.work(usize::MAX);
    interest.refused(&topic, &"no rule".into());
    let error = subscription.confirmed().await.unwrap_err();
    assert!(matches!(error, SubscribeError::Refused { .. }), "{error}");
    assert!(interest.work(usize::MAX).is_empty());
    interest.interrupted(Instant::now());
    assert_eq!(interest.work(usize::MAX).subscribe, [topic]);
}

#[tokio::test]
async fn only_sinks_that_could_rely_on_a_topic_hear_of_an_interruption() {
    let interest = Arc::new(Interest::new());
    let (relied, relied_sink) = sink();
    let (fresh, fresh_sink) = sink();
    let (a, b) = (Topic::group("h", "a"), Topic::group("h", "b"));
    let _relied = interest
        .add(&[(a.clone(), Arc::clone(&relied_sink)), (b.clone(), Arc::clone(&relied_sink))], 0)
        .unwrap();
    follow(&interest);
    let late = interest.add(&[(Topic::group("h", "c"), Arc::clone(&fresh_sink))], 0).unwrap();
    interest.interrupted(Instant::now());
    interest.interrupted(Instant::now());
    assert_eq!(relied.take(), ["interrupted"], "once, though it has two topics");
    let _newcomer = interest.add(&[(a, fresh_sink)], 0).unwrap();
    assert_eq!(follow(&interest).subscribe.len(), 3);
    interest.restored();
    assert_eq!(relied.take(), ["restored"]);
    assert_eq!(fresh.take(), [""; 0]);
    assert!(is_confirmed(&late).await);
}

#[tokio::test]
async fn a_topic_that_the_new_connection_refuses_stays_in_doubt() {
    let interest = Arc::new(Interest::new());
    let (heard, sink) = sink();
    let topic = Topic::group("h", "a");
    let _subscription = interest.add(&[(topic.clone(), sink)], 0).unwrap();
    follow(&interest);
    interest.interrupted(Instant::now());
    interest.work(usize::MAX);
    interest.refused(&topic, &"no rule any more".into());
    interest.restored();
    assert_eq!(heard.take(), ["interrupted"]);
    // The next connection routes it again.
    interest.interrupted(Instant::now());
    follow(&interest);
    interest.restored();
    assert_eq!(heard.take(), ["restored"]);
}

#[tokio::test]
async fn closing_releases_whoever_waits() {
    let interest = Arc::new(Interest::new());
    let (_, sink) = sink();
    let topic = Topic::group("h", "a");
    let waits = interest.add(&[(topic.clone(), Arc::clone(&sink))], 0).unwrap();
    interest.close();
    assert!(matches!(waits.confirmed().await, Err(SubscribeError::Closed)));
    assert!(matches!(interest.add(&[(topic, sink)], 0), Err(SubscribeError::Closed)));
}

#[test]
fn names_beyond_the_bound_are_refused_before_anything_is_registered() {
    let interest = Arc::new(Interest::new());
    let (_, sink) = sink();
    let fits = Topic::group("h", &"n".repeat(1024));
    let long = Topic::group("h", &"n".repeat(1025));
    let outcome = interest.add(&[(fits, Arc::clone(&sink)), (long, sink)], 0);
    assert!(matches!(outcome, Err(SubscribeError::NameTooLong { .. })));
    assert_eq!(interest.topics(), 0);
}
