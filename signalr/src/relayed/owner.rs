use std::{sync::Arc, time::Duration};

use backplane_hub::{Hub, NodeId, Relay, RelayAnswer, RelayRequest};
use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{BoxFuture, ready},
};

use super::{
    POLL_PIECE,
    letter::{Errand, Reason, Verdict},
    piece,
};
use crate::{
    Transport,
    polled::{Loan, Polled, PolledConnection},
    refusal::Refusal,
    stateful::{Frozen, Preview, Seat},
    table::{Local, Table},
};

/// A node's connections, as other nodes ask for them.
#[derive(Debug)]
pub(crate) struct Owner {
    table: Arc<Table>,
    poll_timeout: Duration,
    /// The largest piece of what a poll fetches.
    piece: usize,
}

impl Owner {
    pub(crate) fn new(hub: &Hub, table: &Arc<Table>, poll_timeout: Duration) -> Self {
        Self { table: Arc::clone(table), poll_timeout, piece: piece(hub, POLL_PIECE) }
    }

    /// Waits for something to tell the client, and lends it.
    fn poll(&self, connection: Arc<PolledConnection>) -> BoxFuture<'static, RelayAnswer> {
        let (longest, piece) = (self.poll_timeout, self.piece);
        Box::pin(async move {
            match connection.poll_on_loan(longest).await {
                Polled::Messages(loan) => lend(loan, piece),
                Polled::Nothing => answer(&Verdict::Nothing),
                Polled::Superseded | Polled::Over => answer(&Verdict::Over),
            }
        })
    }

    fn rest(&self, batch: Option<Bytes>, offset: u64) -> Verdict {
        let rest = usize::try_from(offset).ok().zip(batch);
        let rest = rest.and_then(|(offset, batch)| {
            let end = batch.len().min(offset.saturating_add(self.piece));
            (offset < end).then(|| batch.slice(offset..end))
        });
        rest.map_or(Verdict::Refused(Reason::Unknown), Verdict::Piece)
    }
}

impl Relay for Owner {
    fn relay(&self, request: RelayRequest) -> Option<BoxFuture<'static, RelayAnswer>> {
        let local = self.table.find(&request.connection)?;
        let errand = match Errand::decode(request.body) {
            Ok(errand) => errand,
            Err(error) => {
                tracing::warn!(from = %request.from, %error, "a request cannot be served");
                // That says as much to the node that asks.
                return Some(ready(RelayAnswer::new(Bytes::new())).boxed());
            }
        };
        Some(match (errand, local) {
            (Errand::Post(bytes), Local::Polled(connection)) => post(connection, bytes),
            (Errand::Post(_), Local::WebSocket(_)) => said(&Verdict::Refused(Reason::NoPost)),
            (Errand::Poll(identity), Local::Polled(connection))
                if connection.transport() == Transport::LongPolling =>
            {
                self.table.renew_if_fresher(&request.hub, &request.connection, identity);
                self.poll(connection)
            }
            (Errand::Poll(_), local) => said(&begun(&local, Transport::LongPolling)),
            (Errand::Rest { loan, offset }, Local::Polled(connection)) => {
                said(&self.rest(connection.loan(loan), offset))
            }
            (Errand::Rest { offset, .. }, Local::WebSocket(seat)) => {
                said(&self.rest(seat.and_then(|seat| seat.luggage()), offset))
            }
            (Errand::Delete, _) => said(&match self.table.delete(&request.connection) {
                Ok(()) => Verdict::Done,
                Err(refusal) => refused(&refusal),
            }),
            (Errand::Begin(transport), local) => said(&begun(&local, transport)),
            (Errand::Renew(identity), _) => {
                let renewed = self.table.renew(&request.hub, &request.connection, identity);
                said(&renewed.map_or(Verdict::Refused(Reason::Unknown), |()| Verdict::Done))
            }
            (errand, local) => match local.seat() {
                Some(seat) => self.moves(Arc::clone(seat), errand, request.from),
                None => said(&begun(&local, Transport::WebSockets)),
            },
        })
    }

    fn drain(&self) {
        self.table.drain();
    }
}

impl Owner {
    /// What a session is told that moves.
    fn moves(
        &self,
        seat: Arc<Seat>,
        errand: Errand,
        from: NodeId,
    ) -> BoxFuture<'static, RelayAnswer> {
        let piece = self.piece;
        Box::pin(async move {
            match errand {
                Errand::Late(bytes) => {
                    let Some(arrivals) = seat.arrivals() else {
                        return answer(&Verdict::Refused(Reason::Unknown));
                    };
                    answer(&match arrivals.take(bytes).await {
                        Ok(()) => Verdict::Done,
                        Err(_) => Verdict::Refused(Reason::Unknown),
                    })
                }
                Errand::Abort => {
                    seat.arrivals().into_iter().for_each(|it| it.abort());
                    answer(&Verdict::Done)
                }
                Errand::Take => match seat.depart(from).await {
                    Some(frozen) => hand_over(frozen, piece),
                    None => answer(&Verdict::Refused(Reason::Moved)),
                },
                _ => answer(&match seat.preview().await {
                    Some(Preview { codec, groups }) => Verdict::Preview { codec, groups },
                    None => Verdict::Refused(Reason::Moved),
                }),
            }
        })
    }
}

/// The session stays until it is said that the other node has it.
fn hand_over(frozen: Frozen, piece: usize) -> RelayAnswer {
    let Frozen { luggage, settle } = frozen;
    let first = luggage.slice(..luggage.len().min(piece));
    let verdict = Verdict::Batch { loan: 0, size: luggage.len() as u64, piece: first };
    answer(&verdict).when_settled(move |taken| {
        // The session may have ended meanwhile.
        let _ = settle.send(taken);
    })
}

/// Takes what a client has sent.
fn post(connection: Arc<PolledConnection>, bytes: Bytes) -> BoxFuture<'static, RelayAnswer> {
    Box::pin(async move {
        answer(&match connection.put(bytes).await {
            Ok(()) => Verdict::Done,
            Err(_) => Verdict::Refused(Reason::Unknown),
        })
    })
}

fn lend(loan: Loan, piece: usize) -> RelayAnswer {
    let batch = loan.batch();
    let first = batch.slice(..batch.len().min(piece));
    let verdict = Verdict::Batch { loan: loan.number(), size: batch.len() as u64, piece: first };
    answer(&verdict).when_settled(move |written| {
        if written {
            loan.keep();
        }
    })
}

fn begun(local: &Local, transport: Transport) -> Verdict {
    refused(&local.begun(transport))
}

fn refused(refusal: &Refusal) -> Verdict {
    Verdict::Refused(match refusal {
        Refusal::Begun => Reason::Begun,
        Refusal::OtherTransport => Reason::OtherTransport,
        Refusal::NoPost => Reason::NoPost,
        Refusal::NoDelete => Reason::NoDelete,
        _ => Reason::Unknown,
    })
}

fn said(verdict: &Verdict) -> BoxFuture<'static, RelayAnswer> {
    ready(answer(verdict)).boxed()
}

fn answer(verdict: &Verdict) -> RelayAnswer {
    RelayAnswer::new(verdict.encode())
}
