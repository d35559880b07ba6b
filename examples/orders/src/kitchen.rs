//! What becomes of an order: Placed → Preparing → Shipped → Delivered, one step at a time.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use backplane_hub::{Hub, SendError, Sent};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

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
    closing: Arc<Notify>,
}

/// The other end of a [`Kitchen`].
#[derive(Debug)]
pub(crate) struct Work {
    node: Arc<str>,
    step: Duration,
    orders: mpsc::Receiver<Order>,
    closing: Arc<Notify>,
}

/// Why an order is not taken, for the customer to read.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// It is none.
    Wrong(String),
    /// This node takes none.
    Busy(String),
}

impl From<NotTaken> for String {
    fn from(not_taken: NotTaken) -> Self {
        match not_taken {
            NotTaken::Wrong(text) | NotTaken::Busy(text) => text,
        }
    }
}

impl Kitchen {
    pub(crate) fn new(node: &str, step: Duration) -> (Self, Work) {
        let (sender, orders) = mpsc::channel(10_000);
        let node: Arc<str> = node.into();
        let closing = Arc::default();
        let kitchen =
            Self { node: Arc::clone(&node), orders: sender, closing: Arc::clone(&closing) };
        (kitchen, Work { node, step, orders, closing })
    }

    /// The name of the node that this kitchen belongs to.
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// Takes no more orders. Those that it has are worked on to their end.
    pub(crate) fn close(&self) {
        self.closing.notify_one();
    }

    /// Takes an order and returns its id.
    pub(crate) fn place(&self, user: &str, order: &NewOrder) -> Result<String, NotTaken> {
        if order.item.trim().is_empty() || order.quantity == 0 {
            let text = "An order needs an item and a quantity of at least 1.".to_owned();
            return Err(NotTaken::Wrong(text));
        }
        let number = getrandom::u64();
        let number =
            number.map_err(|error| NotTaken::Busy(format!("No order number: {error}.")))?;
        let id = format!("order-{number:016x}");
        let order = Order { id: id.clone(), user: user.to_owned(), due: Instant::now(), taken: 0 };
        match self.orders.try_send(order) {
            Ok(()) => Ok(id),
            Err(_) => {
                let text = "The kitchen is closing or has too many orders; try again in a while.";
                Err(NotTaken::Busy(text.to_owned()))
            }
        }
    }

    /// The group of those who watch an order.
    pub(crate) fn watchers(order_id: &str) -> String {
        format!("watch {order_id}")
    }
}

impl Work {
    /// Works until the kitchen is closed and all its orders are delivered. Every step takes equally long,
    /// so orders stay in line.
    pub(crate) async fn run(mut self, hub: Hub) {
        let mut line: VecDeque<Order> = VecDeque::new();
        let mut open = true;
        while open || !line.is_empty() {
            let due = line.front().map(|order| order.due);
            tokio::select! {
                () = self.closing.notified() => self.orders.close(),
                order = self.orders.recv(), if open => match order {
                    Some(order) => line.push_front(order),
                    None => open = false,
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
