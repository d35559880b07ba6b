use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use backplane_hub::{Completion, CompletionError, Connection, End, HubError, Outbound};
use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    Open, Starting,
    calls::{Answers, Single},
    clock::{Clock, Due},
    ending::{Ending, Fault},
    inbox::Inbox,
    running::Running,
};
use crate::{
    Options,
    carrier::{Carrier, Over, Turn},
    codec::Codec,
    message::{Invocation, Message, Outcome},
    standing::Standing,
    stateful::{Departure, Preview, Stateful, Visit},
    websocket::{GOING_AWAY, NORMAL, Socket},
};

/// The most messages that are taken from the queue at once.
const BATCH: usize = 64;

/// Why a session is served no longer.
pub(super) enum Stop {
    End(Ending),
    /// The client is to come back on another node.
    LetGo,
    /// Another node takes the session.
    HandOver(Departure),
}

/// Serves the client until there is a reason to stop. Calls may still run then.
pub(super) async fn serve(open: &mut Open, running: &mut Running, options: &Options) -> Stop {
    let connection = &open.connection;
    let expires = options.close_on_authentication_expiration;
    let mut clock = Clock::new(options, open.socket.transport(), Instant::now());
    if matches!(open.socket, Carrier::Away) {
        clock.leaves(Instant::now(), options.disconnect_timeout);
    } else if open.socket.is_writing() {
        clock.write_begins(Instant::now());
    }
    let mut session = Session {
        options,
        codec: open.codec,
        socket: &mut open.socket,
        inbox: &mut open.inbox,
        connection,
        outbound: &mut open.outbound,
        starting: &mut open.starting,
        running,
        waiting: &mut open.waiting,
        clock,
        standing: open.standing.as_deref().filter(|_| expires),
        stateful: open.stateful.as_deref_mut(),
        broken: None,
        left: None,
        pause: None,
        batch: Vec::new(),
    };
    let ending = session.until_stop().await;
    let (left, pause) = (session.left, session.pause);
    if let Some(left) = left {
        // To be let go as any other.
        open.socket = left.socket;
    }
    match (ending, pause) {
        (None, Some(pause)) => pause,
        (ending, _) => Stop::End(ending.unwrap_or(Ending::HungUp)),
    }
}

/// A connection that is open, and all that goes on with it.
///
/// What is read, called and written is polled side by side, each once per wake, so that nothing keeps
/// anything else from its turn.
struct Session<'a> {
    options: &'a Options,
    codec: Codec,
    socket: &'a mut Carrier,
    inbox: &'a mut Inbox,
    connection: &'a Connection,
    outbound: &'a mut Outbound,
    /// `on_connected`, before which nothing is called.
    starting: &'a mut Option<Starting>,
    running: &'a mut Running,
    /// What has no place yet: nothing behind it is looked at.
    waiting: &'a mut Option<Box<Waiting>>,
    clock: Clock,
    /// Where it ends with the credentials of its user.
    standing: Option<&'a Standing>,
    /// Where the client may come back.
    stateful: Option<&'a mut Stateful>,
    /// Why it is not there, while it is away.
    broken: Option<Ending>,
    /// Once it has gone for good, while what it has sent before has its turn.
    left: Option<Box<Left>>,
    /// What is to be done before the session goes on.
    pause: Option<Stop>,
    batch: Vec<Bytes>,
}

/// A client that has gone.
struct Left {
    socket: Carrier,
    over: Over,
}

/// A message that waits for its place.
pub(super) enum Waiting {
    /// Among the calls that run.
    Call(Single),
    /// Among the items of a stream that were not read yet.
    Item { id: Box<str>, item: Bytes },
}

impl Waiting {
    /// What another node begins in its place. A stream that the client sends does not move.
    pub(super) fn write(&self, codec: Codec) -> Option<Bytes> {
        match self {
            Self::Call(call) => Some(codec.write(&call.message())),
            Self::Item { .. } => None,
        }
    }
}

/// What happened in one wake.
#[derive(Default)]
struct Wake {
    end: Option<End>,
    started: Option<Result<(), HubError>>,
    answer: Option<Bytes>,
    called: bool,
    /// An item that waited has its place.
    placed: bool,
    turn: Option<Turn>,
    /// Somebody has come for the session.
    visit: Option<Visit>,
    due: bool,
    /// The credentials expire at another time than was known.
    renewed: bool,
    /// The call that waits can run.
    place: bool,
}

impl Session<'_> {
    /// Until it ends with something, or is to pause.
    async fn until_stop(&mut self) -> Option<Ending> {
        let connection = self.connection;
        let mut ended = pin!(connection.ended());
        let mut timer = pin!(sleep_until(self.next()));
        loop {
            if let Some(ending) = self.dispatch().or_else(|| self.has_left()) {
                return Some(ending);
            }
            let next = self.next();
            if next < timer.deadline() {
                timer.as_mut().reset(next);
            }
            let wake = poll_fn(|context| self.poll(context, ended.as_mut(), timer.as_mut())).await;
            if let Some(ending) = self.handle(wake, timer.as_mut()) {
                return Some(ending);
            }
            if self.pause.is_some() {
                return None;
            }
        }
    }

    /// Whether more may come from the client.
    fn listens(&self) -> bool {
        self.starting.is_none() && self.waiting.is_none()
    }

    /// Whether more is read: also a little ahead, without which the client's end would not be seen.
    fn reads(&self) -> bool {
        self.listens() || (self.socket.ends_in_line() && self.inbox.has_room())
    }

    /// When something may be due at the earliest.
    fn next(&self) -> Instant {
        let next = self.clock.next(self.listens());
        let more = [self.expires(), self.acknowledges()];
        more.into_iter().flatten().fold(next, Instant::min)
    }

    /// When the client is to be told what has come.
    fn acknowledges(&self) -> Option<Instant> {
        let writable = self.stateful.as_ref().filter(|_| !self.socket.is_writing());
        writable.and_then(|it| it.buffer.acknowledge_at())
    }

    fn expires(&self) -> Option<Instant> {
        self.standing?.until()
    }

    /// Polls everything once, and starts to write what is queued.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        ended: Pin<&mut impl Future<Output = End>>,
        timer: Pin<&mut Sleep>,
    ) -> Poll<Wake> {
        let mut wake = Wake::default();
        // One that has left is ended already.
        if self.left.is_none()
            && let Poll::Ready(end) = ended.poll(context)
        {
            wake.end = Some(end);
            return Poll::Ready(wake);
        }
        if let Some(starting) = self.starting
            && let Poll::Ready(outcome) = starting.as_mut().poll(context)
        {
            wake.started = Some(outcome);
        }
        if let Poll::Ready(answer) = self.running.poll_answer(context) {
            wake.answer = answer;
            wake.called = true;
        }
        if let Some(Waiting::Item { id, item }) = self.waiting.as_deref() {
            wake.placed = self.running.streams.poll_item(context, id, item).is_ready();
        }
        self.acknowledge();
        // Again if nothing of it can be written, or nothing wakes this when more comes.
        while !self.socket.is_writing() && self.poll_outbound(context).is_ready() {
            self.socket.send(&mut self.batch);
            if self.socket.is_writing() {
                self.clock.write_begins(Instant::now());
            }
        }
        if let Poll::Ready(turn) = self.socket.poll_turn(context, self.reads()) {
            wake.turn = Some(turn);
        }
        let (moves, here) = (self.starting.is_none(), !matches!(self.socket, Carrier::Away));
        if let Some(stateful) = self.stateful.as_ref().filter(|_| self.left.is_none())
            && let Poll::Ready(visit) = stateful.seat.poll_visit(context, moves, here)
        {
            wake.visit = Some(visit);
        }
        wake.renewed = self.standing.is_some_and(|it| it.poll_renewed(context));
        wake.due = timer.poll(context).is_ready();
        // A call that waits for what a client answers gives its place away.
        wake.place = matches!(self.waiting.as_deref(), Some(Waiting::Call(_))) && {
            let given_away = self.connection.poll_waiting_calls(context);
            self.has_place(given_away)
        };
        let happened = wake.started.is_some()
            || wake.called
            || wake.placed
            || wake.turn.is_some()
            || wake.visit.is_some()
            || wake.due
            || wake.renewed
            || wake.place;
        if happened { Poll::Ready(wake) } else { Poll::Pending }
    }

    /// Tells the client what has come, if it is time. Whatever else happens goes on meanwhile.
    fn acknowledge(&mut self) {
        if self.acknowledges().is_none() {
            return;
        }
        let now = Instant::now();
        if let Some(stateful) = &mut self.stateful
            && let Some(acknowledgement) = stateful.buffer.acknowledgement(now)
        {
            self.socket.send_one(self.codec.write(&acknowledgement));
            self.clock.write_begins(now);
        }
    }

    fn poll_outbound(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(stateful) = &mut self.stateful {
            return stateful.poll_outbound(context, self.outbound, &mut self.batch, BATCH);
        }
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
                *self.starting = None;
                self.clock.heard(now);
            }
            Some(Err(error)) => {
                *self.starting = None;
                return Some(Ending::Refused(error));
            }
            None => {}
        }
        if let Some(answer) = wake.answer {
            self.connection.reply(answer);
        }
        if wake.placed {
            *self.waiting = None;
            self.clock.heard(now);
        }
        match wake.turn {
            Some(Turn::Read(piece)) => {
                self.clock.heard(now);
                self.inbox.push(piece);
            }
            Some(Turn::Over(over)) => {
                let goes = matches!(over, Over::Closed { code: Some(NORMAL | GOING_AWAY) });
                if goes || self.stateful.is_none() {
                    self.leaves(over, now);
                } else {
                    let ending = self.over(over);
                    if let Some(ending) = self.breaks(ending, now) {
                        return Some(ending);
                    }
                }
            }
            Some(Turn::Written) | None => {}
        }
        match wake.visit {
            Some(Visit::Client(socket)) => self.comes_back(*socket, now),
            Some(Visit::Preview(reply)) => {
                // Whoever asked may have gone.
                let _ =
                    reply.send(Preview { codec: self.codec, groups: self.connection.preview() });
            }
            Some(Visit::Departure(departure)) => self.pause = Some(Stop::HandOver(departure)),
            Some(Visit::Drain) => self.pause = Some(Stop::LetGo),
            None => {}
        }
        if !self.socket.is_writing() && self.clock.is_writing() {
            self.clock.write_ends(now);
        }
        if wake.due {
            if self.expires().is_some_and(|expires| expires <= now) {
                return Some(Ending::Expired);
            }
            let ending = match self.clock.due(now, self.listens()) {
                Some(Due::ClientTimeout) => self.breaks(Ending::Fault(Fault::Timeout), now),
                Some(Due::SendTimeout) => self.breaks(Ending::SendTimeout, now),
                Some(Due::Gone) => match self.left.take() {
                    Some(left) => Some(self.parts(*left)),
                    None => Some(self.broken.take().unwrap_or(Ending::HungUp)),
                },
                Some(Due::Ping) => {
                    self.socket.send_one(self.codec.ping());
                    self.clock.write_begins(now);
                    None
                }
                None => None,
            };
            if ending.is_some() {
                return ending;
            }
            timer.reset(self.next());
        }
        None
    }

    /// The client has gone for good. What it has sent before still has its turn, within the time that any
    /// client may be away for; whatever runs is told at once.
    fn leaves(&mut self, over: Over, now: Instant) {
        if !self.listens() {
            self.connection.unregister();
        }
        let mut socket = std::mem::replace(self.socket, Carrier::Away);
        while let Some(piece) = socket.take_arrived() {
            self.inbox.push(piece);
        }
        self.left = Some(Box::new(Left { socket, over }));
        self.clock.leaves(now, self.options.disconnect_timeout);
    }

    /// How it ends, once nothing is left that a client which has gone has sent before. Items for which
    /// there is no place may wait for what does not come any more.
    fn has_left(&mut self) -> Option<Ending> {
        let waits_for_more = matches!(self.waiting.as_deref(), Some(Waiting::Item { .. }));
        if !self.listens() && !waits_for_more {
            return None;
        }
        let left = self.left.take()?;
        Some(self.parts(*left))
    }

    fn parts(&mut self, left: Left) -> Ending {
        *self.socket = left.socket;
        self.over(left.over)
    }

    /// Ends with this, unless the client may come back.
    fn breaks(&mut self, ending: Ending, now: Instant) -> Option<Ending> {
        if self.stateful.is_none() || !ending.is_break() {
            return Some(ending);
        }
        tracing::debug!(?ending, "waits for the client to come back");
        self.broken = Some(ending);
        *self.socket = Carrier::Away;
        self.clock.leaves(now, self.options.disconnect_timeout);
        self.forget_begun();
        None
    }

    /// Goes on with another socket, which takes the place of one that may still be there.
    fn comes_back(&mut self, socket: Socket, now: Instant) {
        let Some(stateful) = &mut self.stateful else { return };
        self.batch = stateful.buffer.resume(self.codec);
        self.broken = None;
        *self.socket = Carrier::WebSocket(socket);
        self.socket.set_binary(self.codec.is_binary());
        self.socket.send(&mut self.batch);
        self.clock.comes_back(now);
        self.forget_begun();
    }

    /// What has come and was not looked at was not counted: the client sends it again.
    fn forget_begun(&mut self) {
        *self.inbox = Inbox::new(self.options.largest_message);
        self.inbox.speak(self.codec);
    }

    fn over(&self, over: Over) -> Ending {
        match over {
            Over::Closed { .. } if self.inbox.is_cut_off() => Ending::Fault(Fault::CutOff),
            Over::Closed { .. } => Ending::HungUp,
            Over::Malformed(error) => Ending::Fault(Fault::Frame(error)),
            Over::Lost(error) => Ending::Lost(error),
        }
    }

    /// Takes whole messages from the inbox for as long as there is place for calls.
    fn dispatch(&mut self) -> Option<Ending> {
        if self.starting.is_some() {
            return None;
        }
        if self.has_place(self.connection.waiting_calls())
            && let Some(waiting) = self.waiting.take_if(|it| matches!(**it, Waiting::Call(_)))
            && let Waiting::Call(call) = *waiting
        {
            self.call(call);
            self.clock.heard(Instant::now());
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
            match self.codec.parse(&record) {
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
        if let Some(stateful) = &mut self.stateful {
            match stateful.buffer.takes(&message, Instant::now()) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(ahead) => return Some(Ending::Fault(ahead.into())),
            }
        }
        match message {
            Message::Invocation(invocation) if invocation.streams.is_empty() => {
                self.call(invocation.into());
            }
            Message::Invocation(invocation) => self.stream(invocation, false),
            Message::StreamInvocation(invocation) => self.stream(invocation, true),
            Message::CancelInvocation { id } => self.running.streams.cancel(&id),
            Message::StreamItem { id, item } => self.item(id, item),
            // One that is no stream's may come from a client that was late to see its end.
            Message::Completion { id, outcome } => {
                if !self.running.streams.finish(&id, &outcome) {
                    self.completed(&id, outcome);
                }
            }
            Message::Ping => self.clock.pinged(),
            Message::Close { error, .. } => return Some(Ending::Left { error }),
            Message::Ack { .. } | Message::Sequence { .. } => {}
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

    /// Whether one more call may run. Those that wait for what a client answers don't count, as nothing
    /// could be read meanwhile.
    fn has_place(&self, given_away: usize) -> bool {
        let running = self.running.calls.len().saturating_sub(given_away);
        running < self.options.parallel_invocations.get()
    }

    /// Starts a call if it has a place among those that run; what cannot run needs none.
    fn call(&mut self, call: Single) {
        let (connection, answers) = (self.connection, self.answers());
        if self.has_place(connection.waiting_calls()) {
            self.running.calls.push(call.start(connection, answers));
            return;
        }
        match call.refuse(connection, answers) {
            Ok(refusal) => refusal.into_iter().for_each(|refusal| connection.reply(refusal)),
            Err(call) => *self.waiting = Some(Box::new(Waiting::Call(call))),
        }
    }

    fn stream(&mut self, invocation: Invocation, streaming: bool) {
        let (connection, answers) = (self.connection, self.answers());
        let streams = &mut self.running.streams;
        let started = streams.start(connection, invocation, streaming, answers, self.options);
        if let Err(Some(refusal)) = started {
            connection.reply(refusal);
        }
    }

    fn item(&mut self, id: Box<str>, item: Bytes) {
        // What it would wake is polled before anything is waited for.
        let context = &mut Context::from_waker(Waker::noop());
        if self.running.streams.poll_item(context, &id, &item).is_pending() {
            *self.waiting = Some(Box::new(Waiting::Item { id, item }));
        }
    }

    const fn answers(&self) -> Answers {
        Answers { codec: self.codec, detailed: self.options.detailed_errors }
    }
}
