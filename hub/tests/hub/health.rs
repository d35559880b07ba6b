//! How a hub says that it stands.

use std::time::{Duration, Instant};

use backplane_hub::Health;

use crate::{
    Memory,
    scenarios::{Client, soon},
};

#[tokio::test]
async fn ready_degraded_and_ready_again() {
    let memory = Memory::start().await;
    let (one, _two) = memory.hubs();
    assert_eq!(one.health(), Health::Ready);
    memory.stop().await;
    let health = one.health();
    let Health::Degraded { reason, since } = &health else { panic!("{health:?}") };
    assert!(reason.contains("the medium"), "{reason}");
    assert!(*since <= Instant::now());
    assert!(!health.is_ready() && health.is_live());
    // Its own connections are served all the same.
    let mut client = Client::open(&one).await;
    client.expect_nothing(&[&one]).await;
    memory.restart().await;
    assert!(one.health().is_ready());
}

#[tokio::test]
async fn before_the_first_connection() {
    let medium = backplane_memory::Medium::new();
    let hub = backplane_hub::Hub::builder("h");
    let hub = hub.backplane(std::sync::Arc::new(medium.node())).build().unwrap();
    let health = hub.health();
    let Health::Degraded { reason, .. } = &health else { panic!("{health:?}") };
    assert!(reason.contains("first connection"), "{reason}");
    let mut link = hub.backplane().link();
    soon("the link", link.wait_for(backplane_hub::Link::is_up)).await.unwrap();
    assert_eq!(hub.health().as_str(), "ready");
}

#[tokio::test]
async fn closed_hubs_and_closed_backplanes_are_not_ready() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    one.close(Duration::from_secs(5)).await.unwrap();
    assert_eq!(one.health(), Health::Closed);
    two.backplane().close(Duration::from_secs(5)).await.unwrap();
    assert_eq!(two.health(), Health::Closed);
    assert!(!two.health().is_live());
}
