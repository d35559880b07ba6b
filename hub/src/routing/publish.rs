use std::sync::Arc;

use backplane_core::{Backplane, Envelope, PublishError, Receipt, RouteKind, Ticket, Topic};
use bytes::Bytes;
use futures_util::FutureExt;

use super::{Head, Routing, body};
use crate::SendError;

/// A hub message and where it goes.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) kind: RouteKind,
    pub(crate) names: Vec<Box<str>>,
    /// What clients of each protocol get.
    pub(crate) payloads: Vec<(&'static str, Bytes)>,
    pub(crate) head: Head,
    pub(crate) except: Vec<Box<str>>,
    pub(crate) trace: Option<Arc<str>>,
}

impl Routing {
    /// Hands all of it over, waiting for room, and then waits for the outcomes. Every name is
    /// attempted; the first error is told, or the weakest receipt.
    pub(crate) async fn publish(&self, parcel: Parcel) -> Result<Receipt, SendError> {
        let mut first = Ok(Receipt::Stored);
        let mut tickets = Vec::with_capacity(parcel.names.len());
        for envelope in self.envelopes(&parcel) {
            match offer(&*self.backplane, envelope).await {
                Ok(ticket) => tickets.push(ticket),
                Err(error) => first = first.and(Err(error.into())),
            }
        }
        for ticket in tickets {
            first = match (first, ticket.await) {
                (Ok(weakest), Ok(receipt)) => Ok(receipt.min(weakest)),
                (Ok(_), Err(error)) => Err(error.into()),
                (told, _) => told,
            };
        }
        first
    }

    /// Hands all of it over at once; what is not known yet is left open.
    pub(crate) fn try_publish(&self, parcel: &Parcel) -> Result<(), SendError> {
        let mut first = Ok(());
        for envelope in self.envelopes(parcel) {
            let outcome = match self.backplane.try_publish(envelope) {
                Ok(ticket) => ticket.now_or_never().unwrap_or(Ok(Receipt::Queued)),
                Err(error) => Err(error),
            };
            first = first.and(outcome.map(drop).map_err(SendError::from));
        }
        first
    }

    /// One for each name; all share one body.
    fn envelopes<'a>(&'a self, parcel: &'a Parcel) -> impl Iterator<Item = Envelope> + use<'a> {
        let body = body::encode(&parcel.payloads, parcel.head);
        parcel.names.iter().map(move |name| {
            Envelope::new(Topic::new(&self.hub, parcel.kind, name), body.clone())
                .except(parcel.except.iter().cloned())
                .trace(parcel.trace.clone())
        })
    }
}

/// Publishes as soon as there is room.
pub(super) async fn offer(
    backplane: &dyn Backplane,
    envelope: Envelope,
) -> Result<Ticket, PublishError> {
    let mut envelope = envelope;
    loop {
        match backplane.try_publish(envelope) {
            Err(PublishError::Full(returned)) => {
                backplane.room(&returned).await?;
                envelope = *returned;
            }
            outcome => return outcome,
        }
    }
}
