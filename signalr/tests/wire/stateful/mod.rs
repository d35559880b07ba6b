//! Clients that come back with another WebSocket.

mod client;
mod other_node;
mod rolling;
mod same_node;

use self::client::Stateful;
