//! What the comparison came to.

use std::fmt;

use backplane_core::{Delivery, NodeId, Topic};

use crate::kit::{Outcome, Stop};

/// What each receiver lost, got twice, out of order, or without anybody having sent it.
#[derive(Debug, Clone)]
pub struct Report {
    /// One for each receiver.
    pub receivers: Vec<Findings>,
}

/// What one receiver's notes came to.
#[derive(Debug, Clone)]
pub struct Findings {
    /// Which receiver.
    pub label: String,
    /// How many envelopes it heard, each time counted.
    pub arrived: usize,
    /// How often it was told `Interrupted`.
    pub interruptions: usize,
    /// Envelopes that were sent and did not arrive, in runs.
    pub lost: Vec<Lost>,
    /// Envelopes that arrived again.
    pub doubled: Vec<String>,
    /// Envelopes that arrived after a later one of their stream.
    pub reordered: Vec<String>,
    /// Envelopes that arrived although publish had said that they would not.
    pub contradicted: Vec<String>,
    /// Whatever else arrived that nobody had sent there.
    pub strangers: Vec<String>,
}

/// A run of envelopes of one stream that did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Who published them.
    pub origin: NodeId,
    /// Where.
    pub topic: Topic,
    /// The first one's number in its stream.
    pub first: u64,
    /// The last one's number.
    pub last: u64,
    /// How many there are; numbers in between that were never due don't count.
    pub count: u64,
    /// Where in the stream they are missing.
    pub place: Place,
    /// How anybody could know.
    pub how: How,
}

/// Where in a stream a run is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// From the beginning.
    Prefix,
    /// Between others.
    Middle,
    /// To the end.
    Suffix,
    /// Nothing arrived at all.
    Whole,
}

/// How a loss is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// The publisher's ticket said so, or that nobody knows.
    Ticket,
    /// It falls between `Interrupted` and `Restored`.
    Interruption,
    /// A `Gap` said so.
    Gap,
    /// Not at all: a bug of the highest class.
    Unreported,
}

impl Report {
    /// Demands that everything arrived, once, in order, and nothing else.
    ///
    /// # Errors
    ///
    /// It did not.
    pub fn exact(&self) -> Outcome {
        let good = |it: &Findings| it.lost.is_empty() && it.doubled.is_empty() && it.is_clean();
        self.demand(good, "everything should have arrived once and in order")
    }

    /// Demands that every loss was reported, and that there is nothing out of order, nothing that
    /// was not sent, and nothing twice unless the transport promises at least once.
    ///
    /// # Errors
    ///
    /// It is otherwise.
    pub fn accounted(&self, delivery: Delivery) -> Outcome {
        let may_double = delivery == Delivery::AtLeastOnce;
        let good = |it: &Findings| {
            let doubled = it.doubled.is_empty() || may_double;
            it.lost_by(How::Unreported) == 0 && doubled && it.is_clean()
        };
        self.demand(good, "every loss should have been reported, and nothing else be wrong")
    }

    /// How many envelopes did not arrive at one receiver or another, and are known in that way.
    #[must_use]
    pub fn lost_by(&self, how: How) -> u64 {
        self.receivers.iter().map(|it| it.lost_by(how)).sum()
    }

    /// How many arrived again.
    #[must_use]
    pub fn doubled(&self) -> usize {
        self.receivers.iter().map(|it| it.doubled.len()).sum()
    }

    /// How many arrived.
    #[must_use]
    pub fn arrived(&self) -> usize {
        self.receivers.iter().map(|it| it.arrived).sum()
    }

    fn demand(&self, good: impl Fn(&Findings) -> bool, what: &str) -> Outcome {
        if self.receivers.iter().all(good) {
            return Ok(());
        }
        Err(Stop::Broken(format!("{what}, but:\n{self}")))
    }
}

impl Findings {
    /// How many did not arrive and are known in that way.
    #[must_use]
    pub fn lost_by(&self, how: How) -> u64 {
        self.lost.iter().filter(|run| run.how == how).map(|run| run.count).sum()
    }

    /// Nothing is wrong with it but losses and duplicates.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.reordered.is_empty() && self.contradicted.is_empty() && self.strangers.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.receivers.iter().map(Findings::to_string);
        f.write_str(&lines.by_ref().collect::<Vec<_>>().join("\n"))
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Of long lists, the first few tell enough.
        const SHOWN: usize = 5;
        write!(f, "{}: {} arrived", self.label, self.arrived)?;
        if self.interruptions > 0 {
            write!(f, ", interrupted {} times", self.interruptions)?;
        }
        for how in [How::Unreported, How::Gap, How::Interruption, How::Ticket] {
            let count = self.lost_by(how);
            let runs: Vec<_> = self.lost.iter().filter(|run| run.how == how).collect();
            if count > 0 {
                write!(f, "\n  {count} lost ({how:?})")?;
            }
            for run in runs.iter().take(SHOWN) {
                let Lost { first, last, topic, origin, place, .. } = run;
                write!(f, "\n    {place:?} {first}-{last} on {topic:?} of {origin}")?;
            }
        }
        let lists = [
            ("doubled", &self.doubled),
            ("reordered", &self.reordered),
            ("arrived although publish said it would not", &self.contradicted),
            ("not sent to it", &self.strangers),
        ];
        for (what, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            write!(f, "\n  {} {what}", list.len())?;
            for item in list.iter().take(SHOWN) {
                write!(f, "\n    {item:.300}")?;
            }
        }
        Ok(())
    }
}
