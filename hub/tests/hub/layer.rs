//! A backplane around another one, of which a test says what it loses.

use std::{
    sync::{Arc, Mutex, OnceLock, Weak},
    time::Duration,
};

use async_trait::async_trait;
use backplane_core::{
    Backplane, ByteSize, CloseError, Envelope, Event, Flushed, Gap, Link, Members, Node, NodeId,
    PublishError, Semantics, Sink, Stats, SubscribeError, SubscriberOutage, Subscription, Ticket,
    Topic,
};
use backplane_memory::Medium;
use tokio::sync::watch;

use crate::scenarios::soon;

#[derive(Debug)]
pub(crate) struct Layer {
    inner: Node,
    outage: SubscriberOutage,
    sinks: Mutex<Vec<(Topic, Weak<dyn Sink>)>>,
    largest_body: OnceLock<ByteSize>,
}

impl Layer {
    /// On a medium of its own, and up.
    pub(crate) async fn start(outage: SubscriberOutage) -> Arc<Self> {
        let inner = Medium::new().node();
        soon("the link", async { drop(inner.link().wait_for(Link::is_up).await.unwrap()) }).await;
        let (sinks, largest_body) = (Mutex::default(), OnceLock::new());
        Arc::new(Self { inner, outage, sinks, largest_body })
    }

    /// What a hub is built on.
    pub(crate) fn backplane(self: &Arc<Self>) -> Arc<dyn Backplane> {
        Arc::<Self>::clone(self)
    }

    /// Says that it carries no larger bodies.
    pub(crate) fn carries(&self, largest_body: ByteSize) {
        self.largest_body.set(largest_body).unwrap();
    }

    /// So many messages on a topic are lost.
    pub(crate) fn lose(&self, topic: &Topic, origin: NodeId, count: Option<u64>) {
        let event = Event::Gap(Gap::new(topic.clone(), Some(origin), count));
        let sinks = self.sinks(|it| it == topic);
        assert!(!sinks.is_empty(), "nobody subscribes {topic}");
        sinks.iter().for_each(|sink| sink.accept(&event));
    }

    /// Tells every sink, each once.
    pub(crate) fn tell_all(&self, event: &Event) {
        let mut sinks = self.sinks(|_| true);
        sinks.sort_by_key(|sink| Arc::as_ptr(sink).cast::<()>());
        sinks.dedup_by(|a, b| Arc::ptr_eq(a, b));
        sinks.iter().for_each(|sink| sink.accept(event));
    }

    fn sinks(&self, of: impl Fn(&Topic) -> bool) -> Vec<Arc<dyn Sink>> {
        let sinks = self.sinks.lock().unwrap();
        sinks.iter().filter(|(topic, _)| of(topic)).filter_map(|(_, sink)| sink.upgrade()).collect()
    }
}

#[async_trait]
impl Backplane for Layer {
    fn node(&self) -> NodeId {
        self.inner.node()
    }

    fn semantics(&self) -> Semantics {
        let inner = self.inner.semantics();
        let largest_body = self.largest_body.get().copied().unwrap_or(inner.largest_body);
        Semantics { subscriber_outage: self.outage, largest_body, ..inner }
    }

    fn try_publish(&self, envelope: Envelope) -> Result<Ticket, PublishError> {
        self.inner.try_publish(envelope)
    }

    async fn room(&self, envelope: &Envelope) -> Result<(), PublishError> {
        self.inner.room(envelope).await
    }

    fn subscribe(
        &self,
        interest: &[(Topic, Arc<dyn Sink>)],
    ) -> Result<Subscription, SubscribeError> {
        let known = interest.iter().map(|(topic, sink)| (topic.clone(), Arc::downgrade(sink)));
        self.sinks.lock().unwrap().extend(known);
        self.inner.subscribe(interest)
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.inner.link()
    }

    fn members(&self) -> watch::Receiver<Members> {
        self.inner.members()
    }

    fn stats(&self) -> Stats {
        self.inner.stats()
    }

    async fn close(&self, deadline: Duration) -> Result<Flushed, CloseError> {
        self.inner.close(deadline).await
    }
}
