//! Who watches is told what happens.

use std::collections::BTreeSet;

use backplane_hub::{ConnectionId, PresenceEvent, PresenceOptions, Watch};

use super::{ids, pair, shows};
use crate::{
    one_hub,
    scenarios::{Client, soon, until},
};

pub(super) async fn next(watch: &mut Watch) -> PresenceEvent {
    soon("an event", watch.recv()).await.unwrap()
}

pub(super) async fn snapshot(watch: &mut Watch) -> (BTreeSet<ConnectionId>, u64) {
    match next(watch).await {
        PresenceEvent::Snapshot { present, skipped } => (ids(&present), skipped),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_watches_sees_everything_in_its_order() {
    let (_memory, one, two) = pair().await;
    let mut clients = [
        Client::open_as(&one, Some("u")).await,
        Client::open_as(&two, Some("u")).await,
        Client::open(&two).await,
    ];
    one.groups().add(&clients[0].id, "g").await.unwrap();
    shows(&two, "g", &[&clients[0]]).await;
    let mut watches =
        [one.presence().group("g").watch().unwrap(), two.presence().group("g").watch().unwrap()];
    let mut user = one.presence().user("u").watch().unwrap();
    until("both connections", || one.presence().user("u").connections().unwrap().len() == 2).await;
    for watch in &mut watches {
        assert_eq!(snapshot(watch).await, ([clients[0].id.clone()].into(), 0));
    }
    assert_eq!(snapshot(&mut user).await.0.len(), 2);

    for _ in 0..20 {
        two.groups().add(&clients[1].id, "g").await.unwrap();
        two.groups().remove(&clients[1].id, "g").await.unwrap();
        two.groups().add(&clients[1].id, "another").await.unwrap();
    }
    two.groups().add(&clients[2].id, "g").await.unwrap();
    for watch in &mut watches {
        for _ in 0..20 {
            let PresenceEvent::Joined(it) = next(watch).await else { panic!() };
            assert_eq!((it.connection(), it.user()), (&clients[1].id, Some("u")));
            let PresenceEvent::Left(it) = next(watch).await else { panic!() };
            assert_eq!((it.connection(), it.node()), (&clients[1].id, two.node()));
        }
        let PresenceEvent::Joined(it) = next(watch).await else { panic!() };
        assert_eq!((it.connection(), it.user()), (&clients[2].id, None));
    }
    for client in &mut clients[..2] {
        client.leave().await;
        let PresenceEvent::Left(it) = next(&mut user).await else { panic!() };
        assert_eq!(it.connection(), &client.id);
    }
    for watch in &mut watches {
        let PresenceEvent::Left(it) = next(watch).await else { panic!() };
        assert_eq!(it.connection(), &clients[0].id);
    }
    // It ends with its hub, once nobody holds that any more.
    drop((clients, one, two));
    for watch in &mut watches {
        let mut rest = Vec::new();
        while let Some(event) = soon("its end", watch.recv()).await {
            rest.push(event);
        }
        assert!(rest.len() <= 1, "{rest:?}");
    }
}

#[tokio::test]
async fn a_slow_watch_is_told_what_it_missed_and_begins_anew() {
    let hub = one_hub(|hub| {
        let mut options = PresenceOptions::default();
        options.watched_events = 4;
        hub.presence(options)
    })
    .await;
    let client = Client::open(&hub).await;
    let mut slow = hub.presence().group("g").watch().unwrap();
    let mut idle = hub.presence().group("g").watch().unwrap();
    assert_eq!(snapshot(&mut slow).await, (BTreeSet::new(), 0));
    for _ in 0..2 {
        hub.groups().add(&client.id, "g").await.unwrap();
        hub.groups().remove(&client.id, "g").await.unwrap();
    }
    assert!(matches!(next(&mut slow).await, PresenceEvent::Joined(_)));
    for _ in 0..5 {
        hub.groups().add(&client.id, "g").await.unwrap();
        hub.groups().remove(&client.id, "g").await.unwrap();
    }
    hub.groups().add(&client.id, "g").await.unwrap();
    // Three of before, of which it took none, and eleven.
    assert_eq!(snapshot(&mut slow).await, ([client.id.clone()].into(), 14));
    assert_eq!(snapshot(&mut idle).await, ([client.id.clone()].into(), 0));
    hub.groups().remove(&client.id, "g").await.unwrap();
    for watch in [&mut slow, &mut idle] {
        assert!(matches!(next(watch).await, PresenceEvent::Left(_)));
    }
}
