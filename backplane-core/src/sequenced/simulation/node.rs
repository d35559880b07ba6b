//! A node of the simulation: the real machines, with a link that is a pair of queues.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bytesize::ByteSize;

use super::{checker::Heard, faults::Faults, world::Place};
use crate::{
    Envelope, NodeId, Topic,
    codec::{Control, Phase},
    envelope::Kind,
    membership::{Change, Membership},
    node::Retention,
    sequenced::{Action, Local, Moment, Rules, Sequencer, Settings, Told},
};

pub(super) const TICK: Duration = Duration::from_millis(100);

/// How long an origin keeps what it sent.
pub(super) const AGE: Duration = Duration::from_secs(5);

/// How long a hole may stay without progress.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// Small, so that bounds are reached within seconds.
pub(super) fn retention(envelopes: usize, topics: usize) -> Retention {
    let bytes = if envelopes > 8 { ByteSize::mib(4) } else { ByteSize::kib(8) };
    Retention { topic_envelopes: envelopes, bytes, age: AGE, topics, ..Retention::default() }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Running,
    /// Nothing is done until then.
    Paused(Moment),
    /// Killed, or gone.
    Ended,
}

/// The local side of a node: its subscriptions, and what their sinks heard.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub(super) stamps: RefCell<BTreeMap<String, u64>>,
    pub(super) heard: RefCell<Vec<Heard>>,
    pub(super) now: RefCell<Moment>,
}

impl Local for Own {
    fn stamp(&self, topic: &Topic) -> Option<u64> {
        self.stamps.borrow().get(topic.name()).copied()
    }

    fn tell(&self, topic: &Topic, told: Told) {
        let at = *self.now.borrow();
        self.heard.borrow_mut().push(Heard { at, topic: topic.name().to_owned(), told });
    }
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) sequencer: Sequencer,
    pub(super) membership: Membership,
    pub(super) own: Own,
    pub(super) state: State,
    /// Counts connections; a message of an older one is lost.
    pub(super) connection: u64,
    pub(super) connected: bool,
    pub(super) up: bool,
    pub(super) first: bool,
    pub(super) started: Moment,
    pub(super) ticked: Moment,
    pub(super) beaten: Moment,
    /// Published while the link was down.
    pub(super) buffered: VecDeque<Envelope>,
    /// Sent, and not known to have reached the broker.
    pub(super) unanswered: VecDeque<Envelope>,
    pub(super) most_buffered: usize,
    /// Positions of what was dropped there.
    pub(super) withdrawn: BTreeSet<u64>,
    /// When the link was in doubt, from a little before until everything was compared.
    pub(super) doubts: Vec<(Moment, Option<Moment>)>,
    /// When it did nothing.
    pub(super) pauses: Vec<(Moment, Moment)>,
    /// When another node fell silent here.
    pub(super) lost_origins: Vec<(Moment, NodeId)>,
    pub(super) leaving: bool,
    /// Whether it reads a log, and how far it has.
    pub(super) log: bool,
    pub(super) place: Place,
    /// When what it had not read yet was gone.
    pub(super) trimmed: Vec<Moment>,
}

impl Node {
    pub(super) fn new(id: NodeId, started: Moment, faults: &Faults, rules: Rules) -> Self {
        let settings = Settings {
            numbered: true,
            retention: retention(faults.retained, faults.topics),
            deadline: DEADLINE,
            log: faults.log,
            rules,
        };
        Self {
            id,
            sequencer: Sequencer::new(settings, None),
            membership: Membership::new(None, Duration::from_secs(5)),
            own: Own::default(),
            state: State::Running,
            connection: 0,
            connected: false,
            up: false,
            first: true,
            started,
            ticked: started,
            beaten: started,
            buffered: VecDeque::new(),
            unanswered: VecDeque::new(),
            most_buffered: faults.buffered,
            withdrawn: BTreeSet::new(),
            doubts: Vec::new(),
            pauses: Vec::new(),
            lost_origins: Vec::new(),
            leaving: false,
            log: faults.log,
            place: Place::default(),
            trimmed: Vec::new(),
        }
    }

    /// The node's own clock.
    pub(super) fn clock(&self, now: Moment) -> Moment {
        now - self.started
    }

    pub(super) fn message(&self, topic: Topic, control: &Control) -> Envelope {
        let mut envelope = Envelope::new(topic, control.encode()).transient();
        envelope.origin = Some(self.id);
        envelope.kind = Kind::Control;
        envelope
    }

    pub(super) fn envelopes(&mut self, actions: Vec<Action>) -> Vec<Envelope> {
        let now = *self.own.now.borrow();
        let lost = |action: &Action| match action {
            Action::OriginLost(node) => Some((now, *node)),
            _ => None,
        };
        self.lost_origins.extend(actions.iter().filter_map(lost));
        let envelope = |action| match action {
            Action::Tell(control) => Some(self.message(Topic::all(""), &control)),
            Action::Mark(topic, control) => Some(self.message(topic, &control)),
            Action::Send(node, control) => Some(self.message(Topic::node("", node), &control)),
            Action::Resend(_, mut envelope) => {
                envelope.origin = Some(self.id);
                Some(*envelope)
            }
            Action::OriginLost(_) => None,
        };
        actions.into_iter().filter_map(envelope).collect()
    }

    /// Publishes; returns what goes out at once.
    pub(super) fn publish(&mut self, topic: Topic, now: Moment) -> Envelope {
        let mut envelope = Envelope::new(topic, "");
        envelope.origin = Some(self.id);
        self.sequencer.publish(&mut envelope, self.clock(now));
        if !self.up {
            self.buffered.push_back(envelope.clone());
            if self.buffered.len() > self.most_buffered
                && let Some(dropped) = self.buffered.pop_front()
            {
                let sequence = dropped.sequence.unwrap();
                self.withdrawn.insert(sequence.position);
                self.sequencer.withdraw(&dropped.topic, sequence);
            }
        }
        envelope
    }

    pub(super) fn alive(&self, phase: Phase, now: Moment) -> Envelope {
        let alive = self.sequencer.alive(phase, self.sequencer.position(), self.clock(now));
        self.message(Topic::all(""), &Control::Alive(alive))
    }

    /// Something has arrived.
    pub(super) fn receive(&mut self, envelope: Envelope, now: Moment) -> Vec<Envelope> {
        *self.own.now.borrow_mut() = now;
        let clock = self.clock(now);
        let mut actions = Vec::new();
        let Some(origin) = envelope.origin.filter(|it| *it != self.id) else { return Vec::new() };
        match envelope.kind {
            Kind::Probe => {}
            Kind::Control => {
                let control = Control::decode(&envelope.body).unwrap();
                if let Control::Alive(alive) = &control {
                    match alive.phase {
                        Phase::Gone => self.membership.left(origin),
                        _ => self.membership.heard(origin, None),
                    };
                }
                let position = self.sequencer.position();
                let topic = &envelope.topic;
                let own = &self.own;
                self.sequencer.heard(origin, topic, control, position, clock, own, &mut actions);
            }
            Kind::Message | Kind::Resent => {
                let topic = envelope.topic.clone();
                if let Some(stamp) = self.own.stamp(&topic) {
                    let mut told = |told| self.own.tell(&topic, told);
                    if envelope.kind == Kind::Message
                        && let Some(sequence) = &envelope.sequence
                        && let Some(_lane) =
                            self.sequencer.passes(origin, &topic, stamp, sequence, clock)
                    {
                        told(Told::Message(envelope, false));
                        return Vec::new();
                    }
                    self.sequencer.receive(origin, stamp, envelope, clock, &mut actions, &mut told);
                }
            }
        }
        self.restore(now);
        self.envelopes(actions)
    }

    pub(super) fn restore(&mut self, now: Moment) {
        if self.sequencer.restored() {
            self.doubts.iter_mut().rev().take_while(|it| it.1.is_none()).for_each(|it| {
                it.1 = Some(now);
            });
        }
    }

    pub(super) fn tick(&mut self, now: Moment) -> Vec<Envelope> {
        *self.own.now.borrow_mut() = now;
        let clock = self.clock(now);
        let passed = now - self.ticked;
        self.ticked = now;
        let stalled = passed > TICK + Duration::from_secs(1);
        let elapsed = if self.up && !stalled { passed } else { Duration::ZERO };
        let mut actions = Vec::new();
        let position = self.sequencer.position();
        self.sequencer.tick(clock, elapsed, position, &self.own, &mut actions);
        if now >= self.beaten + Duration::from_secs(1) {
            self.beaten = now;
            let alive = self.sequencer.beat(position, clock);
            actions.push(Action::Tell(Control::Alive(alive)));
        }
        for change in self.membership.tick(passed, TICK, self.up) {
            match change {
                Change::Died(origin) => {
                    self.sequencer.died(origin);
                    self.lost_origins.push((now, origin));
                }
                Change::Forgotten(origin) => self.sequencer.forget(origin),
                _ => {}
            }
        }
        self.restore(now);
        self.envelopes(actions)
    }

    pub(super) fn link_down(&mut self, now: Moment) {
        // A paused node proves nothing about its link.
        let proven = self.ticked.min(now).saturating_sub(Duration::from_secs(1));
        self.doubts.push((proven, None));
        self.connected = false;
        self.up = false;
        self.connection += 1;
        self.sequencer.doubt(false);
        // What was on its way is sent again, before everything else.
        while let Some(envelope) = self.unanswered.pop_back() {
            self.buffered.push_front(envelope);
        }
    }
}
