use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll},
};

use backplane_hub::{Completion, CompletionError, Connection, End, HubError, Outbound};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    Open,
    calls::{self, Call, Kind},
    clock::{Clock, Due},
    ending::{Ending, Fault},
    inbox::Inbox,
};
use crate::{
    Options, json,
    message::{Invocation, Message, Outcome},
    websocket::{Over, Socket, Turn},
};

/// The most messages that are taken from the queue at once.
const BATCH: usize = 64;

/// Serves the client until there is a reason to end. Calls may still run then.
pub(super) async fn serve(
    open: &mut Open,
    running: &mut FuturesUnordered<Call>,
    options: &Options,
) -> Ending {
    let connection = &open.connection;
    let mut clock = Clock::new(options, Instant::now());
    if open.socket.is_writing() {
        clock.write_begins(Instant::now());
    }
    let mut session = Session {
        options,
        socket: &mut open.socket,
        inbox: &mut open.inbox,
        connection,
        outbound: &mut open.outbound,
        starting: Some(connection.connected().boxed()),
        running,
        waiting: None,
        clock,
        batch: Vec::new(),
    };
    let ending = session.until_end().await;
    if let Some(starting) = session.starting
        && let Err(error) = starting.await
    {
        tracing::debug!(%error, "on_connected failed after the connection had ended");
    }
    ending
}

/// A connection that is open, and all that goes on with it.
///
/// What is read, called and written is polled side by side, each once per wake, so that nothing keeps
/// anything else from its turn.
struct Session<'a> {
    options: &'a Options,
    socket: &'a mut Socket,
    inbox: &'a mut Inbox,
    connection: &'a Connection,
    outbound: &'a mut Outbound,
    /// `on_connected`, before which nothing is called.
    starting: Option<BoxFuture<'a, Result<(), HubError>>>,
    /// The calls that run.
    running: &'a mut FuturesUnordered<Call>,
    /// The call that has no place among those yet: nothing behind it is looked at.
    waiting: Option<Box<(Invocation, Kind)>>,
    clock: Clock,
    batch: Vec<Bytes>,
}

/// What happened in one wake.
#[derive(Default)]
struct Wake {
    end: Option<End>,
    started: Option<Result<(), HubError>>,
    answer: Option<Bytes>,
    called: bool,
    turn: Option<Turn>,
    due: bool,
    /// The call that waits can run.
    place: bool,
}

impl Session<'_> {
    async fn until_end(&mut self) -> Ending {
        let connection = self.connection;
        let mut ended = pin!(connection.ended());
        let mut timer = pin!(sleep_until(self.clock.next(false)));
        loop {
            if let Some(ending) = self.dispatch() {
                return ending;
            }
            let next = self.clock.next(self.listens());
            if next < timer.deadline() {
                timer.as_mut().reset(next);
            }
            let wake = poll_fn(|context| self.poll(context, ended.as_mut(), timer.as_mut())).await;
            if let Some(ending) = self.handle(wake, timer.as_mut()) {
                return ending;
            }
        }
    }

    /// Whether more may come from the client.
    fn listens(&self) -> bool {
        self.starting.is_none() && self.waiting.is_none()
    }

    /// Polls everything once, and starts to write what is queued.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        ended: Pin<&mut impl Future<Output = End>>,
        timer: Pin<&mut Sleep>,
    ) -> Poll<Wake> {
        let mut wake = Wake::default();
        if let Poll::Ready(end) = ended.poll(context) {
            wake.end = Some(end);
            return Poll::Ready(wake);
        }
        if let Some(starting) = &mut self.starting
            && let Poll::Ready(outcome) = starting.as_mut().poll(context)
        {
            wake.started = Some(outcome);
        }
        if let Poll::Ready(Some(answer)) = self.running.poll_next_unpin(context) {
            wake.answer = answer;
            wake.called = true;
        }
        // Again if nothing of it can be written, or nothing wakes this when more comes.
        while !self.socket.is_writing() && self.poll_outbound(context).is_ready() {
            self.socket.send(&mut self.batch);
            if self.socket.is_writing() {
                self.clock.write_begins(Instant::now());
            }
        }
        if let Poll::Ready(turn) = self.socket.poll_turn(context, self.listens()) {
            wake.turn = Some(turn);
        }
        wake.due = timer.poll(context).is_ready();
        // A call that waits for what a client answers gives its place away.
        wake.place = self.waiting.is_some() && {
            let given_away = self.connection.poll_waiting_calls(context);
            self.has_place(given_away)
        };
        let happened =
            wake.started.is_some() || wake.called || wake.turn.is_some() || wake.due || wake.place;
        if happened { Poll::Ready(wake) } else { Poll::Pending }
    }

    fn poll_outbound(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // Nothing more comes only when the connection ends, which is told otherwise.
        match pin!(self.outbound.receive(&mut self.batch, BATCH)).poll(context) {
            Poll::Ready(1..) => Poll::Ready(()),
            Poll::Ready(0) | Poll::Pending => Poll::Pending,
        }
    }

    fn handle(&mut self, wake: Wake, timer: Pin<&mut Sleep>) -> Option<Ending> {
        if let Some(end) = wake.end {
            return Some(Ending::Hub(end));
        }
        let now = Instant::now();
        match wake.started {
            Some(Ok(())) => {
                self.starting = None;
                self.clock.heard(now);
            }
            Some(Err(error)) => {
                self.starting = None;
                return Some(Ending::Refused(error));
            }
            None => {}
        }
        if let Some(answer) = wake.answer {
            self.connection.reply(answer);
        }
        match wake.turn {
            Some(Turn::Read(piece)) => {
                self.clock.heard(now);
                self.inbox.push(piece);
            }
            Some(Turn::Over(over)) => return Some(self.over(over)),
            Some(Turn::Written) | None => {}
        }
        if !self.socket.is_writing() && self.clock.is_writing() {
            self.clock.write_ends(now);
        }
        if wake.due {
            match self.clock.due(now, self.listens()) {
                Some(Due::ClientTimeout) => return Some(Ending::Fault(Fault::Timeout)),
                Some(Due::SendTimeout) => return Some(Ending::SendTimeout),
                Some(Due::Ping) => {
                    self.socket.send_one(json::PING.clone());
                    self.clock.write_begins(now);
                }
                None => {}
            }
            timer.reset(self.clock.next(self.listens()));
        }
        None
    }

    fn over(&self, over: Over) -> Ending {
        match over {
            Over::Closed if self.inbox.is_cut_off() => Ending::Fault(Fault::CutOff),
            Over::Closed => Ending::HungUp,
            Over::Malformed(error) => Ending::Fault(Fault::Frame(error)),
            Over::Lost(error) => Ending::Lost(error),
        }
    }

    /// Takes whole messages from the inbox for as long as there is place for calls.
    fn dispatch(&mut self) -> Option<Ending> {
        if self.starting.is_some() {
            return None;
        }
        if let Some(waiting) = self.waiting.take() {
            let (waiting, kind) = *waiting;
            self.call(waiting, kind);
            if self.listens() {
                self.clock.heard(Instant::now());
            }
        }
        while self.listens() {
            let record = match self.inbox.next() {
                Ok(Some(record)) => record,
                Ok(None) => return None,
                Err(_) => {
                    let limit = self.options.largest_message;
                    return Some(Ending::Fault(Fault::TooLarge { limit }));
                }
            };
            match json::parse(&record) {
                Ok(Some(message)) => {
                    if let Some(ending) = self.receive(message) {
                        return Some(ending);
                    }
                }
                Ok(None) => {}
                Err(error) => return Some(Ending::Fault(error.into())),
            }
        }
        None
    }

    fn receive(&mut self, message: Message) -> Option<Ending> {
        match message {
            Message::Invocation(invocation) if invocation.streams.is_empty() => {
                self.call(invocation, Kind::Plain);
            }
            Message::Invocation(invocation) => self.call(invocation, Kind::Uploads),
            Message::StreamInvocation(invocation) => self.call(invocation, Kind::Stream),
            Message::Ping => self.clock.pinged(),
            Message::Close { error, .. } => return Some(Ending::Left { error }),
            Message::Completion { id, outcome } => self.completed(&id, outcome),
            // They refer to streams and calls that are not there: they may have just ended.
            Message::StreamItem { .. }
            | Message::CancelInvocation { .. }
            | Message::Ack { .. }
            | Message::Sequence { .. } => {}
        }
        None
    }

    /// What the client answers to a call of its methods.
    fn completed(&self, id: &str, outcome: Outcome) {
        let completion = match outcome {
            Outcome::Result(result) => Completion::Result(result),
            Outcome::Error(text) => Completion::Error(text),
            Outcome::Nothing => Completion::Nothing,
        };
        match self.connection.completed(id, completion) {
            Ok(()) => {}
            Err(error @ CompletionError::WrongConnection { .. }) => {
                tracing::warn!(%error, "ignored a client's result");
            }
            Err(error) => tracing::debug!(%error, "ignored a client's result"),
        }
    }

    /// Whether another call can run. Those that wait for what a client answers don't count, as nothing
    /// could be read meanwhile.
    fn has_place(&self, given_away: usize) -> bool {
        let running = self.running.len().saturating_sub(given_away);
        running < self.options.parallel_invocations.get()
    }

    fn call(&mut self, invocation: Invocation, kind: Kind) {
        if self.has_place(self.connection.waiting_calls()) {
            let detailed = self.options.detailed_errors;
            self.running.push(calls::start(self.connection, invocation, kind, detailed));
        } else {
            self.waiting = Some(Box::new((invocation, kind)));
        }
    }
}
