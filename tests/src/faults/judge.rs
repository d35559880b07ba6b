//! Derives semantics from what was seen, and compares them with what is promised.

#[cfg(test)]
mod tests;

use backplane_core::{Delivery, PublisherOutage, Semantics, SubscriberOutage};

use super::{
    Answer,
    account::{Account, Known, Streams, View},
    journal::What,
};

/// What a scenario does that excuses a loss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Excuses {
    /// Nodes meet for the first time while they publish: what one had lost before that has no count.
    pub(super) meets_first: bool,
    /// A publisher dies with what it has not sent yet.
    pub(super) origin_dies: bool,
    /// More was published during an outage than an origin keeps; found afterwards.
    pub(super) exceeds_retention: bool,
    /// The medium itself ends, and with it what it holds.
    pub(super) medium_ends: bool,
    /// The medium's log ends with it; found afterwards.
    pub(super) log_ends: bool,
}

impl Excuses {
    pub(super) const NONE: Self = Self {
        meets_first: false,
        origin_dies: false,
        exceeds_retention: false,
        medium_ends: false,
        log_ends: false,
    };
}

/// What was seen of a transport in one run.
#[derive(Debug)]
struct Seen<'a> {
    account: &'a Account,
    /// What publishers were answered while their own link was known to be down.
    refused: u64,
    queued: u64,
    /// `LinkDown`, whenever.
    link_down: u64,
    /// `Unknown`, of publishers that live.
    unknown: u64,
    strongest: Answer,
}

/// What is broken, and what is better than promised.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    pub(super) broken: Vec<String>,
    pub(super) better: Vec<String>,
}

/// Around a change of the link it is not known for certain what a publisher should be told.
const MARGIN_US: u64 = 50_000;

/// Compares what was seen with what is promised.
pub(super) fn judge(
    semantics: &Semantics,
    account: &Account,
    views: &[View],
    streams: &Streams,
    excuses: Excuses,
) -> Judgement {
    let seen = Seen::of(account, views, streams);
    let mut judgement = Judgement::default();
    judgement.always(account);
    judgement.origins(views, excuses);
    judgement.delivery(semantics.delivery, &seen, excuses);
    judgement.publisher(semantics.publisher_outage, &seen, excuses);
    judgement.subscriber(semantics.subscriber_outage, &seen, excuses);
    let promised = Answer::of(&Ok(semantics.receipt));
    if seen.strongest > promised {
        let (seen, promised) = (seen.strongest.word(), promised.word());
        judgement.better.push(format!("a receipt said {seen}, promised is {promised}"));
    }
    judgement
}

impl<'a> Seen<'a> {
    fn of(account: &'a Account, views: &[View], streams: &Streams) -> Self {
        let mut seen = Self {
            account,
            refused: 0,
            queued: 0,
            link_down: 0,
            unknown: 0,
            strongest: Answer::Open,
        };
        for (view, stream) in views.iter().zip(streams) {
            let down = spans_down(view);
            for sent in stream.iter().flatten() {
                seen.link_down += u64::from(sent.answer == Answer::LinkDown);
                seen.unknown += u64::from(sent.answer == Answer::Unknown && !view.killed);
                if sent.answer.is_ok() {
                    seen.strongest = seen.strongest.max(sent.answer);
                }
                if down.iter().any(|(from, to)| sent.at >= *from && sent.at <= *to) {
                    seen.refused += u64::from(sent.answer == Answer::LinkDown);
                    seen.queued += u64::from(sent.answer.is_ok());
                }
            }
        }
        seen
    }

    /// Lost although the publisher was told that all is well.
    fn lost_in_silence_of_the_ticket(&self) -> u64 {
        self.account.lost() - self.account.lost_by(Known::Ticket)
    }
}

/// When the node's own link was not up, for certain.
fn spans_down(view: &View) -> Vec<(u64, u64)> {
    let changes = &view.pages.links;
    let ends = changes.iter().skip(1).map(|change| change.at).chain([u64::MAX]);
    changes
        .iter()
        .zip(ends)
        .filter(|(change, _)| !change.up)
        .map(|(change, end)| (change.at + MARGIN_US, end.saturating_sub(MARGIN_US)))
        .filter(|(from, to)| from < to)
        .collect()
}

impl Judgement {
    fn broken(&mut self, count: u64, what: &str) {
        if count > 0 {
            self.broken.push(format!("{count} {what}"));
        }
    }

    fn better(&mut self, holds: bool, what: &str) {
        if holds {
            self.better.push(what.to_owned());
        }
    }

    /// What no transport may do.
    fn always(&mut self, account: &Account) {
        self.broken(account.lost_by(Known::Unreported), "were lost and nothing reports it");
        self.broken(account.reordered, "arrived after a later one of their stream");
        self.broken(account.contradicted, "arrived although their ticket had denied it");
        self.broken(account.overcounted, "more were reported lost by gaps than were lost");
        self.broken.extend(account.wrong.iter().chain(&account.examples).cloned());
    }

    /// While the medium is away nobody's silence counts, so nobody may be taken for dead.
    fn origins(&mut self, views: &[View], excuses: Excuses) {
        let living = |id: &str| views.iter().any(|view| view.id == id && !view.killed);
        let told = views.iter().flat_map(|view| &view.pages.told);
        let wrong = told.filter(|told| match &told.what {
            What::OriginLost { origin } => living(origin),
            _ => false,
        });
        let wrong = wrong.count() as u64;
        if excuses.medium_ends {
            self.broken(wrong, "times a living node was taken for dead");
        }
    }

    fn delivery(&mut self, promised: Delivery, seen: &Seen<'_>, excuses: Excuses) {
        let doubled = seen.account.doubled;
        let lost = seen.lost_in_silence_of_the_ticket();
        match promised {
            Delivery::AtLeastOnce => {
                if !excuses.medium_ends {
                    self.broken(lost, "were lost, promised is at least once");
                }
                self.better(doubled == 0, "nothing came twice, promised is at least once");
            }
            Delivery::AtMostOnce => {
                self.broken(doubled, "came twice, promised is at most once");
                self.better(seen.account.lost() == 0, "nothing was lost, promised is at most once");
            }
            Delivery::Counted => {
                self.broken(doubled, "came twice, promised is never");
                self.uncounted(seen, excuses);
                self.better(seen.account.lost() == 0, "nothing was lost, promised is a count");
            }
            Delivery::Repaired => {
                self.broken(doubled, "came twice, promised is never");
                self.uncounted(seen, excuses);
                if !excuses.origin_dies && !excuses.exceeds_retention {
                    self.broken(lost, "were lost, promised is repair");
                } else {
                    self.better(seen.account.lost() == 0, "nothing was lost beyond what is kept");
                }
            }
            Delivery::Kept => {
                self.broken(doubled, "came twice, promised is never");
                if !excuses.origin_dies && !excuses.exceeds_retention && !excuses.log_ends {
                    self.broken(lost, "were lost, promised is that what was stored arrives");
                }
            }
            _ => self.broken.push(format!("the kit does not know {promised:?}")),
        }
    }

    /// Losses that are reported, but without the promised count.
    fn uncounted(&mut self, seen: &Seen<'_>, excuses: Excuses) {
        let account = seen.account;
        let mut without = account.lost_by(Known::Interruption);
        if !excuses.meets_first {
            without += account.lost_by(Known::Uncounted);
        }
        if !excuses.origin_dies {
            without += account.lost_by(Known::Origin);
        }
        self.broken(without, "were reported lost without a count, promised is a count");
        let wrong = account.balances.iter().filter(|balance| !balance.holds());
        self.broken.extend(wrong.map(|balance| format!("the sums are wrong: {balance}")));
    }

    fn publisher(&mut self, promised: PublisherOutage, seen: &Seen<'_>, excuses: Excuses) {
        match promised {
            PublisherOutage::Refuses => {
                let buffered = seen.queued > seen.refused;
                self.better(buffered, "what was published during the outage was not refused");
            }
            PublisherOutage::Waits => {}
            PublisherOutage::Buffers => {
                self.broken(seen.link_down, "were refused, promised is a buffer");
                self.broken(seen.unknown, "have an unknown outcome, promised is a buffer");
            }
            PublisherOutage::Never => {
                if !excuses.medium_ends {
                    self.broken(seen.link_down, "were refused, promised is that none ever is");
                }
            }
            _ => self.broken.push(format!("the kit does not know {promised:?}")),
        }
    }

    fn subscriber(&mut self, promised: SubscriberOutage, seen: &Seen<'_>, excuses: Excuses) {
        let lost = seen.lost_in_silence_of_the_ticket();
        match promised {
            // Losses without a report are judged above, and so are counts and repairs, which come
            // with the promise of delivery.
            SubscriberOutage::LostAndReported
            | SubscriberOutage::Counted
            | SubscriberOutage::Repaired => {}
            SubscriberOutage::CatchesUp => {
                if !excuses.origin_dies && !excuses.exceeds_retention && !excuses.log_ends {
                    self.broken(lost, "were lost, promised is to read on");
                }
            }
            SubscriberOutage::Never => {
                if !excuses.medium_ends {
                    self.broken(lost, "were lost, promised is that nothing ever is");
                }
            }
            _ => self.broken.push(format!("the kit does not know {promised:?}")),
        }
    }
}
