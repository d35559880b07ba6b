//! Compares what was sent with what each receiver heard and was told.

mod balance;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    Answer,
    journal::{Heard, Pages, What},
    member::Role,
};
pub(super) use balance::Balance;

/// All that is known of one node when the run is over.
#[derive(Debug)]
pub(super) struct View {
    /// Its id, in words, as gaps name it.
    pub(super) id: String,
    pub(super) role: Role,
    pub(super) confirmed: Option<u64>,
    /// Whether it was killed: then it may have sent more than is known.
    pub(super) killed: bool,
    pub(super) pages: Pages,
}

/// One envelope, as its publisher knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) at: u64,
    pub(super) answered: u64,
    pub(super) answer: Answer,
}

/// What each node sent, by topic.
pub(super) type Streams = Vec<Vec<Vec<Sent>>>;

/// How a loss is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Known {
    /// The publisher's ticket said so, or that nobody knows.
    Ticket,
    /// A `Gap` counted it.
    Gap,
    /// A `Gap` without a count lies there.
    Uncounted,
    /// It falls between `Interrupted` and `Restored`.
    Interruption,
    /// Its origin is known to be lost.
    Origin,
    /// Not at all.
    Unreported,
}

/// What the comparison came to, over all receivers. Counts are deliveries.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) due: u64,
    pub(super) delivered: u64,
    pub(super) prefix: u64,
    pub(super) middle: u64,
    pub(super) suffix: u64,
    pub(super) doubled: u64,
    pub(super) reordered: u64,
    pub(super) late: u64,
    pub(super) lost: BTreeMap<Known, u64>,
    /// How much more `Gap`s counted than was lost.
    pub(super) overcounted: u64,
    /// The sums of each receiver.
    pub(super) balances: Vec<Balance>,
    /// Arrived although the ticket had said that they would not.
    pub(super) contradicted: u64,
    /// Whatever else can't be right, in words.
    pub(super) wrong: Vec<String>,
    /// The first few losses that nothing reports, in words.
    pub(super) examples: Vec<String>,
}

/// Later than this is late.
const LATE_US: u64 = 1_000_000;
/// Of what should never happen, the first few tell enough.
const EXAMPLES: usize = 5;

/// What was sent, from the publishers' notes; of a killed one also from what others heard.
pub(super) fn streams(views: &[View], topics: usize) -> Streams {
    let mut streams: Streams = vec![vec![Vec::new(); topics]; views.len()];
    let place = |streams: &mut Streams, origin: usize, topic: u16, number: u32, at: u64| {
        let Some(stream) = streams.get_mut(origin).and_then(|all| all.get_mut(usize::from(topic)))
        else {
            return;
        };
        let number = number as usize;
        if stream.len() <= number {
            stream.resize(number + 1, Sent { at, answered: u64::MAX, answer: Answer::Open });
        }
        stream[number].at = at;
    };
    for (origin, view) in views.iter().enumerate() {
        for posted in &view.pages.posted {
            place(&mut streams, origin, posted.topic, posted.number, posted.at);
        }
        for heard in &view.pages.heard {
            let from = usize::from(heard.origin);
            if views.get(from).is_some_and(|view| view.killed) {
                place(&mut streams, from, heard.topic, heard.number, heard.posted);
            }
        }
    }
    for (origin, view) in views.iter().enumerate() {
        for answered in &view.pages.answered {
            let stream = &mut streams[origin][usize::from(answered.topic)];
            if let Some(sent) = stream.get_mut(answered.number as usize) {
                (sent.answered, sent.answer) = (answered.at, answered.answer);
            }
        }
    }
    streams
}

impl Account {
    /// The comparison for all receivers.
    pub(super) fn of(views: &[View], streams: &Streams) -> Self {
        let mut account = Self::default();
        for (node, view) in views.iter().enumerate().filter(|(_, view)| view.role.receives()) {
            account.receiver(node, view, views, streams);
        }
        account
    }

    /// Deliveries that did not happen.
    pub(super) fn lost(&self) -> u64 {
        self.lost.values().sum()
    }

    /// Of those, the ones known in this way.
    pub(super) fn lost_by(&self, known: Known) -> u64 {
        self.lost.get(&known).copied().unwrap_or_default()
    }

    fn receiver(&mut self, node: usize, view: &View, views: &[View], streams: &Streams) {
        let told = Told::of(node, view, self);
        self.balances.push(Balance::of(node));
        for stranger in &view.pages.strangers {
            self.wrong.push(format!("node {node} heard what nobody sent it: {stranger}"));
        }
        let own = streams[node].iter().zip(&view.pages.own);
        for (topic, (stream, heard)) in own.enumerate().filter(|_| view.role.publishes()) {
            if stream.len() as u64 != *heard {
                let posted = stream.len();
                self.wrong.push(format!(
                    "node {node} heard {heard} of its own {posted} envelopes on topic {topic}"
                ));
            }
        }
        let mut arrivals: HashMap<(u16, u16), Vec<(u64, &Heard)>> = HashMap::new();
        for (position, heard) in (0..).zip(&view.pages.heard) {
            arrivals.entry((heard.origin, heard.topic)).or_default().push((position, heard));
        }
        for (origin, stream) in streams.iter().enumerate().filter(|(origin, _)| *origin != node) {
            for (topic, sent) in stream.iter().enumerate() {
                let key = (origin as u16, topic as u16);
                let heard = arrivals.remove(&key).unwrap_or_default();
                let gaps = told.gaps(&views[origin].id, topic as u16);
                let pair =
                    Pair { node, origin, topic, view, sent, told: &told, id: &views[origin].id };
                pair.compare(&heard, &gaps, self);
            }
        }
    }

    fn wrong(&mut self, what: String) {
        if self.wrong.len() < 4 * EXAMPLES {
            self.wrong.push(what);
        }
    }
}

/// What a receiver was told beside envelopes.
struct Told<'a> {
    view: &'a View,
    /// Spans in which something may be lost; an open one has no end.
    doubts: Vec<(u64, Option<u64>)>,
    lost_origins: HashSet<&'a str>,
}

impl<'a> Told<'a> {
    fn of(node: usize, view: &'a View, account: &mut Account) -> Self {
        let mut told = Self { view, doubts: Vec::new(), lost_origins: HashSet::new() };
        for note in &view.pages.told {
            let open = told.doubts.last().is_some_and(|(_, end)| end.is_none());
            match &note.what {
                What::Interrupted { since } => {
                    if open {
                        account.wrong(format!("node {node}: Interrupted twice without Restored"));
                    }
                    told.doubts.push((*since, None));
                }
                What::Restored => match told.doubts.last_mut().filter(|_| open) {
                    Some((_, end)) => *end = Some(note.at),
                    None => account.wrong(format!("node {node}: Restored without Interrupted")),
                },
                What::OriginLost { origin } => drop(told.lost_origins.insert(origin)),
                What::Gap { .. } => {}
            }
        }
        told
    }

    fn gaps(&self, id: &str, wanted: u16) -> Vec<(u64, Option<u64>)> {
        let gap = |note: &super::journal::Told| match &note.what {
            What::Gap { topic, origin, count } if *topic == wanted => {
                // Without an origin, it may be anybody's.
                let concerns = origin.as_ref().is_none_or(|origin| origin == id);
                concerns.then_some((note.after, *count))
            }
            _ => None,
        };
        self.view.pages.told.iter().filter_map(gap).collect()
    }

    /// Whether the envelope may have been on its way during a doubt. With a receipt that does not
    /// prove that the broker has passed it on, it may have been on its way until any later time.
    fn doubt(&self, sent: &Sent) -> bool {
        let passed_on = matches!(sent.answer, Answer::Accepted | Answer::Stored);
        self.doubts.iter().any(|(since, until)| {
            (!passed_on || sent.answered >= *since) && until.is_none_or(|until| sent.at <= until)
        })
    }
}

/// One receiver and one stream.
struct Pair<'a> {
    node: usize,
    origin: usize,
    topic: usize,
    view: &'a View,
    sent: &'a [Sent],
    told: &'a Told<'a>,
    id: &'a str,
}

/// A part of a stream that was passed over, and what gaps said of it.
#[derive(Default)]
struct Skipped {
    from: usize,
    to: usize,
    counted: u64,
    uncounted: bool,
}

impl Pair<'_> {
    fn compare(&self, heard: &[(u64, &Heard)], told: &[(u64, Option<u64>)], account: &mut Account) {
        let mut times = vec![0_u32; self.sent.len()];
        let mut skipped = Vec::new();
        let mut pending = Skipped::default();
        let mut gaps = told.iter().peekable();
        let mut next = 0;
        for (position, heard) in heard {
            while let Some((_, count)) = gaps.next_if(|(after, _)| after <= position) {
                pending.note(*count);
            }
            let number = heard.number as usize;
            let Some(count) = times.get_mut(number) else {
                account.wrong(format!("{}, number {number}, was never sent", self.name()));
                continue;
            };
            *count += 1;
            if *count > 1 {
                account.doubled += 1;
                continue;
            }
            account.late += u64::from(heard.at.saturating_sub(heard.posted) > LATE_US);
            account.contradicted += u64::from(self.sent[number].answer.denies());
            if number < next {
                account.reordered += 1;
                continue;
            }
            if number > next || pending.says_something() {
                let passed = std::mem::take(&mut pending);
                skipped.push(Skipped { from: next, to: number, ..passed });
            }
            next = number + 1;
        }
        gaps.for_each(|(_, count)| pending.note(*count));
        skipped.push(Skipped { from: next, to: self.sent.len(), ..pending });
        let is_due = |sent: &Sent| self.view.confirmed.is_some_and(|at| sent.at >= at);
        let count =
            |wanted: &dyn Fn(usize) -> bool| (0..times.len()).filter(|n| wanted(*n)).count();
        account.due += count(&|number| is_due(&self.sent[number])) as u64;
        account.delivered +=
            count(&|number| is_due(&self.sent[number]) && times[number] > 0) as u64;
        let counts: Option<u64> = told.iter().map(|(_, count)| *count).sum();
        let all_due = self.sent.iter().all(is_due);
        if let Some(counted) = counts
            && all_due
            && !self.told.lost_origins.contains(self.id)
            && let Some(balance) = account.balances.last_mut()
        {
            balance.add(self.sent, &times, counted);
        }
        let first = times.iter().position(|times| *times > 0);
        let last = times.iter().rposition(|times| *times > 0);
        for part in skipped {
            let missing: Vec<usize> =
                (part.from..part.to).filter(|number| times[*number] == 0).collect();
            account.overcounted += part.counted.saturating_sub(missing.len() as u64);
            let mut counted = part.counted;
            let mut take = || counted.checked_sub(1).map(|left| counted = left).is_some();
            let missing = missing.into_iter().filter(|number| is_due(&self.sent[*number]));
            // A gap is there for those first whose publisher was told that all is well.
            let (well, told): (Vec<usize>, Vec<usize>) =
                missing.partition(|number| self.sent[*number].answer.is_ok());
            for number in well {
                let how = match () {
                    () if take() => Known::Gap,
                    () if part.uncounted => Known::Uncounted,
                    () if self.told.doubt(&self.sent[number]) => Known::Interruption,
                    () if self.told.lost_origins.contains(self.id) => Known::Origin,
                    () => Known::Unreported,
                };
                self.lost(account, number, how, (first, last));
            }
            for number in told {
                self.lost(account, number, Known::Ticket, (first, last));
            }
        }
    }

    fn lost(
        &self,
        account: &mut Account,
        number: usize,
        how: Known,
        (first, last): (Option<usize>, Option<usize>),
    ) {
        *account.lost.entry(how).or_default() += 1;
        // Where nothing arrived, all of it comes before the first.
        match (first, last) {
            (Some(first), _) if number > first => match last {
                Some(last) if number > last => account.suffix += 1,
                _ => account.middle += 1,
            },
            _ => account.prefix += 1,
        }
        if how == Known::Unreported && account.examples.len() < EXAMPLES {
            let Sent { at, answered, answer } = self.sent[number];
            account.examples.push(format!(
                "{}, number {number}: published at {at} µs, {} at {answered} µs; doubts {:?}",
                self.name(),
                answer.word(),
                self.told.doubts
            ));
        }
    }

    fn name(&self) -> String {
        format!("node {}, topic {} of node {}", self.node, self.topic, self.origin)
    }
}

impl Skipped {
    fn note(&mut self, count: Option<u64>) {
        match count {
            Some(count) => self.counted += count,
            None => self.uncounted = true,
        }
    }

    const fn says_something(&self) -> bool {
        self.counted > 0
    }
}
