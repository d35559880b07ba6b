//! The scenarios that span nodes, on the memory transport.

use crate::{Memory, scenarios};

macro_rules! on_memory {
    ($($scenario:ident,)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $scenario() {
            scenarios::$scenario(&Memory::start().await.nodes).await;
        }
    )+};
}

on_memory! {
    send_all_writes_to_all_connections,
    send_all_does_not_write_to_disconnected_connections,
    send_group_writes_to_all_members,
    send_group_except_does_not_write_to_excluded,
    send_connection_writes_to_it,
    a_client_returns_a_result,
    a_client_returns_an_error,
    another_client_cannot_answer,
    a_connection_that_does_not_exist_cannot_be_called,
    calls_of_several_clients_do_not_collide,
    a_client_disconnects_without_an_answer,
    a_call_can_be_given_up,
    all_over_two_nodes,
    all_over_two_nodes_after_one_left,
    connection_of_the_other_node,
    group_of_the_other_node,
    disconnecting_leaves_groups,
    leaving_a_group_of_others_here,
    leaving_a_group_of_others_elsewhere,
    joining_from_the_other_node,
    joining_twice_here,
    joining_here_and_elsewhere,
    leaving_from_the_other_node,
    a_connection_of_this_node_is_served_without_publishing,
    a_broken_connection_elsewhere_does_not_disturb_the_sender,
    a_broken_member_does_not_disturb_the_other,
    a_user_has_several_connections,
    a_user_is_reached_after_one_connection_left,
    a_client_of_the_other_node_returns_a_result,
    a_client_of_the_other_node_returns_an_error,
    a_connection_of_no_node_cannot_be_called,
    a_client_of_the_other_node_disconnects_without_an_answer,
    calls_of_two_nodes_have_ids_of_their_own,
    a_connection_of_no_node_fails_a_call_promptly,
    a_client_of_the_other_node_returns_another_type,
    a_call_of_the_other_node_can_be_given_up,
    an_unknown_connection_is_not_found_promptly,
    several_groups_reach_a_connection_once,
    lists_of_names,
    hostile_names,
    one_sender_is_heard_in_order,
    hubs_do_not_hear_each_other,
}
