use super::*;
use crate::faults::journal::{Answered, Posted, Told as Note};

/// A publisher whose envelopes were answered like that, one each millisecond, and a receiver.
struct Case {
    answers: Vec<Answer>,
    heard: Vec<u32>,
    /// What was told after so many of those heard, at that time.
    told: Vec<(u64, u64, What)>,
}

const ORIGIN: &str = "the origin";

fn gap(after: u64, count: Option<u64>) -> (u64, u64, What) {
    (after, 0, What::Gap { topic: 0, origin: Some(ORIGIN.to_owned()), count })
}

fn view(id: &str, role: Role, pages: Pages) -> View {
    View { id: id.to_owned(), role, confirmed: Some(0), killed: false, pages }
}

impl Case {
    /// Ten envelopes, all accepted; these arrive.
    fn heard(heard: &[u32]) -> Self {
        Self { answers: vec![Answer::Accepted; 10], heard: heard.to_vec(), told: Vec::new() }
    }

    fn told(mut self, told: impl IntoIterator<Item = (u64, u64, What)>) -> Self {
        self.told.extend(told);
        self
    }

    fn answer(mut self, number: usize, answer: Answer) -> Self {
        self.answers[number] = answer;
        self
    }

    fn account(&self) -> Account {
        let mut publisher = Pages::default();
        for (number, answer) in (0..).zip(&self.answers) {
            let at = u64::from(number) * 1_000;
            publisher.posted.push(Posted { topic: 0, number, at });
            publisher.answered.push(Answered { topic: 0, number, at: at + 500, answer: *answer });
        }
        let mut receiver = Pages::default();
        for number in &self.heard {
            let posted = u64::from(*number) * 1_000;
            let heard = Heard { origin: 0, topic: 0, number: *number, posted, at: posted + 100 };
            receiver.heard.push(heard);
        }
        for (after, at, what) in &self.told {
            receiver.told.push(Note { at: *at, after: *after, what: what.clone() });
        }
        let views =
            [view(ORIGIN, Role::Publishes, publisher), view("other", Role::Receives, receiver)];
        Account::of(&views, &streams(&views, 1))
    }
}

#[test]
fn what_arrives_once_and_in_order_is_well() {
    let account = Case::heard(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]).account();
    assert_eq!((account.due, account.delivered, account.lost()), (10, 10, 0));
    assert_eq!(account.doubled + account.reordered + account.overcounted, 0);
    assert!(account.wrong.is_empty());
}

#[test]
fn a_loss_without_a_word_is_unreported_wherever_it_is() {
    let account = Case::heard(&[2, 3, 4, 6, 7]).account();
    assert_eq!(account.lost_by(Known::Unreported), 5);
    assert_eq!((account.prefix, account.middle, account.suffix), (2, 1, 2));
    assert_eq!(Case::heard(&[]).account().prefix, 10);
}

#[test]
fn a_gap_covers_the_run_in_which_it_lies_and_no_other() {
    let account = Case::heard(&[0, 1, 4, 5, 6, 7, 8, 9]).told([gap(2, Some(2))]).account();
    assert_eq!((account.lost_by(Known::Gap), account.lost()), (2, 2));
    assert_eq!(account.overcounted, 0);
    // The same gap, told elsewhere.
    let account = Case::heard(&[0, 1, 4, 5, 6, 7, 8, 9]).told([gap(4, Some(2))]).account();
    assert_eq!((account.lost_by(Known::Unreported), account.overcounted), (2, 2));
    // At the end.
    let account = Case::heard(&[0, 1, 2, 3, 4]).told([gap(5, Some(5))]).account();
    assert_eq!((account.lost_by(Known::Gap), account.suffix), (5, 5));
}

#[test]
fn a_gap_must_count_exactly() {
    let few = Case::heard(&[0, 1, 5, 6, 7, 8, 9]).told([gap(2, Some(2))]).account();
    assert_eq!((few.lost_by(Known::Gap), few.lost_by(Known::Unreported)), (2, 1));
    let many = Case::heard(&[0, 1, 5, 6, 7, 8, 9]).told([gap(2, Some(4))]).account();
    assert_eq!((many.lost_by(Known::Gap), many.overcounted), (3, 1));
    let twice = [gap(2, Some(3)), gap(3, Some(3))];
    assert_eq!(Case::heard(&[0, 1, 5, 6, 7, 8, 9]).told(twice).account().overcounted, 3);
    let any = Case::heard(&[0, 1, 5, 6, 7, 8, 9]).told([gap(2, None)]).account();
    assert_eq!(any.lost_by(Known::Uncounted), 3);
}

#[test]
fn a_gap_counts_those_first_that_nobody_was_told_of() {
    let case = Case::heard(&[0, 1, 5, 6, 7, 8, 9]).answer(2, Answer::LinkDown);
    let account = case.told([gap(2, Some(2))]).account();
    assert_eq!((account.lost_by(Known::Gap), account.lost_by(Known::Ticket)), (2, 1));
    assert_eq!(account.overcounted, 0);
}

#[test]
fn an_interruption_covers_what_may_have_been_on_its_way() {
    let doubt =
        |since, until| [(2, until, What::Interrupted { since }), (2, until, What::Restored)];
    // Answered at 2,500 and 3,500.
    let lost = |since, until| {
        let case = Case::heard(&[0, 1, 4, 5, 6, 7, 8, 9]).told(doubt(since, until));
        let account = case.account();
        assert!(account.wrong.is_empty());
        (account.lost_by(Known::Interruption), account.lost_by(Known::Unreported))
    };
    assert_eq!(lost(2_500, 3_000), (2, 0));
    assert_eq!(lost(2_501, 3_000), (1, 1));
    assert_eq!(lost(0, 2_999), (1, 1));
    // What is only queued may be on its way at any later time.
    let queued = Case::heard(&[0, 1, 3, 4, 5, 6, 7, 8, 9]).answer(2, Answer::Queued);
    let account = queued.told(doubt(8_000, 9_000)).account();
    assert_eq!(account.lost_by(Known::Interruption), 1);
}

#[test]
fn interruptions_must_take_turns() {
    let what = |what| (0, 0, what);
    let twice = [what(What::Interrupted { since: 0 }), what(What::Interrupted { since: 0 })];
    let all = Case::heard(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(all.told(twice).account().wrong.len(), 1);
    let all = Case::heard(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(all.told([what(What::Restored)]).account().wrong.len(), 1);
}

#[test]
fn tickets_and_lost_origins_report_too() {
    for answer in [Answer::LinkDown, Answer::Refused, Answer::Unknown, Answer::Open] {
        let account = Case::heard(&[0, 1, 2, 3, 4, 5, 6, 7, 8]).answer(9, answer).account();
        assert_eq!((account.lost_by(Known::Ticket), account.lost()), (1, 1));
    }
    let lost = What::OriginLost { origin: ORIGIN.to_owned() };
    let account = Case::heard(&[0, 1, 2, 3, 4, 5, 6, 7, 8]).told([(9, 0, lost)]).account();
    assert_eq!(account.lost_by(Known::Origin), 1);
    let other = What::OriginLost { origin: "another".to_owned() };
    let account = Case::heard(&[0, 1, 2, 3, 4, 5, 6, 7, 8]).told([(9, 0, other)]).account();
    assert_eq!(account.lost_by(Known::Unreported), 1);
}

#[test]
fn doubles_disorder_contradictions_and_strangers_are_found() {
    let account = Case::heard(&[0, 1, 1, 3, 2, 4, 5, 6, 7, 8, 9]).account();
    assert_eq!((account.doubled, account.reordered, account.lost()), (1, 1, 0));
    let case = Case::heard(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]).answer(4, Answer::LinkDown);
    assert_eq!(case.account().contradicted, 1);
    let account = Case::heard(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12]).account();
    assert_eq!(account.wrong.len(), 1);
    // What was reported lost must not come later.
    let late = Case::heard(&[0, 1, 4, 2, 3, 5, 6, 7, 8, 9]).told([gap(2, Some(2))]).account();
    assert_eq!((late.reordered, late.overcounted), (2, 2));
}

#[test]
fn what_was_published_before_the_confirmation_is_not_due() {
    let mut publisher = Pages::default();
    for number in 0..4 {
        publisher.posted.push(Posted { topic: 0, number, at: u64::from(number) * 1_000 });
        let (at, answer) = (9_000, Answer::Accepted);
        publisher.answered.push(Answered { topic: 0, number, at, answer });
    }
    let mut receiver = view("other", Role::Receives, Pages::default());
    receiver.confirmed = Some(2_000);
    let views = [view(ORIGIN, Role::Publishes, publisher), receiver];
    let account = Account::of(&views, &streams(&views, 1));
    assert_eq!((account.due, account.lost()), (2, 2));
}

/// The only receiver's sums, and whether they add up.
fn sums(case: &Case) -> (u64, u64, u64, bool) {
    let account = case.account();
    let [balance] = &account.balances[..] else { panic!("{:?}", account.balances) };
    (balance.sent, balance.delivered, balance.counted, balance.holds())
}

#[test]
fn what_was_delivered_and_what_gaps_counted_is_what_was_sent() {
    let all = Case::heard(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(sums(&all), (10, 10, 0, true));
    // A double is one delivery.
    let lost = || Case::heard(&[0, 1, 4, 4, 5, 6]);
    assert_eq!(sums(&lost().told([gap(2, Some(2)), gap(6, Some(3))])), (10, 5, 5, true));
    assert_eq!(sums(&lost().told([gap(2, Some(2))])), (10, 5, 2, false));
    assert_eq!(sums(&lost().told([gap(2, Some(3)), gap(6, Some(3))])), (10, 5, 6, false));
    // Without any, the whole loss is missing.
    assert_eq!(sums(&lost()), (10, 5, 0, false));
}

#[test]
fn any_loss_adds_up_if_each_hole_is_counted_and_not_if_one_is_not() {
    for pattern in 0..1_u32 << 10 {
        let arrives = |number: &u32| pattern & (1 << number) != 0;
        let heard: Vec<u32> = (0..10).filter(arrives).collect();
        let mut gaps = Vec::new();
        let (mut before, mut hole) = (0, 0);
        for number in 0..=10 {
            if number < 10 && !arrives(&number) {
                hole += 1;
                continue;
            }
            if hole > 0 {
                gaps.push(gap(before, Some(hole)));
            }
            (before, hole) = (before + 1, 0);
        }
        let case = Case::heard(&heard).told(gaps.clone());
        let delivered = heard.len() as u64;
        assert_eq!(sums(&case), (10, delivered, 10 - delivered, true), "{heard:?}");
        let account = case.account();
        assert_eq!((account.lost_by(Known::Gap), account.overcounted), (10 - delivered, 0));
        for missing in 0..gaps.len() {
            let mut rest = gaps.clone();
            rest.remove(missing);
            assert!(!sums(&Case::heard(&heard).told(rest)).3, "{heard:?} without {missing}");
        }
    }
}

#[test]
fn a_gap_may_count_what_the_ticket_denies_or_not() {
    let case = |count| {
        let case = Case::heard(&[0, 1, 5, 6, 7, 8, 9]).answer(2, Answer::LinkDown);
        sums(&case.told([gap(2, Some(count))])).3
    };
    assert_eq!([1, 2, 3, 4].map(case), [false, true, true, false]);
}

#[test]
fn sums_are_of_streams_whose_losses_can_be_counted() {
    let lost = || Case::heard(&[0, 1, 5, 6, 7, 8, 9]);
    assert_eq!(sums(&lost().told([gap(2, None)])), (0, 0, 0, true));
    let origin = What::OriginLost { origin: ORIGIN.to_owned() };
    assert_eq!(sums(&lost().told([(7, 0, origin)])), (0, 0, 0, true));
}
