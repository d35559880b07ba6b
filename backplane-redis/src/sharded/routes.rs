//! Which master owns which slot, by what the masters say themselves.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use super::{master::Master, slot::SLOTS, view::View};

/// Slot → master.
pub(super) struct Routes {
    /// Counts the changes.
    pub(super) version: u64,
    pub(super) masters: Vec<Arc<Master>>,
    /// By slot, the place in `masters`.
    owners: Vec<u16>,
}

impl Routes {
    /// A master owns a slot if it says so itself, and no other says so with a newer epoch. What others say of
    /// it may be old, and so may be what is said by one that the others have replaced.
    ///
    /// Masters that own nothing are left out. Where a slot has no owner there are no routes: the first such
    /// slot is the error.
    pub(super) fn new(version: u64, views: &[(Arc<Master>, View)]) -> Result<Self, usize> {
        let mut claims: Vec<Option<usize>> = vec![None; SLOTS];
        for (number, (_, view)) in views.iter().enumerate() {
            for range in view.ranges.iter().filter(|range| range.own) {
                let slots = claims.get_mut(range.first.into()..=range.last.into());
                for claim in slots.into_iter().flatten() {
                    if claim.is_none_or(|other| views[other].1.epochs.own < view.epochs.own) {
                        *claim = Some(number);
                    }
                }
            }
        }
        let mut masters = Vec::new();
        let mut places = vec![None; views.len()];
        let mut owners = Vec::with_capacity(SLOTS);
        for (slot, claim) in claims.into_iter().enumerate() {
            let number = claim.ok_or(slot)?;
            owners.push(*places[number].get_or_insert_with(|| {
                masters.push(Arc::clone(&views[number].0));
                // There are no more masters than slots.
                (masters.len() - 1) as u16
            }));
        }
        Ok(Self { version, masters, owners })
    }

    pub(super) fn owner(&self, slot: u16) -> &Arc<Master> {
        &self.masters[usize::from(self.owners[usize::from(slot)])]
    }
}

/// What publishing and subscribing have in common: the routes of now.
#[derive(Debug)]
pub(super) struct Shared {
    routes: RwLock<Arc<Routes>>,
}

impl Shared {
    pub(super) fn new(routes: Routes) -> Self {
        Self { routes: RwLock::new(Arc::new(routes)) }
    }

    pub(super) fn routes(&self) -> Arc<Routes> {
        Arc::clone(&self.routes.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn replace(&self, routes: Routes) {
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(routes);
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let masters: Vec<_> = self.masters.iter().map(|it| it.address.to_string()).collect();
        f.debug_struct("Routes").field("version", &self.version).field("masters", &masters).finish()
    }
}
