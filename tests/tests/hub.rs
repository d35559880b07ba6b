//! What the hub does across nodes, on every transport, bare and as users get it: a test per scenario,
//! transport and layer, each with a medium of its own.
#![expect(clippy::unwrap_used, reason = "a scenario fails by panicking")]

use std::{process::ExitCode, sync::Arc, time::Instant};

use backplane_core::{NodeOptions, PublisherOutage};
use backplane_hub::{Backplane, InvokeError, Link, Members, Sent};
use backplane_tests::{
    faults::Transport,
    hub::{self, Client, Crowd, HubFixture, HubProcess, USERS, soon, two_hubs},
    kit::{Fixture, Layer, Setup},
};
use futures_util::future::{BoxFuture, join_all};
use libtest_mimic::{Arguments, Trial};
use serde_json::json;

/// Two nodes, and the medium between them.
struct Hubs {
    medium: Arc<dyn Fixture>,
    layer: Layer,
    nodes: [Arc<dyn Backplane>; 2],
}

impl HubFixture for Hubs {
    fn backplane(&self, node: usize) -> Arc<dyn Backplane> {
        Arc::clone(&self.nodes[node])
    }
}

impl Hubs {
    async fn on(medium: Arc<dyn Fixture>, layer: Layer) -> Self {
        let nodes = [node(&*medium, layer).await, node(&*medium, layer).await];
        let hubs = Self { medium, layer, nodes };
        hubs.links(true).await;
        hubs
    }

    /// Waits until both links are up, or both are not.
    async fn links(&self, up: bool) {
        for node in &self.nodes {
            let mut link = node.link();
            soon("the links", link.wait_for(|link| Link::is_up(link) == up)).await.unwrap();
        }
    }
}

/// Of what repairs, as users get it: by its URL alone, where the medium has one.
async fn node(medium: &dyn Fixture, layer: Layer) -> Arc<dyn Backplane> {
    match (layer, medium.url(&[])) {
        (Layer::Repaired, Ok(url)) => backplane_hub::connect(url).await.unwrap(),
        _ => medium.node(Setup::new(layer.options())).await.unwrap(),
    }
}

type Scenario = (&'static str, for<'a> fn(&'a Hubs) -> BoxFuture<'a, ()>);

macro_rules! scenarios {
    ($($module:ident::$name:ident,)+) => {
        &[$((stringify!($name), |hubs| Box::pin($module::$name(hubs)))),+]
    };
}

const SCENARIOS: &[Scenario] = scenarios![
    hub::send_all_writes_to_all_connections,
    hub::send_all_does_not_write_to_disconnected_connections,
    hub::send_group_writes_to_all_members,
    hub::send_group_except_does_not_write_to_excluded,
    hub::send_connection_writes_to_it,
    hub::a_client_returns_a_result,
    hub::a_client_returns_an_error,
    hub::another_client_cannot_answer,
    hub::a_connection_that_does_not_exist_cannot_be_called,
    hub::calls_of_several_clients_do_not_collide,
    hub::a_client_disconnects_without_an_answer,
    hub::a_call_can_be_given_up,
    hub::all_over_two_nodes,
    hub::all_over_two_nodes_after_one_left,
    hub::connection_of_the_other_node,
    hub::group_of_the_other_node,
    hub::disconnecting_leaves_groups,
    hub::leaving_a_group_of_others_here,
    hub::leaving_a_group_of_others_elsewhere,
    hub::joining_from_the_other_node,
    hub::joining_twice_here,
    hub::joining_here_and_elsewhere,
    hub::leaving_from_the_other_node,
    hub::a_connection_of_this_node_is_served_without_publishing,
    hub::a_broken_connection_elsewhere_does_not_disturb_the_sender,
    hub::a_broken_member_does_not_disturb_the_other,
    hub::a_user_has_several_connections,
    hub::a_user_is_reached_after_one_connection_left,
    hub::a_client_of_the_other_node_returns_a_result,
    hub::a_client_of_the_other_node_returns_an_error,
    hub::a_connection_of_no_node_cannot_be_called,
    hub::a_client_of_the_other_node_disconnects_without_an_answer,
    hub::calls_of_two_nodes_have_ids_of_their_own,
    hub::a_connection_of_no_node_fails_a_call_promptly,
    hub::a_client_of_the_other_node_returns_another_type,
    hub::a_call_of_the_other_node_can_be_given_up,
    hub::an_unknown_connection_is_not_found_promptly,
    hub::several_groups_reach_a_connection_once,
    hub::lists_of_names,
    hub::hostile_names,
    hub::one_sender_is_heard_in_order,
    hub::hubs_do_not_hear_each_other,
    faults::what_was_joined_survives_an_outage,
    faults::who_connects_during_an_outage_is_reached_after_it,
    killed::a_call_fails_as_soon_as_the_node_of_its_client_counts_as_dead,
    killed::who_is_there_is_right_as_soon_as_a_node_counts_as_dead,
    storm::ten_thousand_joins_take_few_round_trips,
];

fn main() -> ExitCode {
    if let Some(code) = hub::serve_hub() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    // Each starts a broker: more at once would only make each slower.
    arguments.test_threads.get_or_insert(2);
    let layers = [Layer::Bare, Layer::Repaired];
    let subjects = Transport::ALL.iter().flat_map(|it| layers.map(|layer| (*it, layer)));
    let trials = subjects.flat_map(|(transport, layer)| {
        SCENARIOS.iter().map(move |(name, scenario)| {
            Trial::test(format!("{}::{name}", layer.over(transport.label())), move || {
                let runtime = tokio::runtime::Runtime::new()?;
                runtime.block_on(async {
                    let hubs = Hubs::on(transport.start().await.unwrap(), layer).await;
                    scenario(&hubs).await;
                });
                Ok(())
            })
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

mod faults {
    use super::*;

    async fn outage(hubs: &Hubs) {
        hubs.medium.kill().await.unwrap();
        hubs.links(false).await;
    }

    async fn end_of_outage(hubs: &Hubs) {
        hubs.medium.start().await.unwrap();
        hubs.links(true).await;
    }

    pub(super) async fn what_was_joined_survives_an_outage(hubs: &Hubs) {
        let (one, two) = two_hubs(hubs);
        let (mut here, mut there) =
            (Client::open_as(&one, Some("ann")).await, Client::open_as(&two, Some("ann")).await);
        for client in [&here, &there] {
            one.groups().add(&client.id, "kitchen").await.unwrap();
        }
        outage(hubs).await;
        // The own node's clients are served, and the sender is told about the others.
        let told = one.clients().group("kitchen").send("Early", ()).await;
        match hubs.layer {
            Layer::Repaired => assert_eq!(told.unwrap(), Sent::Queued),
            _ => assert!(told.is_err(), "nobody else can have got it"),
        }
        here.expect("Early", json!([])).await;
        end_of_outage(hubs).await;
        one.clients().group("kitchen").send("Group", ()).await.unwrap();
        two.clients().user("ann").send("User", ()).await.unwrap();
        assert_eq!(told_each(&mut here).await, ["Group", "User"]);
        match hubs.layer {
            Layer::Repaired => assert_eq!(told_each(&mut there).await, ["Early", "Group", "User"]),
            _ => assert_eq!(told_each(&mut there).await, ["Group", "User"]),
        }
    }

    pub(super) async fn who_connects_during_an_outage_is_reached_after_it(hubs: &Hubs) {
        let (one, two) = two_hubs(hubs);
        outage(hubs).await;
        let mut late = Client::open_as(&two, Some("bob")).await;
        let joined = two.groups().add(&late.id, "late").await.unwrap();
        assert_eq!(joined, backplane_hub::Joined::HereOnly);
        end_of_outage(hubs).await;
        one.clients().user("bob").send("User", ()).await.unwrap();
        one.clients().group("late").send("Group", ()).await.unwrap();
        assert_eq!(told_each(&mut late).await, ["Group", "User"]);
    }

    /// What comes from two nodes, or on two topics, comes in any order.
    async fn told_each<const COUNT: usize>(client: &mut Client) -> [String; COUNT] {
        let mut told = [const { String::new() }; COUNT];
        for told in &mut told {
            *told = client.next().await.unwrap().target;
        }
        told.sort();
        told
    }
}

mod killed {
    use super::*;

    /// A node with a client: in a process of its own, where the medium reaches any.
    enum Victim {
        Process(Box<HubProcess>),
        Here { node: String, client: Box<Client>, _crowd: Vec<Client> },
    }

    impl Victim {
        async fn start(hubs: &Hubs, hub: &str, crowd: Crowd) -> Self {
            let Ok(url) = hubs.medium.url(&[]) else {
                let hub = Crowd::hub(hub, node(&*hubs.medium, hubs.layer).await);
                let _crowd = crowd.gather(&hub).await;
                let client = Box::new(Client::open(&hub).await);
                return Self::Here { node: hub.node().to_string(), client, _crowd };
            };
            let url = match hubs.layer {
                Layer::Bare => {
                    format!("{url}{}repair=off", if url.contains('?') { '&' } else { '?' })
                }
                _ => url,
            };
            Self::Process(Box::new(HubProcess::start(&url, hub, crowd).await))
        }

        fn node(&self) -> &str {
            match self {
                Self::Process(process) => &process.node,
                Self::Here { node, .. } => node,
            }
        }

        fn client(&self) -> &str {
            match self {
                Self::Process(process) => &process.client,
                Self::Here { client, .. } => &client.id,
            }
        }

        async fn told(&mut self) -> String {
            match self {
                Self::Process(process) => process.told().await,
                Self::Here { client, .. } => client.next().await.unwrap().target,
            }
        }

        /// Without a word to anybody.
        async fn kill(self) {
            if let Self::Process(process) = self {
                process.kill().await;
            }
        }
    }

    pub(super) async fn a_call_fails_as_soon_as_the_node_of_its_client_counts_as_dead(hubs: &Hubs) {
        let (one, _) = two_hubs(hubs);
        let mut victim = Victim::start(hubs, one.name(), Crowd::NONE).await;
        let (node, client) = (victim.node().to_owned(), victim.client().to_owned());
        let mut members = hubs.nodes[0].members();
        let is_known =
            |members: &Members| members.nodes.iter().any(|it| it.node.to_string() == node);
        soon("the node is known", members.wait_for(|it| is_known(it))).await.unwrap();
        let calling = tokio::spawn(one.clients().connection(&client).invoke::<u32>("Result", ()));
        assert_eq!(victim.told().await, "Result");
        let killed = Instant::now();
        victim.kill().await;
        soon("its death", members.wait_for(|it| !is_known(it))).await.unwrap();
        let dead = killed.elapsed();
        // Whoever is asked for a connection that nobody has answers within a second: this is sooner.
        let fence = one.clients().connection("1234").invoke::<u32>("Result", ());
        let failed = tokio::select! {
            biased;
            failed = calling => failed.unwrap().unwrap_err(),
            _ = fence => panic!("the call goes on, and its node is dead"),
        };
        // Killed before it could say that it has the call, it is not known to have had it.
        let expected =
            matches!(failed, InvokeError::NodeGone { .. } | InvokeError::NotFound { .. });
        assert!(expected, "{failed:?}");
        println!(
            "killed over {}: dead after {dead:.2?}, its call failed after {:.2?}; a silent node \
             counts as dead after {:?}",
            hubs.medium.name(),
            killed.elapsed(),
            NodeOptions::default().dead_after
        );
    }

    /// Three nodes with 1,000 connections each, and 100 groups.
    pub(super) async fn who_is_there_is_right_as_soon_as_a_node_counts_as_dead(hubs: &Hubs) {
        const CROWD: Crowd = Crowd { clients: 1000, each: 5, groups: 100 };
        let [one, two] = hubs.nodes.clone().map(|node| Crowd::hub("presence", node));
        let all = [&one, &two];
        let (victim, _here, _there) = tokio::join!(
            Victim::start(hubs, one.name(), CROWD),
            CROWD.gather(&one),
            CROWD.gather(&two)
        );
        CROWD.is_counted(&all, 3).await;
        let node = victim.node().to_owned();
        let killed = Instant::now();
        victim.kill().await;
        for node_of in &hubs.nodes {
            let mut members = node_of.members();
            let is_gone = |members: &Members| {
                members.nodes.iter().all(|member| member.node.to_string() != node)
            };
            soon("its death", members.wait_for(is_gone)).await.unwrap();
        }
        let dead = Instant::now();
        CROWD.is_counted(&all, 2).await;
        println!(
            "killed over {}: dead after {:.2?}, all counts right {:.2?} later; a heartbeat is {:?}",
            hubs.medium.name(),
            dead - killed,
            dead.elapsed(),
            NodeOptions::default().heartbeat_every
        );
        for hub in all {
            let connections = hub.presence().user("user 7").connections().unwrap();
            assert_eq!(connections.len(), 2 * CROWD.clients / USERS);
        }
    }
}

mod storm {
    use super::*;

    const JOINS: usize = 10_000;

    pub(super) async fn ten_thousand_joins_take_few_round_trips(hubs: &Hubs) {
        let (one, two) = two_hubs(hubs);
        let clients = join_all((0..JOINS).map(|_| Client::open(&one))).await;
        let before = hubs.nodes[0].stats().interest_round_trips;
        let groups = one.groups();
        let joins = clients.iter().enumerate().map(|(number, client)| {
            let groups = groups.clone();
            async move { groups.add(&client.id, &format!("group {number}")).await.unwrap() }
        });
        join_all(joins).await;
        let round_trips = hubs.nodes[0].stats().interest_round_trips - before;
        println!("{JOINS} joins took {round_trips} round trips to {}", hubs.medium.name());
        // Without a broker a round trip is a call, and nothing is gained by waiting for company.
        let has_broker = hubs.nodes[0].semantics().publisher_outage != PublisherOutage::Never;
        assert!(!has_broker || round_trips * 100 < JOINS as u64, "{round_trips} round trips");
        // Each is effective: the other node reaches the first and the last.
        for (number, mut client) in clients.into_iter().enumerate() {
            if number == 0 || number == JOINS - 1 {
                let group = format!("group {number}");
                two.clients().group(&group).send("Joined", (number,)).await.unwrap();
                client.expect("Joined", json!([number])).await;
            }
        }
    }
}
