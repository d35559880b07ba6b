//! Clients that come back with another WebSocket.

mod client;
mod ending;
mod faults;
mod other_node;
mod rolling;
mod same_node;

use self::client::Stateful;
