//! Ours.

use std::sync::Arc;

use async_trait::async_trait;
use backplane_core::{
    Backplane, ConnectError, Envelope, Link, Node, PublishError, Sink, Subscription, Ticket, Topic,
};
use bytes::Bytes;

use super::{BODY, Contender, Counter, Failure, IN_FLIGHT, all};

/// What a node adds, and the options that say so.
pub(super) const BARE: (&str, &str) = ("ours, bare", "repair=off&outage=refuse");
pub(super) const REPAIRED: (&str, &str) = ("ours, repaired", "repair=on");

/// Over a log, as users get it: what that drops is counted.
pub(super) const COUNTED: (&str, &str) = ("ours, by default", "");

/// Two nodes of a backplane.
pub(super) struct Nodes {
    name: &'static str,
    publisher: Node,
    _receiver: Node,
    _subscription: Subscription,
    topics: Vec<Topic>,
    counter: Arc<Counter>,
    style: Style,
}

/// How the publisher learns what became of its envelopes.
#[derive(Clone, Copy)]
pub(super) enum Style {
    /// One task publishes and waits for room only; it asks for the outcomes afterwards.
    Queued { topics: usize },
    /// As the plain client does it: so many publishes at a time, each awaited.
    Awaited,
}

impl Nodes {
    /// Two that `start` makes of the URL and the layer's options.
    pub(super) async fn of(
        (name, options): (&'static str, &str),
        url: &str,
        start: fn(&str) -> Result<Node, ConnectError>,
        style: Style,
    ) -> Result<Self, Failure> {
        let url = format!("{url}{}{options}", if url.contains('?') { '&' } else { '?' });
        Self::start(name, start(&url)?, start(&url)?, style).await
    }

    async fn start(
        name: &'static str,
        publisher: Node,
        receiver: Node,
        style: Style,
    ) -> Result<Self, Failure> {
        let count = match style {
            Style::Queued { topics } => topics,
            Style::Awaited => 1,
        };
        // Of its own for each contender, as they share the broker.
        let hub = publisher.node().to_string();
        let topics: Vec<Topic> =
            (0..count).map(|number| Topic::group(&hub, &number.to_string())).collect();
        let counter = Arc::new(Counter::default());
        let interest: Vec<(Topic, Arc<dyn Sink>)> = topics
            .iter()
            .map(|topic| (topic.clone(), Arc::<Counter>::clone(&counter) as Arc<dyn Sink>))
            .collect();
        let subscription = receiver.subscribe(&interest)?;
        subscription.confirmed().await?;
        publisher.link().wait_for(Link::is_up).await?;
        Ok(Self {
            name,
            publisher,
            _receiver: receiver,
            _subscription: subscription,
            topics,
            counter,
            style,
        })
    }

    /// Publishes as soon as there is room.
    async fn queue(&self, mut envelope: Envelope) -> Result<Ticket, PublishError> {
        loop {
            match self.publisher.try_publish(envelope) {
                Err(PublishError::Full(returned)) => {
                    self.publisher.room(&returned).await?;
                    envelope = *returned;
                }
                outcome => return outcome,
            }
        }
    }
}

#[async_trait]
impl Contender for Nodes {
    fn name(&self) -> String {
        match self.style {
            Style::Queued { topics: 1 } => format!("{}, 1 topic", self.name),
            Style::Queued { topics } => format!("{}, {topics} topics", self.name),
            Style::Awaited => format!("{}, 1 topic, {IN_FLIGHT} awaited", self.name),
        }
    }

    async fn run(&self, messages: u64) -> Result<(), Failure> {
        self.counter.expect(messages);
        let body = Bytes::from_static(&BODY);
        let envelopes = (0..messages).map(|number| {
            let topic = &self.topics[number as usize % self.topics.len()];
            Envelope::new(topic.clone(), body.clone())
        });
        match self.style {
            Style::Queued { .. } => {
                let mut latest = Vec::with_capacity(self.topics.len());
                for envelope in envelopes {
                    let ticket = self.queue(envelope).await?;
                    if latest.len() == self.topics.len() {
                        latest.clear();
                    }
                    latest.push(ticket);
                }
                for ticket in latest {
                    ticket.await?;
                }
            }
            Style::Awaited => {
                let publishes = envelopes.map(|envelope| self.publisher.publish(envelope));
                all(publishes, IN_FLIGHT).await?;
            }
        }
        self.counter.enough().await;
        Ok(())
    }
}
