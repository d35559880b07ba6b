//! What becomes of an order: Placed → Preparing → Shipped → Delivered, one step at a time.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use backplane_hub::{Hub, SendError, Sent};
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, time::Instant};

const STEPS: [&str; 4] = ["Placed", "Preparing", "Shipped", "Delivered"];

/// What a customer asks for.
#[derive(Debug, Deserialize)]
pub(crate) struct NewOrder {
    pub(crate) item: String,
    pub(crate) quantity: u32,
}

/// What everyone concerned is told at each step.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    order_id: &'a str,
    status: &'static str,
    /// The node that took the step.
    node: &'a str,
    sequence: usize,
}

#[derive(Debug)]
struct Order {
    id: String,
    user: String,
    due: Instant,
    /// How many steps it has taken.
    taken: usize,
}

/// Takes orders and hands them to the one task of this node that works on them.
#[derive(Debug, Clone)]
pub(crate) struct Kitchen {
    node: Arc<str>,
    orders: mpsc::Sender<Order>,
}

/// The other end of a [`Kitchen`].
#[derive(Debug)]
pub(crate) struct Work {
    node: Arc<str>,
    step: Duration,
    orders: mpsc::Receiver<Order>,
}

impl Kitchen {
    pub(crate) fn new(node: &str, step: Duration) -> (Self, Work) {
        let (sender, orders) = mpsc::channel(10_000);
        let node: Arc<str> = node.into();
        (Self { node: Arc::clone(&node), orders: sender }, Work { node, step, orders })
    }

    /// The name of the node that this kitchen belongs to.
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// Takes an order and returns its id; `Err` says why not, for the customer to read.
    pub(crate) fn place(&self, user: &str, order: &NewOrder) -> Result<String, String> {
        if order.item.trim().is_empty() || order.quantity == 0 {
            return Err("An order needs an item and a quantity of at least 1.".to_owned());
        }
        let number = getrandom::u64().map_err(|error| format!("No order number: {error}."))?;
        let id = format!("order-{number:016x}");
        let order = Order { id: id.clone(), user: user.to_owned(), due: Instant::now(), taken: 0 };
        match self.orders.try_send(order) {
            Ok(()) => Ok(id),
            Err(_) => Err("The kitchen has too many orders; try again in a while.".to_owned()),
        }
    }

    /// The group of those who watch an order.
    pub(crate) fn watchers(order_id: &str) -> String {
        format!("watch {order_id}")
    }
}

impl Work {
    /// Works until the kitchen is gone. Every step takes equally long, so orders stay in line.
    pub(crate) async fn run(mut self, hub: Hub) {
        let mut line: VecDeque<Order> = VecDeque::new();
        loop {
            let due = line.front().map(|order| order.due);
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(order) => line.push_front(order),
                    None => return,
                },
                () = at(due) => {
                    if let Some(mut order) = line.pop_front() {
                        self.take_step(&hub, &order).await;
                        order.taken += 1;
                        order.due = Instant::now() + self.step;
                        if order.taken < STEPS.len() {
                            line.push_back(order);
                        }
                    }
                }
            }
        }
    }

    async fn take_step(&self, hub: &Hub, order: &Order) {
        let status = Status {
            order_id: &order.id,
            status: STEPS[order.taken],
            node: &self.node,
            sequence: order.taken + 1,
        };
        let clients = hub.clients();
        let told = clients.user(&order.user).send("OrderStatusChanged", &status).await;
        report(&order.id, told);
        let watchers = Kitchen::watchers(&order.id);
        report(&order.id, clients.group(&watchers).send("OrderWatched", &status).await);
    }
}

/// The order goes on; whether somebody could not be told, or is told later, stands in the log.
fn report(order: &str, told: Result<Sent, SendError>) {
    match told {
        Ok(Sent::Queued) => tracing::info!(order, "clients of other nodes are told later"),
        Ok(_) => {}
        Err(error) => tracing::warn!(order, %error, "not everyone was told"),
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
