use backplane_hub::HubOptions;
use backplane_memory::Medium;
use backplane_signalr::{Options, TokenKey, TokenKeys};
use futures_util::future::join_all;
use serde_json::json;

use crate::{client::Client, server::Server};

const CLIENTS: usize = 20;
const CALLS: usize = 200;
const BROADCASTS: usize = 500;

/// Calls and answers cross with broadcasts from both nodes, over which nothing may be lost, and each
/// kind stays in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_where_much_goes_on() {
    let medium = Medium::new();
    let options = || Options::new().token_keys(TokenKeys::new(TokenKey::new(&[7; 32]).unwrap()));
    let roomy = || {
        let mut options = HubOptions::default();
        options.outbound_messages = 4 * (BROADCASTS + CALLS);
        options.outbound_bytes = backplane_hub::ByteSize::mib(64);
        options
    };
    let one = Server::on(&medium, options(), |hub| hub.options(roomy())).await;
    let two = Server::on(&medium, options(), |hub| hub.options(roomy())).await;
    let mut clients = Vec::new();
    for index in 0..CLIENTS {
        clients.push(Client::connect([&one, &two][index % 2]).await);
    }

    let broadcast = async |server: &Server, name: &str| {
        for number in 0..BROADCASTS {
            let text = "x".repeat(number * 7 % 3000);
            server.hub.clients().all().send(name, (number, text)).await.unwrap();
        }
    };
    let converse = async |mut client: Client| {
        let (mut answered, mut told, mut called) = (0, [0, 0], 0);
        while answered < CALLS || told != [BROADCASTS; 2] {
            while called < CALLS && called < answered + 20 {
                client.call(&called.to_string(), "Echo", json!([called])).await;
                called += 1;
            }
            let message = client.next().await;
            if message["type"] == 3 {
                assert_eq!(message["invocationId"], answered.to_string());
                assert_eq!(message["result"], answered);
                answered += 1;
            } else {
                let told = &mut told[usize::from(message["target"] == "Two")];
                assert_eq!(message["arguments"][0], *told);
                *told += 1;
            }
        }
        client.works().await;
    };
    tokio::join!(
        broadcast(&one, "One"),
        broadcast(&two, "Two"),
        join_all(clients.into_iter().map(converse)),
    );
    assert_eq!(one.hub.stats().closed_slow + two.hub.stats().closed_slow, 0);
}
