//! Clients that come back with another WebSocket.

mod client;
mod same_node;

use self::client::Stateful;
