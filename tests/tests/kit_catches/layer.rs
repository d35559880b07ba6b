//! A layer that is honest, or has one fault.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use backplane_core::{
    Backplane, CloseError, Envelope, Event, Flushed, Link, Members, Node, NodeId, Position,
    PublishError, Receipt, Semantics, Sink, Stats, SubscribeError, Subscription, Ticket, Topic,
};
use tokio::sync::watch;

use crate::fault::Fault;

#[derive(Debug)]
pub(crate) struct Layer {
    inner: Node,
    /// Another node, that goes on after this one was closed.
    ghost: Option<Node>,
    fault: Fault,
    closed: Arc<AtomicBool>,
    /// Subscriptions that nobody can drop.
    kept: Mutex<Vec<Subscription>>,
    link: watch::Sender<Link>,
    /// The sinks, for what is delivered past the node.
    sinks: Mutex<Vec<(Topic, Arc<dyn Sink>)>>,
}

impl Layer {
    pub(crate) fn new(inner: Node, ghost: Option<Node>, fault: Fault) -> Self {
        Self {
            inner,
            ghost,
            fault,
            closed: Arc::default(),
            kept: Mutex::default(),
            link: watch::Sender::new(Link::Up { epoch: 1 }),
            sinks: Mutex::default(),
        }
    }

    fn keep(&self, subscription: Subscription) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(subscription);
    }

    fn deliver(&self, envelope: &Envelope) {
        let sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let event = Event::Message(envelope.clone());
        let on = sinks.iter().filter(|(topic, _)| *topic == envelope.topic);
        on.for_each(|(_, sink)| sink.accept(&event));
    }
}

#[async_trait]
impl Backplane for Layer {
    fn node(&self) -> NodeId {
        self.inner.node()
    }

    fn semantics(&self) -> Semantics {
        let mut semantics = self.inner.semantics();
        if self.fault == Fault::Overstates {
            semantics.receipt = Receipt::Stored;
        }
        semantics
    }

    fn try_publish(&self, mut envelope: Envelope) -> Result<Ticket, PublishError> {
        if self.fault == Fault::ForgetsExtras {
            envelope.except.clear();
            envelope.trace = None;
        }
        let copy = envelope.clone();
        let answer = self.inner.try_publish(envelope);
        match (self.fault, answer) {
            (Fault::SwallowsErrors, Ok(_)) if !self.inner.link().borrow().is_up() => {
                Ok(Ticket::known(Ok(Receipt::Accepted)))
            }
            (Fault::HalfRefuses, Err(error)) => {
                self.deliver(&copy);
                Err(error)
            }
            (Fault::ExchangesEnvelopes, Err(PublishError::Full(_))) => {
                Err(PublishError::Full(Box::new(Envelope::new(copy.topic, "another"))))
            }
            (Fault::LetsSinksPublish, Err(PublishError::InsideSink)) => {
                Ok(Ticket::known(Ok(Receipt::Accepted)))
            }
            (_, answer) => answer,
        }
    }

    fn members(&self) -> watch::Receiver<Members> {
        self.inner.members()
    }

    async fn room(&self, envelope: &Envelope) -> Result<(), PublishError> {
        if self.fault == Fault::NoRoom {
            std::future::pending::<()>().await;
        }
        self.inner.room(envelope).await
    }

    fn subscribe(
        &self,
        interest: &[(Topic, Arc<dyn Sink>)],
    ) -> Result<Subscription, SubscribeError> {
        let fault = self.fault;
        let warps = [
            Fault::Echoes,
            Fault::LocalLast,
            Fault::LocalNever,
            Fault::HidesInterruptions,
            Fault::RepeatsInterruptions,
        ];
        if fault == Fault::HalfRefuses {
            let mut sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
            sinks.extend(interest.iter().cloned());
        }
        if let Some(ghost) = &self.ghost {
            let after = |(topic, sink): &(Topic, Arc<dyn Sink>)| {
                let sink = After { sink: Arc::clone(sink), closed: Arc::clone(&self.closed) };
                (topic.clone(), Arc::new(sink) as Arc<dyn Sink>)
            };
            self.keep(ghost.subscribe(&interest.iter().map(after).collect::<Vec<_>>())?);
        }
        if fault == Fault::KeepsSinks {
            self.keep(self.inner.subscribe(interest)?);
            let deaf = |(topic, _): &(Topic, _)| (topic.clone(), Arc::new(Deaf) as Arc<dyn Sink>);
            return self.inner.subscribe(&interest.iter().map(deaf).collect::<Vec<_>>());
        }
        if !warps.contains(&fault) {
            return self.inner.subscribe(interest);
        }
        let mut known: Vec<(Arc<dyn Sink>, Arc<dyn Sink>)> = Vec::new();
        let mut warped = Vec::new();
        for (topic, sink) in interest {
            let same = known.iter().find(|(it, _)| Arc::ptr_eq(it, sink));
            let warp = match same {
                Some((_, warp)) => Arc::clone(warp),
                None => {
                    let node = self.inner.node();
                    let warp = Arc::new(Warped { sink: Arc::clone(sink), fault, node });
                    known.push((Arc::clone(sink), Arc::<Warped>::clone(&warp)));
                    warp
                }
            };
            warped.push((topic.clone(), warp));
        }
        self.inner.subscribe(&warped)
    }

    fn subscribe_from(
        &self,
        topic: &Topic,
        sink: Arc<dyn Sink>,
        from: Position,
    ) -> Result<Subscription, SubscribeError> {
        if self.fault == Fault::PretendsToReplay {
            return self.inner.subscribe(&[(topic.clone(), sink)]);
        }
        self.inner.subscribe_from(topic, sink, from)
    }

    fn link(&self) -> watch::Receiver<Link> {
        if self.fault == Fault::ClaimsUp {
            return self.link.subscribe();
        }
        self.inner.link()
    }

    fn stats(&self) -> Stats {
        self.inner.stats()
    }

    async fn close(&self, deadline: Duration) -> Result<Flushed, CloseError> {
        if self.fault == Fault::NeverCloses {
            return Err(CloseError::AlreadyClosed);
        }
        self.closed.store(true, Ordering::Release);
        self.inner.close(deadline).await
    }
}

/// Tells a sink something else than it is told.
#[derive(Debug)]
struct Warped {
    sink: Arc<dyn Sink>,
    fault: Fault,
    node: NodeId,
}

impl Sink for Warped {
    fn accept(&self, event: &Event) {
        let local = matches!(event, Event::Message(it) if it.origin == Some(self.node));
        let doubt = matches!(event, Event::Interrupted { .. } | Event::Restored);
        match self.fault {
            Fault::Echoes if local => {
                self.sink.accept(event);
                self.sink.accept(event);
            }
            Fault::LocalLast if local => {
                let (sink, event) = (Arc::clone(&self.sink), event.clone());
                tokio::spawn(async move { sink.accept(&event) });
            }
            Fault::LocalNever if local => {}
            Fault::HidesInterruptions if doubt => {}
            Fault::RepeatsInterruptions if doubt => {
                self.sink.accept(event);
                self.sink.accept(event);
            }
            _ => self.sink.accept(event),
        }
    }
}

/// Hears nothing.
#[derive(Debug)]
struct Deaf;

impl Sink for Deaf {
    fn accept(&self, _: &Event) {}
}

/// Passes on what comes after the node was closed.
#[derive(Debug)]
struct After {
    sink: Arc<dyn Sink>,
    closed: Arc<AtomicBool>,
}

impl Sink for After {
    fn accept(&self, event: &Event) {
        if self.closed.load(Ordering::Acquire) {
            self.sink.accept(event);
        }
    }
}
