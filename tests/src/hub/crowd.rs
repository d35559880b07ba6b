//! Many clients of a node, for who is there.

use std::{sync::Arc, time::Duration};

use backplane_hub::{Backplane, Hub, PresenceOptions};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use super::{Client, Plain, soon};

/// How many users each crowd is of.
pub const USERS: usize = 500;

/// So many clients of a node, each in `each` of the groups.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Crowd {
    /// How many clients.
    pub clients: usize,
    /// In how many groups each is.
    pub each: usize,
    /// How many groups there are.
    pub groups: usize,
}

impl Crowd {
    /// Nobody.
    pub const NONE: Self = Self { clients: 0, each: 0, groups: 0 };

    /// A hub that knows who is there.
    pub fn hub(name: &str, backplane: Arc<dyn Backplane>) -> Hub {
        let hub = Hub::builder(name).backplane(backplane).presence(PresenceOptions::default());
        let hub = hub.build().unwrap();
        hub.speak(Plain::new("plain"));
        hub
    }

    /// What a group is called.
    #[must_use]
    pub fn group(self, number: usize) -> String {
        format!("group {}", number % self.groups)
    }

    /// Opens them all.
    pub async fn gather(self, hub: &Hub) -> Vec<Client> {
        join_all((0..self.clients).map(async |number| {
            let client = Client::open_as(hub, Some(&format!("user {}", number % USERS))).await;
            for place in 0..self.each {
                let group = self.group(number * self.each + place);
                hub.groups().add(&client.id, &group).await.unwrap();
            }
            client
        }))
        .await
    }

    /// Waits until each of these hubs knows of every group that it has the members of so many crowds.
    pub async fn is_counted(self, hubs: &[&Hub], times: usize) {
        let expected = times * self.clients * self.each / self.groups;
        for hub in hubs {
            let presence = hub.presence();
            let right = || {
                (0..self.groups)
                    .all(|number| presence.group(&self.group(number)).count() == Ok(expected))
            };
            soon("the counts", async {
                while !right() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
            .await;
        }
    }
}
