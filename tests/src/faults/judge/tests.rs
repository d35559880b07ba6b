use backplane_core::{ByteSize, Durability, Filter, Order, Receipt, Replay};

use super::*;
use crate::faults::{
    account::{Balance, Sent},
    journal::{LinkChange, Pages, Told},
    member::Role,
};

fn semantics(
    delivery: Delivery,
    publisher_outage: PublisherOutage,
    subscriber_outage: SubscriberOutage,
) -> Semantics {
    Semantics {
        delivery,
        order: Order::PerOriginAndTopic,
        receipt: Receipt::Accepted,
        durability: Durability::Nothing,
        publisher_outage,
        subscriber_outage,
        replay: Replay::None,
        filter: Filter::Broker,
        largest_body: ByteSize::mib(1),
    }
}

fn bare() -> Semantics {
    semantics(Delivery::AtMostOnce, PublisherOutage::Refuses, SubscriberOutage::LostAndReported)
}

fn repaired() -> Semantics {
    semantics(Delivery::Repaired, PublisherOutage::Buffers, SubscriberOutage::Repaired)
}

fn counted() -> Semantics {
    semantics(Delivery::Counted, PublisherOutage::Refuses, SubscriberOutage::Counted)
}

fn memory() -> Semantics {
    semantics(Delivery::AtLeastOnce, PublisherOutage::Never, SubscriberOutage::Never)
}

/// What is said where these were lost, and this was answered in the middle of an outage of the
/// publisher.
fn said(
    promised: Semantics,
    lost: &[(Known, u64)],
    answer: Option<Answer>,
    excuses: Excuses,
) -> Judgement {
    let account = Account { lost: lost.iter().copied().collect(), ..Account::default() };
    let change = |at, up| LinkChange { at, up, cause: String::new() };
    let links = vec![change(0, true), change(1_000_000, false), change(2_000_000, true)];
    let pages = Pages { links, ..Pages::default() };
    let (id, role, confirmed) = (String::new(), Role::Both, Some(0));
    let view = View { id, role, confirmed, killed: false, pages };
    let sent = answer.map(|answer| Sent { at: 1_500_000, answered: 1_500_000, answer });
    judge(&promised, &account, &[view], &vec![vec![sent.into_iter().collect()]], excuses)
}

fn breaks(promised: Semantics, lost: &[(Known, u64)], answer: Option<Answer>) -> bool {
    !said(promised, lost, answer, Excuses::default()).broken.is_empty()
}

#[test]
fn nobody_may_lose_in_silence() {
    for promised in [bare(), counted(), repaired(), memory()] {
        assert!(breaks(promised, &[(Known::Unreported, 1)], None));
        assert!(!breaks(promised, &[], None));
    }
}

#[test]
fn a_count_must_be_one() {
    for known in [Known::Interruption, Known::Uncounted, Known::Origin] {
        assert!(!breaks(bare(), &[(known, 1)], None));
        assert!(breaks(counted(), &[(known, 1)], None));
    }
    assert!(!breaks(counted(), &[(Known::Gap, 1)], None));
    assert!(!breaks(counted(), &[(Known::Ticket, 1)], Some(Answer::LinkDown)));
}

#[test]
fn what_was_given_and_what_was_counted_must_add_up() {
    let breaks = |promised, balance: Balance| {
        let account = Account { balances: vec![balance], ..Account::default() };
        let view = View {
            id: String::new(),
            role: Role::Both,
            confirmed: Some(0),
            killed: false,
            pages: Pages::default(),
        };
        let judgement = judge(&promised, &account, &[view], &vec![vec![]], Excuses::default());
        judgement.broken.iter().any(|broken| broken.contains("gaps counted"))
    };
    let whole = Balance { node: 0, sent: 10, delivered: 7, counted: 2, denied: 1 };
    for count in [2, 3] {
        assert!(!breaks(counted(), Balance { counted: count, ..whole.clone() }));
    }
    for count in [1, 4] {
        let wrong = Balance { counted: count, ..whole.clone() };
        assert!(breaks(counted(), wrong.clone()));
        assert!(breaks(repaired(), wrong.clone()));
        // Nothing there is counted.
        assert!(!breaks(bare(), wrong));
    }
}

#[test]
fn repair_excuses_no_loss_but_where_it_cannot_be() {
    assert!(breaks(repaired(), &[(Known::Gap, 1)], None));
    let exceeded = Excuses { exceeds_retention: true, ..Excuses::default() };
    assert!(said(repaired(), &[(Known::Gap, 1)], None, exceeded).broken.is_empty());
    assert!(!said(repaired(), &[(Known::Interruption, 1)], None, exceeded).broken.is_empty());
    let dies = Excuses { origin_dies: true, ..Excuses::default() };
    assert!(said(repaired(), &[(Known::Origin, 1)], None, dies).broken.is_empty());
}

#[test]
fn a_buffer_refuses_nothing() {
    for answer in [Answer::LinkDown, Answer::Unknown] {
        assert!(breaks(repaired(), &[], Some(answer)));
        assert!(!breaks(bare(), &[], Some(answer)));
    }
    assert!(!breaks(repaired(), &[], Some(Answer::Queued)));
}

#[test]
fn a_medium_that_never_fails_loses_nothing() {
    assert!(breaks(memory(), &[(Known::Interruption, 1)], None));
    assert!(breaks(memory(), &[], Some(Answer::LinkDown)));
    let ends = Excuses { medium_ends: true, ..Excuses::default() };
    let told = said(memory(), &[(Known::Interruption, 1)], Some(Answer::LinkDown), ends);
    assert!(told.broken.is_empty());
}

#[test]
fn what_is_better_is_told() {
    let quiet = Excuses::default();
    let better = |promised, lost: &[_], answer| said(promised, lost, answer, quiet).better;
    assert_eq!(better(bare(), &[], None).len(), 1);
    assert!(better(bare(), &[(Known::Ticket, 1)], Some(Answer::LinkDown)).is_empty());
    let kept = better(bare(), &[(Known::Ticket, 1)], Some(Answer::Queued));
    assert!(kept.iter().any(|what| what.contains("not refused")), "{kept:?}");
    let stored = better(bare(), &[(Known::Ticket, 1)], Some(Answer::Stored));
    assert!(stored.iter().any(|what| what.contains("receipt")), "{stored:?}");
}

#[test]
fn nobody_is_taken_for_dead_while_the_medium_is_away() {
    let lost = |killed, medium_ends| {
        let what = What::OriginLost { origin: "a node".to_owned() };
        let told = vec![Told { at: 0, after: 0, what }];
        let pages = Pages { told, ..Pages::default() };
        let (id, role, confirmed) = ("a node".to_owned(), Role::Both, Some(0));
        let view = View { id, role, confirmed, killed, pages };
        let excuses = Excuses { medium_ends, ..Excuses::default() };
        let account = Account::default();
        judge(&bare(), &account, &[view], &vec![Vec::new()], excuses).broken.len()
    };
    assert_eq!([lost(false, true), lost(true, true), lost(false, false)], [1, 0, 0]);
}
