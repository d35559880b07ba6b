//! The queue to the listeners: bounded, counted, and with places for the link.

use std::{sync::Arc, time::Instant};

use backplane_core::{Event, NodeId, SubscriberOutage};
use backplane_hub::{Hub, HubOptions, LinkEvent, Missed, Topic};
use tokio::sync::{Semaphore, mpsc};

use crate::{
    layer::Layer,
    scenarios::{Client, Plain, soon},
};

#[tokio::test]
async fn a_listener_that_hangs_costs_events_which_are_counted() {
    let layer = Layer::start(SubscriberOutage::Repaired).await;
    let gate = Arc::new(Semaphore::new(0));
    let (events, mut told) = mpsc::channel(64);
    let links = events.clone();
    let opened = Arc::clone(&gate);
    let mut options = HubOptions::default();
    options.loss_events = 2;
    let hub = Hub::builder("h")
        .backplane(layer.backplane())
        .options(options)
        .on_gap(move |missed: Missed| {
            let (gate, events) = (Arc::clone(&gate), events.clone());
            async move {
                events.try_send(("gap", missed.count.unwrap(), missed.skipped)).unwrap();
                gate.acquire().await.unwrap().forget();
            }
        })
        .on_link(move |event: LinkEvent| links.try_send(("link", 0, event.skipped)).unwrap())
        .build()
        .unwrap();
    hub.speak(Plain::new("plain"));
    let all = Topic::all("h");
    let origin = NodeId::random();
    let mut next = async || soon("an event", told.recv()).await.unwrap();
    layer.lose(&all, origin, Some(0));
    assert_eq!(next().await, ("gap", 0, 0));
    // That one hangs now. The read path does not.
    for count in 1..10 {
        layer.lose(&all, origin, Some(count));
    }
    layer.tell_all(&Event::Interrupted { since: Instant::now() });
    assert_eq!((hub.stats().gaps, hub.stats().dropped_events), (10, 7));
    let mut client = Client::open(&hub).await;
    client.expect_nothing(&[&hub]).await;
    opened.add_permits(10);
    assert_eq!(next().await, ("gap", 1, 0));
    assert_eq!(next().await, ("gap", 2, 0));
    assert_eq!(next().await, ("link", 0, 7));
    layer.lose(&all, origin, Some(10));
    assert_eq!(next().await, ("gap", 10, 0));
    assert_eq!(hub.stats().dropped_events, 7);

    // It ends with the hub.
    drop((client, hub));
    assert!(soon("the end", told.recv()).await.is_none());
}
