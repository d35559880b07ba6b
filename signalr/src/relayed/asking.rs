//! The side of the node that a request has landed on.

use axum::{body::Body, response::Response};
use backplane_hub::{NodeId, RelayError, Relayed};
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;

use super::{
    POLL_PIECE, POST_PIECE,
    letter::{Errand, Reason, Verdict},
    noted::Noted,
    piece,
};
use crate::{
    Identity, Transport,
    endpoint::Endpoint,
    polled::{Polled, PostError},
    refusal::Refusal,
    requests::{answer, messages},
    token::Ticket,
};

impl Endpoint {
    /// Has the owner take what a client sends, piece by piece. Where several requests of one client
    /// come at the same time, those that are larger than a piece are not kept together.
    ///
    /// Cancelling it leaves with the owner what has gone off so far.
    pub(crate) async fn post_elsewhere(&self, ticket: &Ticket, body: Body) -> Result<(), Refusal> {
        let largest = piece(&self.hub, POST_PIECE);
        let mut body = body.into_data_stream();
        let mut come = BytesMut::new();
        loop {
            let mut ended = false;
            while come.len() <= largest && !ended {
                match body.try_next().await.map_err(|error| self.broken(&PostError::Body(error)))? {
                    Some(more) => come.extend_from_slice(&more),
                    None => ended = true,
                }
            }
            let last = ended && come.len() <= largest;
            let next = come.split_to(come.len().min(largest)).freeze();
            match self.ask(ticket, Errand::Post(next)).await? {
                (Verdict::Done, relayed) => drop(relayed.into_body()),
                _ => return Err(self.unfit()),
            }
            if last {
                return Ok(());
            }
        }
    }

    /// Waits with the owner for something to tell the client. It takes the credentials of the request if
    /// they are fresher than what it has, and can travel at once.
    ///
    /// Cancelling it loses nothing: what was lent is for the next poll.
    pub(crate) async fn poll_elsewhere(
        &self,
        ticket: &Ticket,
        identity: Option<Identity>,
    ) -> Result<Response, Refusal> {
        let mut errand = Errand::Poll(identity);
        if errand.encode().len() > piece(&self.hub, POLL_PIECE) {
            tracing::debug!(hub = self.hub.name(), "credentials too large for the backplane");
            errand = Errand::Poll(None);
        }
        let (verdict, relayed) = self.ask(ticket, errand).await?;
        let (loan, size, piece) = match verdict {
            Verdict::Nothing => return Ok(answer(Polled::Nothing)),
            Verdict::Over => return Ok(answer(Polled::Over)),
            Verdict::Batch { loan, size, piece } => (loan, size, piece),
            _ => return Err(self.unfit()),
        };
        let batch = if piece.len() as u64 == size {
            piece
        } else {
            self.whole(ticket, loan, size, piece).await?
        };
        Ok(messages(Body::new(Noted::new(batch, relayed))))
    }

    /// Fetches what there is beyond the first piece.
    pub(super) async fn whole(
        &self,
        ticket: &Ticket,
        loan: u64,
        size: u64,
        first: Bytes,
    ) -> Result<Bytes, Refusal> {
        let mut batch = BytesMut::from(&first[..]);
        while (batch.len() as u64) < size {
            let offset = batch.len() as u64;
            match self.ask(ticket, Errand::Rest { loan, offset }).await? {
                (Verdict::Piece(piece), relayed) if !piece.is_empty() => {
                    batch.extend_from_slice(&piece);
                    drop(relayed.into_body());
                }
                _ => return Err(self.unfit()),
            }
        }
        Ok(batch.freeze())
    }

    /// Has the owner end a connection.
    pub(crate) async fn delete_elsewhere(&self, ticket: &Ticket) -> Result<(), Refusal> {
        match self.ask(ticket, Errand::Delete).await? {
            (Verdict::Done, relayed) => {
                drop(relayed.into_body());
                self.owners.forget(&ticket.id);
                Ok(())
            }
            _ => Err(self.unfit()),
        }
    }

    /// Has the owner take these credentials in place of those that the connection has.
    pub(crate) async fn renew_elsewhere(
        &self,
        ticket: &Ticket,
        identity: Identity,
    ) -> Result<(), Refusal> {
        match self.ask(ticket, Errand::Renew(identity)).await? {
            (Verdict::Done, relayed) => {
                drop(relayed.into_body());
                Ok(())
            }
            _ => Err(self.unfit()),
        }
    }

    /// Why a connection that is not granted does not begin: its owner knows.
    pub(crate) async fn begun_elsewhere(&self, ticket: &Ticket, transport: Transport) -> Refusal {
        match self.ask(ticket, Errand::Begin(transport)).await {
            Ok(_) => self.unfit(),
            Err(refusal) => refusal,
        }
    }

    /// Asks the node that has the connection.
    pub(super) async fn ask(
        &self,
        ticket: &Ticket,
        errand: Errand,
    ) -> Result<(Verdict, Relayed), Refusal> {
        self.ask_by(ticket, ticket.registrar, errand).await
    }

    /// The same, by way of this node where it is not known which one that is. By way of itself the
    /// connection is looked for by its id.
    pub(super) async fn ask_by(
        &self,
        ticket: &Ticket,
        way: NodeId,
        errand: Errand,
    ) -> Result<(Verdict, Relayed), Refusal> {
        let via = self.owners.find(&ticket.id).unwrap_or(way);
        let error = match self.hub.relay(&ticket.id, via, errand.encode()).await {
            Ok(relayed) => {
                let Ok(verdict) = Verdict::decode(relayed.body().clone()) else {
                    return Err(Refusal::Unavailable);
                };
                let owner = relayed.owner();
                return match verdict {
                    Verdict::Refused(reason) => {
                        drop(relayed.into_body());
                        Err(reason.into())
                    }
                    verdict => {
                        self.owners.note(&ticket.id, owner);
                        Ok((verdict, relayed))
                    }
                };
            }
            Err(error) => error,
        };
        tracing::debug!(hub = self.hub.name(), %error, "did not relay a request");
        Err(match error {
            RelayError::NotFound | RelayError::Ended | RelayError::NodeGone => {
                self.owners.forget(&ticket.id);
                Refusal::Unknown
            }
            _ => Refusal::Unavailable,
        })
    }

    /// The owner answers something else than it was asked.
    pub(super) fn unfit(&self) -> Refusal {
        tracing::warn!(hub = self.hub.name(), "another node's answer does not fit the request");
        Refusal::Unavailable
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Unknown => Self::Unknown,
            Reason::Begun => Self::Begun,
            Reason::OtherTransport => Self::OtherTransport,
            Reason::NoPost => Self::NoPost,
            Reason::NoDelete => Self::NoDelete,
            Reason::Moved => Self::Moved,
        }
    }
}
