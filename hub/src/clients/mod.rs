//! Whom to send to, and sending.

mod arguments;
mod invoke;
mod send;

use std::sync::Arc;

pub use arguments::Arguments;
pub(crate) use invoke::{Calling, Within};
pub use invoke::{Client, Invoking};
pub use send::{Sending, Sent};

use crate::hub::Shared;

/// Whom to send to: connections of all nodes.
///
/// Empty names and lists address nobody, and sending to nobody succeeds.
#[derive(Debug, Clone)]
pub struct Clients {
    hub: Arc<Shared>,
    trace: Option<Arc<str>>,
    calling: Option<Calling>,
}

/// Connections to send to.
#[derive(Debug, Clone)]
#[must_use = "nothing is sent before send() is awaited, or try_send() called"]
pub struct Target {
    hub: Arc<Shared>,
    trace: Option<Arc<str>>,
    whom: Whom,
    except: Vec<Box<str>>,
}

#[derive(Debug, Clone)]
enum Whom {
    All,
    Connections(Vec<Box<str>>),
    Groups(Vec<Box<str>>),
    Users(Vec<Box<str>>),
}

impl Clients {
    pub(crate) const fn new(
        hub: Arc<Shared>,
        trace: Option<Arc<str>>,
        calling: Option<Calling>,
    ) -> Self {
        Self { hub, trace, calling }
    }

    /// The same, sending on behalf of this W3C `traceparent`.
    #[must_use]
    pub fn trace(self, traceparent: Option<Arc<str>>) -> Self {
        Self { trace: traceparent, ..self }
    }

    /// Every connection of the hub.
    pub fn all(&self) -> Target {
        self.target(Whom::All)
    }

    /// Every connection but these.
    pub fn all_except<S: AsRef<str>>(&self, except: impl IntoIterator<Item = S>) -> Target {
        self.all().except(except)
    }

    /// One connection, which can also be asked for a result.
    pub fn connection(&self, id: &str) -> Client {
        Client::new(self.connections([id]), id, self.calling.clone())
    }

    /// These connections; each once.
    pub fn connections<S: AsRef<str>>(&self, ids: impl IntoIterator<Item = S>) -> Target {
        self.target(Whom::Connections(names(ids)))
    }

    /// The members of a group.
    pub fn group(&self, name: &str) -> Target {
        self.groups([name])
    }

    /// The members of these groups. A connection that is in several gets the message once.
    pub fn groups<S: AsRef<str>>(&self, groups: impl IntoIterator<Item = S>) -> Target {
        self.target(Whom::Groups(names(groups)))
    }

    /// The members of a group but these connections.
    pub fn group_except<S: AsRef<str>>(
        &self,
        name: &str,
        except: impl IntoIterator<Item = S>,
    ) -> Target {
        self.group(name).except(except)
    }

    /// The connections of a user.
    pub fn user(&self, id: &str) -> Target {
        self.users([id])
    }

    /// The connections of these users.
    pub fn users<S: AsRef<str>>(&self, ids: impl IntoIterator<Item = S>) -> Target {
        self.target(Whom::Users(names(ids)))
    }

    fn target(&self, whom: Whom) -> Target {
        Target { hub: Arc::clone(&self.hub), trace: self.trace.clone(), whom, except: Vec::new() }
    }
}

impl Target {
    fn except<S: AsRef<str>>(mut self, except: impl IntoIterator<Item = S>) -> Self {
        self.except = names(except);
        self
    }
}

/// In their order, each once, and without empty ones.
fn names<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Vec<Box<str>> {
    let mut names: Vec<Box<str>> = names
        .into_iter()
        .filter(|name| !name.as_ref().is_empty())
        .map(|name| name.as_ref().into())
        .collect();
    if names.len() > 1 {
        let mut seen = std::collections::HashSet::with_capacity(names.len());
        names.retain(|name| seen.insert(name.clone()));
    }
    names
}
