//! What a node takes with it when it goes. Alone in its file, as it counts the threads of its
//! process.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{fs, time::Duration};

use backplane_core::{Backplane, Envelope, Topic};
use backplane_tests::brokers::NatsFlavour;
use common::{broker, node_up, on_each_server};

on_each_server!(a_dropped_node_is_gone_at_once);

/// The threads on which connections run.
fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.trim() == "backplane-nats").count()
}

/// Waits for that many, for much less than a client would wait for a server.
async fn until(expected: usize) {
    let counted = async {
        while threads() != expected {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(2), counted).await.is_ok(), "{}", threads());
}

async fn a_dropped_node_is_gone_at_once(flavour: NatsFlavour) {
    // One after the other, also where tests run side by side.
    static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _one = ONE.lock().await;
    let broker = broker(flavour).await;
    let (idle, busy) = (node_up(&broker.url()).await, node_up(&broker.url()).await);
    until(2).await;
    drop(idle);
    until(1).await;

    broker.pause().await.unwrap();
    // More than the sockets take, so that some of it cannot be written.
    for _ in 0..200 {
        let body = vec![0; 64 * 1024];
        drop(busy.try_publish(Envelope::new(Topic::all("orders"), body)).unwrap());
    }
    while busy.stats().write_round_trips == 0 {
        tokio::task::yield_now().await;
    }
    drop(busy);
    until(0).await;
}
