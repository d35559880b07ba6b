//! Whatever goes in comes out exactly once, within the bounds.

use std::collections::{BTreeMap, VecDeque};

use bytesize::ByteSize;
use proptest::prelude::*;

use super::*;
use crate::{Envelope, Topic, envelope::Sequence, node::WhenFull};

const RESEND: Duration = Duration::from_millis(700);

/// What happens to an outbox.
#[derive(Debug, Clone)]
enum Step {
    Push {
        topic: u64,
        cost: u32,
        transient: bool,
        numbered: bool,
    },
    Take(usize),
    /// The link fails under so many of those taken last.
    Fail(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_u64, 1..60_u32, prop::bool::weighted(0.1), prop::bool::weighted(0.8)).prop_map(
            |(topic, cost, transient, numbered)| Step::Push { topic, cost, transient, numbered }
        ),
        2 => (1..8_usize).prop_map(Step::Take),
        1 => (0..6_usize).prop_map(Step::Fail),
        2 => (1..400_u64).prop_map(Step::Pass),
    ]
}

fn policy() -> impl Strategy<Value = Outage> {
    let when_full =
        prop_oneof![Just(WhenFull::DropOldest), Just(WhenFull::DropNewest), Just(WhenFull::Refuse)];
    prop_oneof![
        Just(Outage::Refuse),
        (1..800_u64).prop_map(|it| Outage::Wait { deadline: Duration::from_millis(it) }),
        (0..12_usize, 0..300_u64, 1..800_u64, when_full).prop_map(
            |(count, bytes, age, when_full)| Outage::Buffer {
                count,
                bytes: ByteSize::b(bytes),
                age: Duration::from_millis(age),
                when_full,
            }
        ),
    ]
}

fn queued(serial: u64, step: &Step, now: Moment) -> Queued {
    let Step::Push { topic, cost, transient, numbered } = *step else { unreachable!() };
    let mut envelope = Envelope::new(Topic::group("h", &topic.to_string()), serial.to_string());
    envelope.transient = transient;
    let sequence = Sequence { epoch: 1, number: serial, position: serial, predecessor: 0 };
    envelope.sequence = numbered.then_some(sequence);
    Queued { envelope, ticket: None, permits: 0, cost, at: now, tried: None }
}

fn serial(queued: &Queued) -> u64 {
    std::str::from_utf8(&queued.envelope.body).unwrap().parse().unwrap()
}

/// The outbox, with what is known of everything that went in.
struct Model {
    outbox: Outbox,
    policy: Outage,
    now: Moment,
    /// What is inside, with its cost.
    inside: BTreeMap<u64, u32>,
    /// Taken, not yet known to have arrived.
    taken: Vec<Queued>,
    /// How often something was taken.
    batches: u64,
    gone: u64,
    /// Whether what is inside was put back, which no bound turns away.
    returned: VecDeque<u64>,
}

impl Model {
    fn fates(&mut self, fates: Vec<(Queued, Fate)>) -> Result<(), TestCaseError> {
        for (queued, fate) in fates {
            prop_assert!(self.inside.remove(&serial(&queued)).is_some(), "came out twice");
            self.returned.retain(|it| *it != serial(&queued));
            self.gone += 1;
            let age = self.now - queued.at;
            match (fate, self.policy) {
                (Fate::Unknown, _) => prop_assert!(queued.tried.is_some()),
                (Fate::LinkDown, Outage::Wait { deadline }) => {
                    prop_assert!(queued.envelope.transient || age >= deadline);
                }
                (Fate::LinkDown, Outage::Refuse) => {}
                (Fate::LinkDown, Outage::Buffer { .. }) => {
                    prop_assert!(queued.envelope.transient);
                }
                (Fate::DroppedOld, Outage::Buffer { age: most, .. }) => prop_assert!(age >= most),
                (Fate::DroppedFull, Outage::Buffer { .. }) => {}
                other => prop_assert!(false, "{:?}", other),
            }
        }
        Ok(())
    }

    fn apply(&mut self, number: u64, step: &Step) -> Result<(), TestCaseError> {
        let mut fates = Vec::new();
        match step {
            Step::Push { cost, .. } => {
                let (count, bytes) = self.outbox.held();
                self.inside.insert(number, *cost);
                self.outbox.push(queued(number, step, self.now), &mut fates);
                if let Outage::Buffer { count: most, bytes: most_bytes, .. } = self.policy {
                    let (now, bytes_now) = self.outbox.held();
                    prop_assert!(now <= most.max(count), "{now} of {most}");
                    prop_assert!(bytes_now <= most_bytes.as_u64().max(bytes));
                }
                self.fates(fates)?;
            }
            Step::Take(most) => {
                let mut taken = Vec::new();
                self.outbox.take(*most, &mut taken);
                prop_assert!(taken.len() <= *most);
                let before = taken.first().and_then(|first| first.tried);
                self.batches += 1;
                for queued in &mut taken {
                    prop_assert_eq!(queued.tried, before, "one batch before, one batch again");
                    queued.tried = Some(self.batches);
                    prop_assert!(self.inside.remove(&serial(queued)).is_some(), "came out twice");
                    // What was put back comes first, in its order.
                    if let Some(first) = self.returned.pop_front() {
                        prop_assert_eq!(first, serial(queued));
                    }
                }
                self.taken.extend(taken);
            }
            Step::Fail(count) => {
                let back = self.taken.split_off(self.taken.len().saturating_sub(*count));
                self.gone += self.taken.len() as u64;
                self.taken.clear();
                for queued in back.iter().rev() {
                    self.inside.insert(serial(queued), queued.cost);
                    self.returned.push_front(serial(queued));
                }
                self.outbox.put_back(back, &mut fates);
                let expected = |it: &(Queued, Fate)| it.1 == Fate::Unknown;
                prop_assert!(fates.iter().all(expected));
                self.fates(fates)?;
            }
            Step::Pass(milliseconds) => {
                self.now += Duration::from_millis(*milliseconds);
                self.outbox.expire(self.now, &mut fates);
                self.fates(fates)?;
            }
        }
        let held = self.outbox.held();
        let cost = self.inside.values().copied().map(u64::from).sum();
        prop_assert_eq!(held, (self.inside.len(), cost), "what is inside");
        prop_assert_eq!(self.outbox.is_empty(), held.0 == 0);
        Ok(())
    }
}

proptest! {
    #[test]
    fn whatever_goes_in_comes_out_once(policy in policy(), steps in prop::collection::vec(step(), 1..200)) {
        let mut model = Model {
            outbox: Outbox::new(policy, RESEND),
            policy,
            now: Moment::ZERO,
            inside: BTreeMap::new(),
            taken: Vec::new(),
            batches: 0,
            gone: 0,
            returned: VecDeque::new(),
        };
        let mut pushed = 0;
        for step in &steps {
            pushed += u64::from(matches!(step, Step::Push { .. }));
            model.apply(pushed, step)?;
            let known = model.inside.len() as u64 + model.taken.len() as u64 + model.gone;
            prop_assert_eq!(known, pushed, "accounted for");
        }
        // In the order of their going in, each topic by itself.
        let mut latest = BTreeMap::new();
        for queued in model.outbox.drain() {
            let before = latest.insert(queued.envelope.topic.name().to_owned(), serial(&queued));
            prop_assert!(before < Some(serial(&queued)));
            prop_assert!(model.inside.remove(&serial(&queued)).is_some());
        }
        prop_assert!(model.inside.is_empty());
        prop_assert_eq!(model.outbox.held(), (0, 0));
    }
}
