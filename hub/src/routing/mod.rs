//! The one module that talks to the backplane.

mod asking;
mod body;
mod cases;
mod desk;
mod patience;
mod presence;
mod publish;
mod question;
mod sinks;
mod turns;

use std::{sync::Arc, time::Duration};

use backplane_core::{Backplane, Link, NodeId, Sink, SubscribeError, Subscription, Topic};
use futures_util::FutureExt;

use crate::{
    HubOptions,
    members::{Audience, Connections, Local, Member},
};
pub(crate) use asking::{Asking, Silence, Whom};
pub(crate) use body::{Head, Malformed, payloads};
pub(crate) use cases::KEPT;
pub(crate) use desk::{Asker, Desk, Errand, run};
pub(crate) use presence::Gossip;
pub(crate) use publish::Parcel;
use publish::offer;
pub(crate) use question::{Outcome, Page, Question, put_body, put_text, take_body, take_text};
use sinks::{Everyone, Node, Own};

/// A hub's part of a backplane.
#[derive(Debug)]
pub(crate) struct Routing {
    pub(crate) backplane: Arc<dyn Backplane>,
    hub: Arc<str>,
    local: Arc<Local>,
    answer_within: Duration,
    result_within: Duration,
    /// `All`, and this node's own topic.
    subscription: Subscription,
}

/// How far a topic is routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Routed {
    Everywhere,
    /// The link is down: only what this node publishes arrives.
    HereOnly,
}

impl Routing {
    pub(crate) fn new(
        backplane: Arc<dyn Backplane>,
        hub: &Arc<str>,
        local: &Arc<Local>,
        connections: &Arc<Connections>,
        options: &HubOptions,
    ) -> Result<Self, SubscribeError> {
        let everyone: Arc<dyn Sink> = Arc::new(Everyone {
            hub: Arc::clone(hub),
            local: Arc::clone(local),
            connections: Arc::clone(connections),
        });
        let node: Arc<dyn Sink> = Arc::new(Node(Arc::clone(local)));
        let own = Topic::node(hub, local.node);
        let subscription = backplane.subscribe(&[(Topic::all(hub), everyone), (own, node)])?;
        Ok(Self {
            backplane,
            hub: Arc::clone(hub),
            local: Arc::clone(local),
            answer_within: options.answer_within,
            result_within: options.result_within,
            subscription,
        })
    }

    pub(crate) fn subscribe_group(
        &self,
        group: &str,
        audience: Arc<Audience>,
    ) -> Result<Subscription, SubscribeError> {
        self.backplane.subscribe(&[(Topic::group(&self.hub, group), audience)])
    }

    pub(crate) fn subscribe_user(
        &self,
        user: &str,
        audience: Arc<Audience>,
    ) -> Result<Subscription, SubscribeError> {
        self.backplane.subscribe(&[(Topic::user(&self.hub, user), audience)])
    }

    pub(crate) fn subscribe_connection(
        &self,
        member: &Arc<Member>,
    ) -> Result<Subscription, SubscribeError> {
        let own = Own { local: Arc::clone(&self.local), member: Arc::clone(member) };
        self.backplane.subscribe(&[(Topic::connection(&self.hub, &member.id), Arc::new(own))])
    }

    /// The other nodes that are alive, as far as this one knows.
    pub(crate) fn others(&self) -> Vec<NodeId> {
        self.backplane.members().borrow().nodes.iter().map(|member| member.node).collect()
    }

    /// The largest answer to a question.
    pub(crate) fn largest_answer(&self) -> usize {
        const LARGEST: u64 = 32 * 1024;
        self.backplane.semantics().largest_body.as_u64().min(LARGEST) as usize
    }

    /// Waits until the broker routes the subscription's topics, but not while the link is down.
    pub(crate) async fn routed(
        &self,
        subscription: &Subscription,
    ) -> Result<Routed, SubscribeError> {
        let confirmed = subscription.confirmed();
        let mut confirmed = std::pin::pin!(confirmed);
        // Most often somebody has waited before, and there is no need to look at the link.
        if let Some(outcome) = confirmed.as_mut().now_or_never() {
            return outcome.map(|()| Routed::Everywhere);
        }
        let mut link = self.backplane.link();
        let waits = |link: &Link| matches!(link, Link::Connecting | Link::Up { .. });
        tokio::select! {
            biased;
            outcome = confirmed => outcome.map(|()| Routed::Everywhere),
            other = link.wait_for(|link| !waits(link)) => match other.as_deref() {
                Ok(Link::Closed) | Err(_) => Err(SubscribeError::Closed),
                Ok(_) => Ok(Routed::HereOnly),
            },
        }
    }
}

#[cfg(test)]
mod tests;
