//! Who an open connection belongs to: always the same user, whose credentials expire and are renewed.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
    time::{Duration, SystemTime},
};

use backplane_hub::{Hub, RefreshError, User};
use tokio::time::Instant;

use crate::Identity;

/// What the requests of one connection share with its session.
#[derive(Debug)]
pub(crate) struct Standing(Mutex<State>);

#[derive(Debug)]
struct State {
    identity: Identity,
    /// When the credentials expire, by the clock of timers.
    until: Option<Instant>,
    /// That has changed, and the session does not know yet.
    renewed: bool,
    /// Of a session that waits for that time.
    session: Option<Waker>,
}

/// As good as never.
const NEVER: Duration = Duration::from_secs(86_400 * 365 * 30);

impl Standing {
    pub(crate) fn new(identity: Identity) -> Self {
        let until = until(&identity);
        Self(Mutex::new(State { identity, until, renewed: false, session: None }))
    }

    pub(crate) fn user(&self) -> User {
        self.state().identity.user.clone()
    }

    /// When the credentials expire.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.state().until
    }

    /// Whether [`until`](Self::until) has changed since it was asked last. If it does later, the
    /// session is woken.
    pub(crate) fn poll_renewed(&self, context: &Context<'_>) -> bool {
        let mut state = self.state();
        match &mut state.session {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        std::mem::take(&mut state.renewed)
    }

    /// Takes these credentials in place of those that there are. The connection may not be open yet.
    pub(crate) fn renew(
        &self,
        hub: &Hub,
        connection: &str,
        identity: Identity,
    ) -> Result<(), RefreshError> {
        self.state().renew(hub, connection, identity)
    }

    /// The same if they are fresher: requests may overtake each other.
    pub(crate) fn renew_if_fresher(
        &self,
        hub: &Hub,
        connection: &str,
        identity: Identity,
    ) -> Result<(), RefreshError> {
        let mut state = self.state();
        if identity.is_fresher_than(&state.identity) {
            state.renew(hub, connection, identity)
        } else {
            Ok(())
        }
    }

    /// The connection is open now: what was renewed meanwhile counts.
    pub(crate) fn opened(&self, hub: &Hub, connection: &str) {
        let state = self.state();
        if state.renewed
            && let Err(error) = hub.refresh(connection, state.identity.user.clone())
        {
            tracing::debug!(%error, "the claims are those that the connection began with");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// With the lock held, so that the hub is told last what stands here last.
    fn renew(
        &mut self,
        hub: &Hub,
        connection: &str,
        identity: Identity,
    ) -> Result<(), RefreshError> {
        match hub.refresh(connection, identity.user.clone()) {
            // It opens with what stands here.
            Ok(()) | Err(RefreshError::Unknown) => {}
            Err(error) => return Err(error),
        }
        self.until = until(&identity);
        self.identity = identity;
        self.renewed = true;
        if let Some(session) = self.session.take() {
            session.wake();
        }
        Ok(())
    }
}

fn until(identity: &Identity) -> Option<Instant> {
    let remaining = identity.remaining(SystemTime::now())?;
    Some(Instant::now() + remaining.min(NEVER))
}
