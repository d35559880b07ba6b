//! What nodes say to each other, and the clock that makes them.

use std::{
    sync::{Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{Batch, NodeOptions, Shared};
use crate::{
    Envelope, Event, Gap, LinkError, NodeId, RouteKind, Topic,
    codec::{Control, Phase},
    envelope::Kind,
    interest::Registration,
    membership::Change,
    sequenced::{Action, Local, Told},
    wire::Session,
};

/// How often the clock ticks. Watermarks and repeated questions are due within one tick.
const TICK: Duration = Duration::from_millis(50);

/// How long a node that leaves waits for the others to have everything.
const FAREWELL: Duration = Duration::from_secs(2);

/// How often it tells those that do not answer.
const REMIND: Duration = Duration::from_millis(100);

/// The topic of what nodes say to all: no node is called that.
pub(super) fn everyone() -> Topic {
    Topic::new("", RouteKind::Node, "everyone")
}

impl Shared {
    /// Another node has said something.
    pub(super) fn control(&self, origin: NodeId, topic: &Topic, body: &Bytes) {
        let control = match Control::decode(body) {
            Ok(control) => control,
            Err(error) => return self.unreadable(&error),
        };
        if let Control::Alive(alive) = &control {
            let change = {
                let mut membership = self.membership();
                match alive.phase {
                    Phase::Gone => membership.left(origin),
                    _ => membership.heard(origin, alive.name.as_deref()),
                }
            };
            self.changed(change);
        }
        let mut actions = Vec::new();
        let position = self.sent_position();
        let now = self.coarse_now();
        self.sequencer.heard(origin, topic, control, position, now, self, &mut actions);
        self.act(actions);
        self.restore();
    }

    /// The membership has changed.
    fn changed(&self, changes: impl IntoIterator<Item = Change>) {
        let mut news = false;
        for change in changes {
            news = true;
            tracing::info!(node = %self.id, ?change, "membership");
            match change {
                Change::Died(origin) => {
                    self.sequencer.died(origin);
                    self.interest.tell_all(&Event::OriginLost { origin });
                }
                Change::Forgotten(origin) => self.sequencer.forget(origin),
                // What leaving means for what is missing, the sequencer hears by itself.
                Change::Joined(_) | Change::Left(_) | Change::Returned(_) => {}
            }
        }
        if news {
            let members = self.membership().members();
            if members.name_is_shared {
                tracing::warn!(node = %self.id, "another live node has this node's name");
            }
            self.members.send_if_modified(|known| {
                let changed = *known != members;
                *known = members;
                changed
            });
        }
    }

    /// Everything up to this position is in the queue, or further.
    fn sent_position(&self) -> u64 {
        let position = self.sequencer.position();
        if self.outbound.lanes_are_flushed() {
            self.sent.fetch_max(position, Ordering::AcqRel);
        }
        self.sent.load(Ordering::Acquire)
    }

    /// Does what the machines want done. What finds no room is repeated by them.
    pub(super) fn act(&self, actions: Vec<Action>) {
        for action in actions {
            let envelope = match action {
                Action::Tell(control) => self.message(everyone(), &control),
                Action::Mark(topic, control) => self.message(topic, &control),
                Action::Send(node, control) => self.message(Topic::node("", node), &control),
                Action::OriginLost(origin) => {
                    self.interest.tell_all(&Event::OriginLost { origin });
                    continue;
                }
                Action::Resend(_, mut envelope) => {
                    self.counters.resent.add(1);
                    envelope.origin = Some(self.id);
                    *envelope
                }
            };
            if !self.outbound.is_up() {
                continue;
            }
            if let Err(envelope) = self.outbound.say(envelope) {
                // The queue is closed while the node takes its leave.
                if !self.closing.is_cancelled() || !self.late.push(*envelope) {
                    self.counters.control_dropped.add(1);
                }
            }
        }
    }

    fn message(&self, topic: Topic, control: &Control) -> Envelope {
        if matches!(control, Control::Ask { .. }) {
            self.counters.asked.add(1);
        }
        let mut envelope = Envelope::new(topic, control.encode()).transient();
        envelope.origin = Some(self.id);
        envelope.kind = Kind::Control;
        envelope
    }

    /// Tells the sinks that nothing is in doubt any more, if that is so.
    pub(super) fn restore(&self) {
        if self.sequencer.restored() {
            self.interest.restored();
        }
    }

    /// What the numbers say about what arrived on a topic.
    pub(super) fn tell_numbered(&self, topic: &Topic, sinks: &[Registration], told: Told) {
        let counters = self.counters.kind(topic.kind());
        match told {
            Told::Message(envelope, repaired) => {
                counters.repaired.add(u64::from(repaired));
                self.deliver(sinks, envelope);
            }
            Told::Lost(origin, count) => {
                match count {
                    Some(count) => counters.lost.add(count),
                    None => self.counters.uncounted_gaps.add(1),
                }
                super::tell(sinks, &Event::Gap(Gap::new(topic.clone(), Some(origin), count)));
            }
            Told::Doubled => counters.doubled.add(1),
        }
    }

    /// Ticks for as long as the node lives.
    pub(super) async fn keep_time(&self, options: &NodeOptions) {
        let mut before = self.now();
        let mut next_beat = before;
        loop {
            tokio::time::sleep(TICK).await;
            let now = self.now();
            let passed = now.saturating_sub(before);
            before = now;
            self.set_clock(now);
            let up = self.outbound.is_up();
            let stalled = passed > TICK + Duration::from_secs(1);
            let elapsed = if up && !stalled { passed } else { Duration::ZERO };
            let mut actions = Vec::new();
            let position = self.sent_position();
            self.sequencer.tick(now, elapsed, position, self, &mut actions);
            if now >= next_beat {
                next_beat = now + options.heartbeat_every;
                let alive = self.sequencer.beat(position, now);
                actions.push(Action::Tell(Control::Alive(alive)));
            }
            self.act(actions);
            let changes = self.membership().tick(passed, TICK, up);
            self.changed(changes);
            self.restore();
        }
    }

    /// Says to all that this node's link is there; asks them who they are.
    pub(super) async fn greet(&self, session: &impl Session, first: bool) -> Result<(), LinkError> {
        self.announce(session, Phase::Hello { first }).await
    }

    async fn announce(&self, session: &impl Session, phase: Phase) -> Result<(), LinkError> {
        let alive = self.sequencer.alive(phase, self.sent_position(), self.now());
        let envelope = self.message(everyone(), &Control::Alive(alive));
        // Where the broker refuses it, this node is alone, which its peers' silence shows too.
        session.write(&Batch::new(self.id, vec![envelope])).await.map(drop)
    }

    /// Everything is sent: waits until the others miss nothing, answering them, and takes leave.
    pub(super) async fn take_leave(&self, session: &impl Session) {
        let waits = async {
            self.sequencer.leave();
            while self.sequencer.numbers() && !self.sequencer.may_go() {
                self.announce(session, Phase::Leaving).await?;
                let reminded = tokio::time::Instant::now() + REMIND;
                while !self.sequencer.may_go() {
                    let said = tokio::time::timeout_at(reminded, self.late.next()).await;
                    let Ok(envelopes) = said else { break };
                    session.write(&Batch::new(self.id, envelopes)).await?;
                }
            }
            Ok::<(), LinkError>(())
        };
        // Whoever has not answered by then learns of the rest as lost.
        let waited = tokio::time::timeout(FAREWELL, waits).await;
        if !matches!(waited, Ok(Ok(()))) {
            tracing::info!(node = %self.id, "left before all others had confirmed that they miss nothing");
        }
        if let Err(error) = self.announce(session, Phase::Gone).await {
            tracing::debug!(node = %self.id, %error, "could not say that this node is gone");
        }
    }
}

/// What a node that leaves still has to say, after its queue was closed.
#[derive(Debug, Default)]
pub(super) struct Late {
    envelopes: Mutex<Vec<Envelope>>,
    said: Notify,
}

impl Late {
    /// The most that wait; whoever asked asks again.
    const MOST: usize = 4096;

    /// Returns whether there was room.
    fn push(&self, envelope: Envelope) -> bool {
        let mut envelopes = self.envelopes.lock().unwrap_or_else(PoisonError::into_inner);
        if envelopes.len() >= Self::MOST {
            return false;
        }
        envelopes.push(envelope);
        self.said.notify_one();
        true
    }

    /// Waits for something to say. Cancel-safe.
    async fn next(&self) -> Vec<Envelope> {
        loop {
            let envelopes = {
                let mut envelopes = self.envelopes.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::take(&mut *envelopes)
            };
            if !envelopes.is_empty() {
                return envelopes;
            }
            self.said.notified().await;
        }
    }
}

impl Local for Shared {
    fn stamp(&self, topic: &Topic) -> Option<u64> {
        self.interest.sinks(topic.as_parts()).map(|interested| interested.stamp)
    }

    fn tell(&self, topic: &Topic, told: Told) {
        if let Some(interested) = self.interest.sinks(topic.as_parts()) {
            self.tell_numbered(topic, &interested.sinks, told);
        }
    }
}
