//! What the backplane loses, told to the application and, if it asks for that, to the clients
//! concerned.

mod events;
mod listener;
mod notices;
mod report;

pub use events::{LinkChange, LinkEvent, Missed};
pub(crate) use listener::Listeners;
pub use listener::{Awaited, Direct, Listener, Listening};
pub use notices::ClientNotices;
pub(crate) use report::{Losses, run};
