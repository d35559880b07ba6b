//! The kit catches what is wrong: a transport with one fault fails the scenarios that should
//! notice, and the same transport without it passes them all. There is no scenario that nothing
//! could fail.

mod fault;
mod layer;
mod log;
mod medium;
mod under_load;

use std::collections::HashSet;

use backplane_tests::kit::{Layer, Outcome, Record, Scenario, Subject, Verdict, scenarios};

use fault::Fault;
use futures_util::{StreamExt, stream};
use medium::Medium;

/// Repeats the same run every time.
const SEED: u64 = 42;

/// What must be caught, and by which scenarios.
const CAUGHT: &[(Fault, &[&str])] = &[
    (
        Fault::Loses,
        &[
            "routing::a_node_topic_reaches_that_node_alone",
            "names::random_names_stay_apart",
            "order::many_publishers_keep_the_order_of_each",
            "confirm::what_follows_a_confirmation_arrives",
            "interest::flips_do_not_disturb_a_steady_subscriber",
            "slow::a_slow_stream_says_what_it_dropped",
            "slow::a_slow_reader_is_not_noticed_by_others",
            "storm::many_topics_at_once_take_few_round_trips",
            "restart::three_restarts_in_a_row",
            "close::closing_flushes",
            "close::nodes_come_and_go",
        ],
    ),
    (
        Fault::Doubles,
        &[
            "routing::every_sink_of_every_node_gets_each_envelope_once",
            "order::all_nodes_see_one_publishers_order",
            "echo::no_echo_over_several_nodes",
            "confirm::a_confirmation_covers_every_topic",
            "restart::three_restarts_in_a_row",
            "close::nodes_come_and_go",
        ],
    ),
    (
        Fault::Reorders,
        &[
            "interest::flips_do_not_disturb_a_steady_subscriber",
            "order::tasks_that_share_a_topic_agree_with_the_local_order",
        ],
    ),
    (
        Fault::LosesLarge,
        &[
            "bodies::every_size_up_to_the_largest_arrives_untouched",
            "order::bodies_of_all_sizes_keep_their_order",
        ],
    ),
    (
        Fault::CutsBodies,
        &["bodies::every_size_up_to_the_largest_arrives_untouched", "bodies::any_bytes_are_a_body"],
    ),
    (Fault::AnswersEarly, &["close::closing_flushes", "receipts::every_envelope_is_accounted_for"]),
    (
        Fault::ConfirmsEarly,
        &[
            "confirm::what_follows_a_confirmation_arrives",
            "confirm::many_confirmations_at_once",
            "confirm::confirmations_stay_true",
            "interest::flips_of_one_topic_leave_the_right_interest",
        ],
    ),
    (
        Fault::KeepsSubscriptions,
        &[
            "interest::flips_of_one_topic_leave_the_right_interest",
            "interest::the_last_of_several_ends_the_interest",
            "interest::subscriptions_leave_nothing_behind",
        ],
    ),
    (Fault::KeepsConnections, &["close::dropping_a_node_frees_it"]),
    (
        Fault::RestoresPartly,
        &[
            "restart::interest_is_restored_whole",
            "restart::a_restart_restores_many_topics_in_few_round_trips",
            "outage::interest_changes_while_the_medium_is_away",
        ],
    ),
    (
        Fault::IgnoresPrefixes,
        &[
            "prefixes::applications_never_hear_each_other",
            "prefixes::a_prefix_is_no_part_of_a_name",
        ],
    ),
    (
        Fault::IgnoresHubs,
        &[
            "names::hubs_never_hear_each_other",
            "names::names_that_naive_escaping_confuses_stay_apart",
        ],
    ),
    (
        Fault::IgnoresKinds,
        &[
            "names::hostile_names_are_literal",
            "routing::each_route_kind_reaches_its_topic_and_no_other",
        ],
    ),
    (
        Fault::JoinsNames,
        &[
            "names::names_that_naive_escaping_confuses_stay_apart",
            "prefixes::a_prefix_is_no_part_of_a_name",
        ],
    ),
    (Fault::CutsNames, &["names::the_longest_names_fit_and_longer_ones_are_refused"]),
    (Fault::MatchesPatterns, &["names::hostile_names_are_literal"]),
    (
        Fault::Broadcasts,
        &[
            "routing::without_interest_nothing_arrives",
            "interest::the_last_of_several_ends_the_interest",
        ],
    ),
    (
        Fault::HangsUpOnGarbage,
        &[
            "hostile::strange_bytes_are_counted_and_dropped",
            "hostile::damaged_envelopes_harm_nobody",
            "hostile::a_newer_version_is_skipped_and_its_new_fields_too",
            "hostile::a_flood_of_garbage_does_not_stall",
        ],
    ),
    (
        Fault::AsksOneByOne,
        &[
            "storm::many_topics_at_once_take_few_round_trips",
            "storm::many_joins_at_once_take_few_round_trips",
            "restart::a_restart_restores_many_topics_in_few_round_trips",
        ],
    ),
    (
        Fault::RefusesUnheard,
        &["routing::nobody_listening_is_no_error", "receipts::a_receipt_is_what_was_promised"],
    ),
    (Fault::Replays, &["confirm::nothing_from_before_arrives"]),
    (Fault::LosesWhilePaused, &["mute::a_short_pause_loses_nothing"]),
    (
        Fault::Echoes,
        &[
            "echo::local_sinks_come_first_and_only_once",
            "echo::no_echo_over_several_nodes",
            "routing::every_sink_of_every_node_gets_each_envelope_once",
        ],
    ),
    (
        Fault::LocalLast,
        &[
            "echo::local_sinks_come_first_and_only_once",
            "outage::a_node_starts_while_the_medium_is_away",
        ],
    ),
    (
        Fault::LocalNever,
        &[
            "echo::local_sinks_come_first_and_only_once",
            "routing::every_sink_of_every_node_gets_each_envelope_once",
            "outage::publishers_are_told_at_once",
        ],
    ),
    (
        Fault::SwallowsErrors,
        &["outage::publishers_are_told_at_once", "outage::a_node_starts_while_the_medium_is_away"],
    ),
    (
        Fault::HidesInterruptions,
        &[
            "restart::every_sink_hears_of_it_once",
            "restart::interest_is_restored_whole",
            "restart::three_restarts_in_a_row",
            "restart::cut_receiving_connections_are_accounted_for",
            "restart::cut_publishing_connections_are_accounted_for",
            "mute::a_mute_link_is_noticed_and_replaced",
        ],
    ),
    (
        Fault::RepeatsInterruptions,
        &["restart::every_sink_hears_of_it_once", "restart::a_restart_under_load_is_accounted_for"],
    ),
    (
        Fault::ForgetsExtras,
        &["except::excluded_connections_travel_along", "except::traces_travel_along"],
    ),
    (Fault::Overstates, &["receipts::a_receipt_is_what_was_promised"]),
    (
        Fault::HalfRefuses,
        &[
            "bodies::one_byte_too_many_is_refused_before_anything_happens",
            "except::too_many_are_refused_before_anything_happens",
            "queue::a_full_queue_gives_the_envelope_back",
        ],
    ),
    (
        Fault::ExchangesEnvelopes,
        &["queue::a_full_queue_gives_the_envelope_back", "queue::a_queue_is_bounded_in_bytes_too"],
    ),
    (
        Fault::NoRoom,
        &["queue::publishers_wait_for_room", "order::waiting_for_room_keeps_the_order"],
    ),
    (
        Fault::NeverCloses,
        &["close::a_closed_node_says_so", "outage::closing_while_the_medium_is_away"],
    ),
    (Fault::HearsOn, &["close::a_closed_node_hears_nothing"]),
    (Fault::KeepsSinks, &["interest::a_dropped_subscription_hears_no_more"]),
    (
        Fault::ClaimsUp,
        &["outage::publishers_are_told_at_once", "mute::a_mute_link_is_noticed_and_replaced"],
    ),
    (Fault::LetsSinksPublish, &["echo::a_sink_must_not_publish"]),
    (Fault::SkipsInLog, &[KEPT]),
    (Fault::PretendsToReplay, &["replay::where_nothing_is_kept_reading_is_refused"]),
];

/// The scenario that is for media with a log.
const KEPT: &str = "replay::what_is_kept_is_read_from_any_position";

/// The same, for scenarios with threads of their own: these can't be run in virtual time.
const CAUGHT_IN_REAL_TIME: &[(Fault, &[&str])] = &[
    (Fault::Doubles, &["slow::a_stalled_node_costs_nobody_else_and_knows_what_it_lost"]),
    (Fault::LocalNever, &["receipts::publishing_needs_no_runtime"]),
    (Fault::NeverCloses, &["close::closing_is_done_once"]),
];

async fn judge(fault: Fault, scenario: Scenario) -> Record {
    judge_under(Layer::Bare, fault, scenario).await
}

async fn judge_under(layer: Layer, fault: Fault, scenario: Scenario) -> Record {
    let start = move || async move {
        Outcome::Ok(if scenario.name == KEPT {
            Medium::that_keeps(fault)
        } else {
            Medium::with(fault)
        })
    };
    Subject::new(format!("{fault:?}"), start).under(layer).judge(scenario, SEED).await
}

fn named(name: &str) -> Scenario {
    let scenario = scenarios::all().into_iter().find(|scenario| scenario.name == name);
    scenario.unwrap_or_else(|| panic!("there is no scenario {name}"))
}

async fn catch(caught: &[(Fault, &[&str])]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (fault, names) in caught {
        for name in *names {
            let scenario = named(name);
            let record = judge(*fault, scenario).await;
            println!("{record}\n");
            let missed =
                !matches!(&record.verdict, Verdict::Failed(text) if !text.contains("panicked"));
            let honest = judge(Fault::None, scenario).await;
            let records = [(missed, record), (honest.verdict != Verdict::Passed, honest)];
            wrong.extend(records.into_iter().filter(|(bad, _)| *bad).map(|(_, it)| it.to_string()));
        }
    }
    wrong
}

/// In virtual time, so that a scenario that waits in vain costs nothing.
#[tokio::test(start_paused = true)]
async fn every_fault_is_caught() {
    let wrong = catch(CAUGHT).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_fault_is_caught_in_real_time() {
    let wrong = catch(CAUGHT_IN_REAL_TIME).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The scenarios find these faults on the bare medium, and under the layer nothing.
#[tokio::test(start_paused = true)]
async fn what_a_layer_repairs_is_not_found() {
    for (fault, name) in [
        (Fault::Loses, "order::many_publishers_keep_the_order_of_each"),
        (Fault::Loses, "close::closing_flushes"),
        (Fault::Doubles, "order::all_nodes_see_one_publishers_order"),
        (Fault::Reorders, "order::tasks_that_share_a_topic_agree_with_the_local_order"),
    ] {
        let bare = judge(fault, named(name)).await;
        assert!(matches!(bare.verdict, Verdict::Failed(_)), "{bare}");
        let repaired = judge_under(Layer::Repaired, fault, named(name)).await;
        assert_eq!(repaired.verdict, Verdict::Passed, "{repaired}");
    }
}

#[test]
fn every_scenario_can_fail() {
    let caught = CAUGHT.iter().chain(CAUGHT_IN_REAL_TIME);
    let caught: HashSet<&str> = caught.flat_map(|(_, names)| names.iter().copied()).collect();
    let all = scenarios::all();
    let never: Vec<_> = all.iter().filter(|it| !caught.contains(it.name)).collect();
    assert!(never.is_empty(), "no fault makes these fail: {never:?}");
}

/// In real time, on several threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_found_where_nothing_is_wrong() {
    let runs = scenarios::all().into_iter().map(|scenario| judge(Fault::None, scenario));
    let mut records = stream::iter(runs).buffer_unordered(4);
    while let Some(record) = records.next().await {
        println!("{record}");
        assert_eq!(record.verdict, Verdict::Passed, "{record}");
    }
}
