//! The registrar of negotiated connections.

use std::{sync::Arc, time::Duration};

use backplane_hub::{Backplane, ClaimError, ConnectionId, Hub, HubOptions, NodeId};
use backplane_memory::Medium;

use crate::{Memory, scenarios::soon};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_connection_is_granted_once_by_its_registrar() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    for (first, second) in [(&one, &one), (&one, &two), (&two, &one), (&two, &two)] {
        let id = ConnectionId::random();
        one.announce(&id, MINUTE);
        let _owned = soon("a claim", first.claim(&id, one.node())).await.unwrap();
        let again = soon("a claim", second.claim(&id, one.node())).await;
        assert!(matches!(again, Err(ClaimError::AlreadyClaimed { owner: Some(_) })), "{again:?}");
    }
}

#[tokio::test]
async fn of_many_claims_at_once_one_is_granted() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    for _ in 0..50 {
        let id = ConnectionId::random();
        one.announce(&id, MINUTE);
        let claims = (0..8).map(|number| {
            let hub = if number % 2 == 0 { one.clone() } else { two.clone() };
            let (id, registrar) = (id.clone(), one.node());
            tokio::spawn(async move { hub.claim(&id, registrar).await })
        });
        let outcomes = soon("the claims", futures_util::future::join_all(claims)).await;
        let granted = outcomes.into_iter().filter(|outcome| outcome.as_ref().unwrap().is_ok());
        assert_eq!(granted.count(), 1);
    }
}

#[tokio::test]
async fn what_was_not_announced_is_unknown() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let id = ConnectionId::random();
    for hub in [&one, &two] {
        let outcome = soon("a claim", hub.claim(&id, one.node())).await;
        assert!(matches!(outcome, Err(ClaimError::Unknown)), "{outcome:?}");
    }
    // A registrar that is gone: promptly, but only after it had its time.
    let outcome = soon("a claim", two.claim(&id, NodeId::random())).await;
    assert!(matches!(outcome, Err(ClaimError::Unknown)), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn announcements_expire() {
    let node: Arc<dyn Backplane> = Arc::new(Medium::new().node());
    let hub = Hub::builder("h").backplane(node).build().unwrap();
    let (kept, expired) = (ConnectionId::random(), ConnectionId::random());
    hub.announce(&kept, MINUTE);
    hub.announce(&expired, MINUTE / 2);
    tokio::time::advance(MINUTE / 2).await;
    assert!(matches!(hub.claim(&expired, hub.node()).await, Err(ClaimError::Unknown)));
    let _owned = hub.claim(&kept, hub.node()).await.unwrap();
}

#[tokio::test]
async fn announcements_are_bounded() {
    let mut options = HubOptions::default();
    options.announcements = 100;
    let node: Arc<dyn Backplane> = Arc::new(Medium::new().node());
    let hub = Hub::builder("h").backplane(node).options(options).build().unwrap();
    let ids: Vec<ConnectionId> = (0..150).map(|_| ConnectionId::random()).collect();
    ids.iter().for_each(|id| hub.announce(id, MINUTE));
    for (number, id) in ids.iter().enumerate() {
        assert_eq!(hub.claim(id, hub.node()).await.is_ok(), number >= 50, "{number}");
    }
}
