//! The connection that reads what this node is interested in, and the task that owns it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use backplane_core::{
    LinkError, Topic,
    wire::{Inbound, Refused},
};
use redis::{Pipeline, RedisResult, Value, aio::MultiplexedConnection, cmd};
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot, watch};

use super::{
    part::{Id, Parts},
    portion::Portion,
    reply::{self, Found},
};
use crate::error;

/// How long the server holds back an empty answer.
const BLOCK: Duration = Duration::from_secs(1);

/// How soon a read that waits is asked to end once more: the first request may overtake it.
const AGAIN: Duration = Duration::from_millis(10);

/// What a node has read, and what it wants. Outlives connections.
#[derive(Debug)]
pub(super) struct Place {
    /// Up to where each part was read; none where nobody wants it.
    read: Vec<Option<Id>>,
    /// How many channels of each part are wanted.
    interest: Vec<usize>,
    /// Channels of interest.
    wanted: HashMap<Box<str>, Due>,
    /// Those of the connection before, until they are asked for again.
    before: HashMap<Box<str>, Due>,
}

/// From where on a channel is wanted.
#[derive(Debug, Clone, Copy)]
struct Due {
    part: u32,
    behind: Id,
}

impl Place {
    pub(super) fn new(parts: &Parts) -> Self {
        Self {
            read: vec![None; parts.count()],
            interest: vec![0; parts.count()],
            wanted: HashMap::new(),
            before: HashMap::new(),
        }
    }

    /// Whether an entry of this channel is wanted. What was wanted on the connection before still is, until all
    /// that is wanted on this one has been asked for.
    fn wants(&self, channel: &str, id: Id) -> bool {
        let due = self.wanted.get(channel).or_else(|| self.before.get(channel));
        due.is_some_and(|due| id > due.behind)
    }

    /// This part may begin anew: what stands there now, and comes, is wanted from there on.
    fn begin_anew(&mut self, part: u32, end: Id) {
        self.read[part as usize] = Some(end);
        let dues = self.before.values_mut().filter(|due| due.part == part);
        dues.for_each(|due| due.behind = Id::ZERO);
    }

    /// A new connection: nothing is wanted until it is asked for.
    pub(super) fn begin(&mut self) {
        // What was not asked for on the last connection was not given up either.
        let before = std::mem::take(&mut self.wanted);
        self.before.extend(before);
        self.interest.fill(0);
    }

    fn want(&mut self, channel: String, due: Due) {
        if self.wanted.insert(channel.into(), due).is_none() {
            self.interest[due.part as usize] += 1;
        }
    }

    fn give_up(&mut self, part: u32, channel: &str) {
        if self.wanted.remove(channel).is_some() {
            self.interest[part as usize] -= 1;
            self.leave();
        }
    }

    /// All that is wanted has been asked for.
    fn settle(&mut self) {
        self.before.clear();
        self.leave();
    }

    /// Leaves the parts of which nothing is wanted.
    fn leave(&mut self) {
        if self.before.is_empty() {
            for (read, _) in self.read.iter_mut().zip(&self.interest).filter(|(_, it)| **it == 0) {
                *read = None;
            }
        }
    }
}

/// What the session wants of the reading task, with the way back.
pub(super) enum Request {
    Subscribe(Vec<Topic>, oneshot::Sender<Vec<Refused<Topic>>>),
    Unsubscribe(Vec<Topic>, oneshot::Sender<()>),
    /// Everything that was wanted before has been asked for.
    Settle,
}

/// Reads until the connection fails.
pub(super) struct Follower {
    pub(super) connection: MultiplexedConnection,
    /// To end a read that waits; the client's own number on the server.
    pub(super) waker: MultiplexedConnection,
    pub(super) client: i64,
    pub(super) parts: Arc<Parts>,
    pub(super) place: OwnedMutexGuard<Place>,
    pub(super) inbound: Inbound,
    /// Where each part ended when the connection was made, as long as that is not read.
    pub(super) ends: Vec<Option<Id>>,
    pub(super) caught_up: watch::Sender<bool>,
    pub(super) portion: Portion,
    /// Parts of which there was more than an answer held.
    pub(super) behind: Vec<u32>,
}

impl Follower {
    /// Looks where the parts end that were read before, and tells of those whose next entries are gone.
    pub(super) async fn begin(&mut self) -> RedisResult<()> {
        let parts: Vec<u32> = (0..)
            .zip(&self.place.read)
            .filter(|(_, id)| id.is_some())
            .map(|(part, _)| part)
            .collect();
        let ends = self.ends_of(&parts).await?;
        let mut trimmed = Vec::new();
        for (part, end) in parts.into_iter().zip(ends) {
            let (Some(read), end) = (self.place.read[part as usize], end?) else { continue };
            if end < read {
                // The server has lost its data, or the end of it; what it gets now may begin anew.
                self.place.begin_anew(part, end);
                trimmed.push((part, read));
            } else if end > read {
                self.ends[part as usize] = Some(end);
                if is_trimmed(&mut self.connection, self.parts.key(part), read).await? {
                    trimmed.push((part, read));
                }
            }
        }
        self.tell_trimmed(&trimmed);
        Ok(())
    }

    /// Where these parts end.
    async fn ends_of(&mut self, parts: &[u32]) -> RedisResult<Vec<RedisResult<Id>>> {
        ends_of(&mut self.connection, &self.parts, parts).await
    }

    fn tell_trimmed(&self, trimmed: &[(u32, Id)]) {
        for (part, read) in trimmed {
            tracing::warn!(part, %read, "the stream does not hold any more what comes next");
        }
        if !trimmed.is_empty() {
            self.inbound
                .trimmed(|topic| trimmed.iter().any(|(part, _)| *part == self.parts.of(topic)));
        }
    }

    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        if let Err(error) = self.follow(&mut requests).await {
            self.inbound.lost(error::lost(&error));
        }
    }

    async fn follow(&mut self, requests: &mut mpsc::Receiver<Request>) -> RedisResult<()> {
        loop {
            while let Ok(request) = requests.try_recv() {
                self.serve(request).await?;
            }
            let Some(read) = self.next_read() else {
                let Some(request) = requests.recv().await else { return Ok(()) };
                self.serve(request).await?;
                continue;
            };
            let mut connection = self.connection.clone();
            let answers = read.query_async::<Vec<Value>>(&mut connection);
            tokio::pin!(answers);
            let mut waiting = None;
            let answers = loop {
                tokio::select! {
                    biased;
                    answers = &mut answers => break answers?,
                    request = requests.recv(), if waiting.is_none() => {
                        let Some(request) = request else { return Ok(()) };
                        waiting = Some(request);
                        self.wake().await;
                    }
                    () = tokio::time::sleep(AGAIN), if waiting.is_some() => self.wake().await,
                }
            };
            let mut answers = answers.into_iter();
            let found = reply::read(&self.parts, answers.next().unwrap_or(Value::Nil));
            self.tell_overtaken(answers);
            if !self.take(found) {
                return Ok(());
            }
            if let Some(request) = waiting {
                self.serve(request).await?;
            }
        }
    }

    /// Ends a read that waits. Where the server does not allow it, the read ends by itself a little later.
    async fn wake(&self) {
        let mut waker = self.waker.clone();
        let mut unblock = cmd("CLIENT");
        let asked: RedisResult<Value> =
            unblock.arg("UNBLOCK").arg(self.client).query_async(&mut waker).await;
        if let Err(error) = asked {
            tracing::trace!(reason = %error::answer(&error), "a read could not be ended early");
        }
    }

    /// What to read next, if anything is wanted; and, where there is more than is read at once, whether what was
    /// read last is still there.
    fn next_read(&mut self) -> Option<Pipeline> {
        let Place { read, .. } = &*self.place;
        let places = || (0..).zip(read).filter_map(|(part, id)| Some((part, (*id)?)));
        places().next()?;
        let mut command = cmd("XREAD");
        command.arg("COUNT").arg(self.portion.entries()).arg("BLOCK").arg(BLOCK.as_millis() as u64);
        command.arg("STREAMS");
        for (part, _) in places() {
            command.arg(self.parts.key(part));
        }
        for (_, id) in places() {
            command.arg(id.to_string());
        }
        self.behind.retain(|part| read[*part as usize].is_some());
        let mut commands = Pipeline::with_capacity(1 + self.behind.len());
        commands.add_command(command);
        for (part, id) in places().filter(|(part, _)| self.behind.contains(part)) {
            commands.add_command(reply::entry_at(self.parts.key(part), id));
        }
        Some(commands)
    }

    /// Tells of parts that are trimmed faster than they are read. Only while the entry that was read last stands,
    /// nothing behind it is gone: the oldest go first.
    fn tell_overtaken(&mut self, answers: impl Iterator<Item = Value>) {
        let mut trimmed = Vec::new();
        for (part, answer) in std::mem::take(&mut self.behind).into_iter().zip(answers) {
            if reply::ids(answer).next().is_none()
                && let Some(read) = self.place.read[part as usize]
            {
                trimmed.push((part, read));
            }
        }
        self.tell_trimmed(&trimmed);
    }

    /// Hands over what is due. Returns false once the node has given this connection up.
    fn take(&mut self, found: Vec<Found>) -> bool {
        let nothing = found.is_empty();
        let (mut uninterested, mut bytes) = (0, 0);
        let mut entries = vec![0; self.place.read.len()];
        for Found { part, id, frames } in found {
            entries[part as usize] += 1;
            // What somebody else has written there is counted as what it is.
            if frames.is_empty() && !self.inbound.frame_at(Vec::new(), id.offset(part, 0)) {
                return false;
            }
            let due = (0..).zip(frames).filter_map(|(number, (channel, frame))| {
                bytes += channel.len() + frame.len();
                let is_due = std::str::from_utf8(&channel)
                    .is_ok_and(|channel| self.place.wants(channel, id));
                uninterested += u64::from(!is_due);
                is_due.then(|| (frame.into(), id.offset(part, number)))
            });
            if !self.inbound.frames_at(due) {
                return false;
            }
            self.place.read[part as usize] = Some(id);
        }
        self.inbound.uninterested(uninterested);
        let full = (0..).zip(&entries).filter(|(_, count)| **count == self.portion.entries());
        self.behind = full.map(|(part, _)| part).collect();
        self.portion.learn(bytes, !self.behind.is_empty());
        self.look_at_ends(nothing);
        true
    }

    /// Whether everything has been read that stood there when the connection was made.
    fn look_at_ends(&mut self, nothing_more: bool) {
        if *self.caught_up.borrow() {
            return;
        }
        for (end, read) in self.ends.iter_mut().zip(&self.place.read) {
            if nothing_more || read.is_none() || *end <= *read {
                *end = None;
            }
        }
        if self.place.before.is_empty() && self.ends.iter().all(Option::is_none) {
            self.caught_up.send_replace(true);
        }
    }

    async fn serve(&mut self, request: Request) -> RedisResult<()> {
        match request {
            Request::Subscribe(topics, answer) => {
                let refused = self.subscribe(&topics).await?;
                // Whoever asked may be gone with its connection.
                let _ = answer.send(refused);
            }
            Request::Unsubscribe(topics, answer) => {
                for topic in topics {
                    let channel = self.parts.channels.of(&topic);
                    self.place.give_up(self.parts.of(&topic), &channel);
                }
                let _ = answer.send(());
            }
            Request::Settle => {
                self.place.settle();
                self.look_at_ends(false);
            }
        }
        Ok(())
    }

    /// From now on these are wanted: from where they were on the connection before, otherwise behind what
    /// stands in their part now.
    async fn subscribe(&mut self, topics: &[Topic]) -> RedisResult<Vec<Refused<Topic>>> {
        let mut fresh = Vec::new();
        for topic in topics {
            let (part, channel) = (self.parts.of(topic), self.parts.channels.of(topic));
            match self.place.before.remove(&*channel) {
                Some(due) => self.place.want(channel, due),
                None => fresh.push((part, channel, topic)),
            }
        }
        let mut parts: Vec<u32> = fresh.iter().map(|(part, ..)| *part).collect();
        parts.sort_unstable();
        parts.dedup();
        let ends = self.ends_of(&parts).await?;
        let ends: HashMap<u32, RedisResult<Id>> = parts.into_iter().zip(ends).collect();
        let mut refused = Vec::new();
        for (part, channel, topic) in fresh {
            match ends.get(&part) {
                Some(Ok(end)) => {
                    self.place.read[part as usize].get_or_insert(*end);
                    self.place.want(channel, Due { part, behind: *end });
                }
                Some(Err(error)) if error::is_refusal(error) => {
                    let reason = error::answer(error).into();
                    refused.push(Refused { what: topic.clone(), reason });
                }
                Some(Err(error)) => return Err(error.clone()),
                None => {}
            }
        }
        Ok(refused)
    }
}

/// Where these parts end: before everything, where there is no stream yet. Or why the server does not say.
pub(super) async fn ends_of(
    connection: &mut MultiplexedConnection,
    all: &Parts,
    parts: &[u32],
) -> RedisResult<Vec<RedisResult<Id>>> {
    if parts.is_empty() {
        return Ok(Vec::new());
    }
    let mut ask = Pipeline::with_capacity(parts.len());
    for part in parts {
        let mut info = cmd("XINFO");
        info.arg("STREAM").arg(all.key(*part));
        ask.add_command(info);
    }
    let answers: Vec<Value> = ask.ignore_errors().query_async(connection).await?;
    let end = |answer| match answer {
        Value::ServerError(error) if error.details().is_some_and(is_missing) => Ok(Id::ZERO),
        Value::ServerError(error) => Err(error.into()),
        answer => reply::last_generated(answer).ok_or_else(|| {
            (redis::ErrorKind::UnexpectedReturnType, "XINFO STREAM names no last id").into()
        }),
    };
    Ok(answers.into_iter().map(end).collect())
}

fn is_missing(detail: &str) -> bool {
    detail.contains("no such key")
}

/// Whether a stream that goes on behind this place may have lost what stood there.
pub(super) async fn is_trimmed(
    connection: &mut MultiplexedConnection,
    key: &str,
    read: Id,
) -> RedisResult<bool> {
    if read == Id::ZERO {
        let info = cmd("XINFO").arg("STREAM").arg(key).query_async(connection).await?;
        return Ok(reply::has_lost_some(info));
    }
    let mut both = Pipeline::with_capacity(2);
    // While the place itself is there, nothing behind it is gone: the oldest go first.
    both.add_command(reply::entry_at(key, read));
    both.cmd("XRANGE").arg(key).arg("-").arg("+").arg("COUNT").arg(1);
    let (here, first): (Value, Value) = both.query_async(connection).await?;
    let stands = reply::ids(here).next().is_some();
    let first = reply::ids(first).next();
    Ok(!stands && first.is_none_or(|first| first > read))
}

/// A connection that ended takes its reading task along.
pub(super) fn gone() -> LinkError {
    LinkError::Lost { reason: "the reading connection has ended".to_owned() }
}
