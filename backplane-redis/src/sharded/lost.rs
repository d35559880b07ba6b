use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::address::Address;

/// The channels that servers have given up by themselves, with who did: at most as many as are subscribed.
#[derive(Debug, Default)]
pub(super) struct Lost {
    channels: Mutex<Vec<(String, Address)>>,
    more: Notify,
}

impl Lost {
    pub(super) fn add(&self, channel: String, by: &Address) {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.push((channel, by.clone()));
        self.more.notify_one();
    }

    /// Waits until there are some. Cancel-safe.
    pub(super) async fn some(&self) {
        self.more.notified().await;
    }

    pub(super) fn take(&self) -> Vec<(String, Address)> {
        std::mem::take(&mut self.channels.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
