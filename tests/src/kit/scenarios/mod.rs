//! What every backplane is judged by.
//!
//! Each scenario is a function of one [`Stage`](super::Stage), and says in its documentation what
//! it demands.

pub mod bodies;
pub mod close;
pub mod confirm;
pub mod echo;
pub mod except;
mod garbage;
pub mod hostile;
pub mod interest;
pub mod mute;
pub mod names;
pub mod order;
pub mod outage;
pub mod prefixes;
pub mod queue;
pub mod receipts;
pub mod replay;
pub mod restart;
pub mod routing;
pub mod slow;
pub mod storm;

use super::Scenario;

/// The hub of scenarios that need only one.
const HUB: &str = "orders";

macro_rules! scenarios {
    ($($module:ident: $($name:ident),+;)+) => {
        vec![$($(Scenario::new(
            concat!(stringify!($module), "::", stringify!($name)),
            |stage| Box::pin(async move { $module::$name(&stage).await }),
        )),+),+]
    };
}

/// All scenarios, cheap ones first.
#[must_use]
pub fn all() -> Vec<Scenario> {
    scenarios! {
        routing:
            each_route_kind_reaches_its_topic_and_no_other,
            every_sink_of_every_node_gets_each_envelope_once,
            a_node_topic_reaches_that_node_alone,
            without_interest_nothing_arrives,
            nobody_listening_is_no_error;
        names:
            hostile_names_are_literal,
            names_that_naive_escaping_confuses_stay_apart,
            random_names_stay_apart,
            hubs_never_hear_each_other,
            the_longest_names_fit_and_longer_ones_are_refused;
        prefixes:
            applications_never_hear_each_other,
            a_prefix_is_no_part_of_a_name;
        order:
            many_publishers_keep_the_order_of_each,
            all_nodes_see_one_publishers_order,
            tasks_that_share_a_topic_agree_with_the_local_order,
            bodies_of_all_sizes_keep_their_order,
            waiting_for_room_keeps_the_order;
        confirm:
            what_follows_a_confirmation_arrives,
            many_confirmations_at_once,
            a_confirmation_covers_every_topic,
            confirmations_stay_true,
            nothing_from_before_arrives;
        interest:
            flips_of_one_topic_leave_the_right_interest,
            flips_do_not_disturb_a_steady_subscriber,
            a_dropped_subscription_hears_no_more,
            the_last_of_several_ends_the_interest,
            subscriptions_leave_nothing_behind;
        except:
            excluded_connections_travel_along,
            too_many_are_refused_before_anything_happens,
            traces_travel_along;
        bodies:
            every_size_up_to_the_largest_arrives_untouched,
            one_byte_too_many_is_refused_before_anything_happens,
            any_bytes_are_a_body;
        echo:
            local_sinks_come_first_and_only_once,
            no_echo_over_several_nodes,
            a_sink_must_not_publish;
        slow:
            a_slow_stream_says_what_it_dropped,
            a_slow_reader_is_not_noticed_by_others,
            a_stalled_node_costs_nobody_else_and_knows_what_it_lost;
        queue:
            a_full_queue_gives_the_envelope_back,
            a_queue_is_bounded_in_bytes_too,
            publishers_wait_for_room;
        receipts:
            a_receipt_is_what_was_promised,
            every_envelope_is_accounted_for,
            publishing_needs_no_runtime;
        close:
            closing_flushes,
            a_closed_node_says_so,
            closing_is_done_once,
            a_closed_node_hears_nothing,
            dropping_a_node_frees_it,
            nodes_come_and_go;
        hostile:
            strange_bytes_are_counted_and_dropped,
            damaged_envelopes_harm_nobody,
            a_newer_version_is_skipped_and_its_new_fields_too,
            a_flood_of_garbage_does_not_stall;
        replay:
            what_is_kept_is_read_from_any_position,
            where_nothing_is_kept_reading_is_refused;
        storm:
            many_topics_at_once_take_few_round_trips,
            many_joins_at_once_take_few_round_trips;
        outage:
            a_node_starts_while_the_medium_is_away,
            publishers_are_told_at_once,
            interest_changes_while_the_medium_is_away,
            closing_while_the_medium_is_away;
        restart:
            a_restart_under_load_is_accounted_for,
            interest_is_restored_whole,
            every_sink_hears_of_it_once,
            three_restarts_in_a_row,
            cut_receiving_connections_are_accounted_for,
            cut_publishing_connections_are_accounted_for,
            a_restart_restores_many_topics_in_few_round_trips;
        mute:
            a_short_pause_loses_nothing,
            a_mute_link_is_noticed_and_replaced;
    }
}
