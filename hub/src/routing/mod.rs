//! The one module that talks to the backplane.

mod asking;
pub(crate) mod body;
mod desk;
mod question;
mod sinks;

use std::{future::Future, sync::Arc};

use backplane_core::{
    Backplane, Envelope, Link, PublishError, Sink, SubscribeError, Subscription, Ticket, Topic,
};
use futures_util::FutureExt;

use crate::members::{Audience, Connections, Local, Member};
pub(crate) use asking::{Asking, Silence};
pub(crate) use desk::{Asker, Desk, run};
pub(crate) use question::{Outcome, Question};
use sinks::{Everyone, Node, Own};

/// A hub's part of a backplane.
#[derive(Debug)]
pub(crate) struct Routing {
    pub(crate) backplane: Arc<dyn Backplane>,
    hub: Arc<str>,
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
    ) -> Result<Self, SubscribeError> {
        let everyone: Arc<dyn Sink> = Arc::new(Everyone {
            hub: Arc::clone(hub),
            local: Arc::clone(local),
            connections: Arc::clone(connections),
        });
        let node: Arc<dyn Sink> = Arc::new(Node(Arc::clone(local)));
        let own = Topic::node(hub, local.node);
        let subscription = backplane.subscribe(&[(Topic::all(hub), everyone), (own, node)])?;
        Ok(Self { backplane, hub: Arc::clone(hub), subscription })
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
        local: &Arc<Local>,
    ) -> Result<Subscription, SubscribeError> {
        let own = Own { local: Arc::clone(local), member: Arc::clone(member) };
        self.backplane.subscribe(&[(Topic::connection(&self.hub, &member.id), Arc::new(own))])
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
        tokio::select! {
            biased;
            outcome = confirmed => outcome.map(|()| Routed::Everywhere),
            down = link.wait_for(|link| matches!(link, Link::Down { .. } | Link::Muted { .. })) => {
                down.map(|_| Routed::HereOnly).map_err(|_| SubscribeError::Closed)
            }
        }
    }

    /// Hands all of these over, waiting for room, and then waits for their outcomes. All are
    /// attempted; the first error is told.
    pub(crate) fn publish(
        &self,
        envelopes: Vec<Envelope>,
    ) -> impl Future<Output = Result<(), PublishError>> + Send + use<> {
        let backplane = Arc::clone(&self.backplane);
        async move {
            let mut first = Ok(());
            let mut tickets = Vec::with_capacity(envelopes.len());
            for envelope in envelopes {
                match offer(&*backplane, envelope).await {
                    Ok(ticket) => tickets.push(ticket),
                    Err(error) => first = first.and(Err(error)),
                }
            }
            for ticket in tickets {
                let outcome = ticket.await;
                first = first.and(outcome.map(drop));
            }
            first
        }
    }

    /// Hands all of these over at once; what is not known yet is left open.
    pub(crate) fn try_publish(&self, envelopes: Vec<Envelope>) -> Result<(), PublishError> {
        let mut first = Ok(());
        for envelope in envelopes {
            let outcome = match self.backplane.try_publish(envelope) {
                Ok(ticket) => ticket.now_or_never().unwrap_or(Ok(backplane_core::Receipt::Queued)),
                Err(error) => Err(error),
            };
            first = first.and(outcome.map(drop));
        }
        first
    }
}

async fn offer(backplane: &dyn Backplane, envelope: Envelope) -> Result<Ticket, PublishError> {
    let mut envelope = envelope;
    loop {
        match backplane.try_publish(envelope) {
            Err(PublishError::Full(returned)) => {
                backplane.room(&returned).await?;
                envelope = returned;
            }
            outcome => return outcome,
        }
    }
}
