//! Who is connected here: connections, and the audiences they form.

mod audience;
mod connections;
mod local;
mod member;
mod message;
mod once;
mod owed;
mod passage;
mod queue;
mod slots;

pub(crate) use audience::{Audience, Audiences};
pub(crate) use connections::Connections;
pub(crate) use local::Local;
pub(crate) use member::{Member, Phase};
pub(crate) use message::Message;
pub(crate) use once::Once;
pub(crate) use owed::{Owed, Unanswered};
pub(crate) use passage::{Held, Mark};
pub use queue::End;
pub(crate) use queue::{Limits, Pushed, Queue};
pub(crate) use slots::{Running, Slot, Yielded};
