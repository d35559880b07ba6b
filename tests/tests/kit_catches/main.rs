//! The kit catches what is wrong: a transport with one fault fails the scenarios that should notice, and the
//! same transport without it passes them all.

mod fault;
mod layer;
mod medium;

use backplane_tests::kit::{Outcome, Record, Scenario, Subject, Verdict, scenarios};

use fault::Fault;
use medium::Medium;

/// Repeats the same run every time.
const SEED: u64 = 42;

async fn judge(fault: Fault, scenario: Scenario) -> Record {
    let start = move || async move { Outcome::Ok(Medium::with(fault)) };
    Subject::new(format!("{fault:?}"), start).judge(scenario, SEED).await
}

/// With this fault, each of these scenarios must fail.
///
/// In virtual time, so that a scenario that waits in vain costs nothing.
async fn caught(fault: Fault, names: &[&str]) {
    let all = scenarios::all();
    for name in names {
        let scenario = all.iter().find(|scenario| scenario.name == *name);
        let scenario = *scenario.unwrap_or_else(|| panic!("there is no scenario {name}"));
        let record = judge(fault, scenario).await;
        println!("{record}");
        let failed = matches!(&record.verdict, Verdict::Failed(text) if !text.contains("panicked"));
        assert!(failed, "{record}");
        let honest = judge(Fault::None, scenario).await;
        assert_eq!(honest.verdict, Verdict::Passed, "{honest}");
    }
}

macro_rules! catches {
    ($($test:ident: $fault:ident by $($name:literal),+;)+) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $test() {
                caught(Fault::$fault, &[$($name),+]).await;
            }
        )+
    };
}

catches! {
    loss: Loses by
        "order::many_publishers_keep_the_order_of_each",
        "confirm::what_follows_a_confirmation_arrives",
        "interest::flips_do_not_disturb_a_steady_subscriber",
        "storm::many_topics_at_once_take_few_round_trips",
        "restart::three_restarts_in_a_row",
        "close::closing_flushes";
    duplicates: Doubles by
        "routing::every_sink_of_every_node_gets_each_envelope_once",
        "order::all_nodes_see_one_publishers_order",
        "echo::no_echo_over_several_nodes",
        "confirm::a_confirmation_covers_every_topic",
        "restart::three_restarts_in_a_row";
    another_order: Reorders by
        "interest::flips_do_not_disturb_a_steady_subscriber",
        "order::tasks_that_share_a_topic_agree_with_the_local_order";
    lost_large_bodies: LosesLarge by
        "bodies::every_size_up_to_the_largest_arrives_untouched",
        "order::bodies_of_all_sizes_keep_their_order";
    cut_bodies: CutsBodies by
        "bodies::every_size_up_to_the_largest_arrives_untouched",
        "bodies::any_bytes_are_a_body";
    early_answers: AnswersEarly by
        "close::closing_flushes",
        "receipts::every_envelope_is_accounted_for";
    early_confirmations: ConfirmsEarly by
        "confirm::what_follows_a_confirmation_arrives",
        "confirm::many_confirmations_at_once",
        "interest::flips_of_one_topic_leave_the_right_interest";
    kept_subscriptions: KeepsSubscriptions by
        "interest::flips_of_one_topic_leave_the_right_interest",
        "interest::the_last_of_several_ends_the_interest",
        "interest::subscriptions_leave_nothing_behind";
    kept_connections: KeepsConnections by
        "close::dropping_a_node_frees_it";
    interest_that_is_not_restored: RestoresPartly by
        "restart::interest_is_restored_whole",
        "restart::a_restart_restores_many_topics_in_few_round_trips";
    prefixes_without_a_role: IgnoresPrefixes by
        "prefixes::applications_never_hear_each_other",
        "prefixes::a_prefix_is_no_part_of_a_name";
    hubs_without_a_role: IgnoresHubs by
        "names::hubs_never_hear_each_other",
        "names::names_that_naive_escaping_confuses_stay_apart";
    kinds_without_a_role: IgnoresKinds by
        "names::hostile_names_are_literal",
        "routing::each_route_kind_reaches_its_topic_and_no_other";
    unescaped_names: JoinsNames by
        "names::names_that_naive_escaping_confuses_stay_apart",
        "prefixes::a_prefix_is_no_part_of_a_name";
    cut_names: CutsNames by
        "names::the_longest_names_fit_and_longer_ones_are_refused";
    patterns: MatchesPatterns by
        "names::hostile_names_are_literal";
    broadcasts: Broadcasts by
        "routing::without_interest_nothing_arrives",
        "interest::the_last_of_several_ends_the_interest";
    garbage_that_cuts: HangsUpOnGarbage by
        "hostile::strange_bytes_are_counted_and_dropped",
        "hostile::damaged_envelopes_harm_nobody",
        "hostile::a_flood_of_garbage_does_not_stall";
    echoes: Echoes by
        "echo::local_sinks_come_first_and_only_once",
        "echo::no_echo_over_several_nodes",
        "routing::every_sink_of_every_node_gets_each_envelope_once";
    late_local_delivery: LocalLast by
        "echo::local_sinks_come_first_and_only_once",
        "outage::a_node_starts_while_the_medium_is_away";
    no_local_delivery: LocalNever by
        "echo::local_sinks_come_first_and_only_once",
        "routing::every_sink_of_every_node_gets_each_envelope_once",
        "outage::publishers_are_told_at_once";
    swallowed_errors: SwallowsErrors by
        "outage::publishers_are_told_at_once",
        "outage::a_node_starts_while_the_medium_is_away";
    hidden_interruptions: HidesInterruptions by
        "restart::every_sink_hears_of_it_once",
        "restart::interest_is_restored_whole",
        "restart::three_restarts_in_a_row";
    repeated_interruptions: RepeatsInterruptions by
        "restart::every_sink_hears_of_it_once",
        "restart::a_restart_under_load_is_accounted_for";
    forgotten_exceptions: ForgetsExceptions by
        "except::excluded_connections_travel_along";
    overstated_receipts: Overstates by
        "receipts::a_receipt_is_what_was_promised";
    half_refusals: HalfRefuses by
        "bodies::one_byte_too_many_is_refused_before_anything_happens",
        "except::too_many_are_refused_before_anything_happens",
        "queue::a_full_queue_gives_the_envelope_back";
    exchanged_envelopes: ExchangesEnvelopes by
        "queue::a_full_queue_gives_the_envelope_back",
        "queue::a_queue_is_bounded_in_bytes_too";
    no_closing: NeverCloses by
        "close::a_closed_node_says_so";
    publishing_sinks: LetsSinksPublish by
        "echo::a_sink_must_not_publish";
}

/// Without a fault, nothing is found: in real time, on several threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_found_where_nothing_is_wrong() {
    for scenario in scenarios::all() {
        let record = judge(Fault::None, scenario).await;
        println!("{record}");
        assert!(!matches!(record.verdict, Verdict::Failed(_)), "{record}");
    }
}
