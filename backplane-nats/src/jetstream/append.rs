//! Appending to the log.

use std::{collections::HashMap, error::Error, future::IntoFuture, sync::Arc};

use async_nats::{
    Subject,
    jetstream::{
        self,
        context::{PublishError, PublishErrorKind},
        message::PublishMessage,
    },
};
use backplane_core::{
    LinkError, Topic,
    wire::{Batch, Frame, Refused},
};
use bytes::Bytes;
use tokio::{sync::Mutex, task};

use super::{
    api::{AGAIN, Api, passes},
    entry,
    stream::Stream,
};
use crate::subject;

/// Room in a message for its headers, and for what an entry adds to a frame with the longest names.
const AROUND: usize = 2048;

/// The most bytes in one entry, unless one frame alone is larger: what a reader without interest in them has
/// to take all the same.
const LARGEST: usize = 64 * 1024;

/// Writes batches on one connection.
#[derive(Debug)]
pub(super) struct Appender {
    api: Api,
    stream: Arc<Stream>,
    /// How large a message of the stream may be.
    largest: usize,
    /// Whose turn it is. A batch takes its place at its first poll, and keeps it until everything of it is
    /// answered.
    turn: Mutex<()>,
}

/// Frames on their way to the stream, in one message.
struct Entry {
    subject: Subject,
    /// By which the servers know it again.
    id: Option<String>,
    payload: Bytes,
    envelopes: Vec<usize>,
}

/// Frames of one part, no two of one topic, that are to stand in one entry.
#[derive(Debug)]
struct Sharing {
    part: u32,
    frames: Vec<Frame>,
    channels: Vec<String>,
    size: usize,
}

/// What becomes of an entry that was not stored.
enum Fate {
    Refused(Arc<str>),
    /// No server has the stream, or none of them leads it at present.
    NotTaken,
}

impl Appender {
    pub(super) fn new(api: Api, stream: Arc<Stream>, largest: usize) -> Self {
        Self { api, stream, largest, turn: Mutex::new(()) }
    }

    /// Appends a batch.
    ///
    /// All of it is on its way at once, but for a topic of which it has several frames: the entry of each of
    /// these waits for the answer to the one before. Where the stream moves to another server, what is on its way may get
    /// lost in the middle, and then nothing behind it may be stored before it.
    pub(super) async fn write(&self, batch: &Batch) -> Result<Vec<Refused<usize>>, LinkError> {
        // A yield for fairness before its place is taken would let the next one pass.
        let mut refused = task::unconstrained(self.write_in_turn(batch)).await?;
        refused.sort_unstable_by_key(|refusal| refusal.what);
        Ok(refused)
    }

    async fn write_in_turn(&self, batch: &Batch) -> Result<Vec<Refused<usize>>, LinkError> {
        let rounds = self.rounds(batch);
        let _turn = self.turn.lock().await;
        let mut refused = Vec::new();
        for mut round in rounds {
            loop {
                round = self.append(round, &mut refused).await?;
                if round.is_empty() {
                    break;
                }
                // For as long as the node lets a batch take.
                tokio::time::sleep(AGAIN).await;
            }
        }
        Ok(refused)
    }

    fn rounds(&self, batch: &Batch) -> Vec<Vec<Entry>> {
        let largest = self.largest.min(self.api.connection.client.max_payload());
        let largest = largest.saturating_sub(AROUND);
        let frames = batch.frames_within(largest);
        let rounds = share(frames, self.stream.parts, largest.min(LARGEST));
        let entry = |sharing: Sharing| {
            let Sharing { part, frames, channels, .. } = sharing;
            let each = channels.iter().zip(&frames);
            Entry {
                subject: self.stream.subjects.part(part).into(),
                id: batch.id_of(&frames),
                payload: entry::write(each.map(|(channel, frame)| (&**channel, &*frame.bytes))),
                envelopes: frames.into_iter().flat_map(|frame| frame.envelopes).collect(),
            }
        };
        rounds.into_iter().map(|round| round.into_iter().map(entry).collect()).collect()
    }

    /// Appends these, and waits until each is stored or refused. Returns those that no server has taken.
    async fn append(
        &self,
        round: Vec<Entry>,
        refused: &mut Vec<Refused<usize>>,
    ) -> Result<Vec<Entry>, LinkError> {
        let notices = &self.api.connection.notices;
        let mut refuse = |entry: Entry, reason: Arc<str>| {
            let each = entry.envelopes.into_iter();
            refused.extend(each.map(|what| Refused { what, reason: Arc::clone(&reason) }));
        };
        let mut answers = Vec::with_capacity(round.len());
        let mut not_taken = Vec::new();
        for entry in round {
            if let Some(reason) = notices.unpublishable(&entry.subject) {
                refuse(entry, reason);
                continue;
            }
            match self.api.context.send_publish(entry.subject.clone(), entry.message()).await {
                Ok(answer) => answers.push((entry, answer)),
                Err(error) => match self.fate(&error)? {
                    Fate::Refused(reason) => refuse(entry, reason),
                    Fate::NotTaken => not_taken.push(entry),
                },
            }
        }
        for (entry, answer) in answers {
            let fate = tokio::select! {
                biased;
                answer = answer.into_future() => match answer {
                    Ok(_) => continue,
                    Err(error) => self.fate(&error)?,
                },
                // What is not allowed is never answered.
                reason = notices.refuses(&entry.subject) => Fate::Refused(reason),
            };
            match fate {
                Fate::Refused(reason) => refuse(entry, reason),
                Fate::NotTaken => not_taken.push(entry),
            }
        }
        Ok(not_taken)
    }

    /// What becomes of an entry; or what that says of the connection.
    fn fate(&self, error: &PublishError) -> Result<Fate, LinkError> {
        let own = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
        match (error.kind(), own) {
            // The latter is how the client library says that it ended before it took the message.
            (PublishErrorKind::BrokenPipe, _) | (PublishErrorKind::Other, None) => {
                Err(self.api.connection.notices.lost())
            }
            (PublishErrorKind::TimedOut, _) => Err(self.api.timed_out()),
            (PublishErrorKind::StreamNotFound, _) => Ok(Fate::NotTaken),
            (_, Some(own)) if passes(own) => Ok(Fate::NotTaken),
            (_, Some(own)) => Ok(Fate::Refused(own.to_string().into())),
            (_, None) => Ok(Fate::Refused(error.to_string().into())),
        }
    }
}

impl Entry {
    fn message(&self) -> PublishMessage {
        let message = PublishMessage::build().payload(self.payload.clone());
        match &self.id {
            Some(id) => message.message_id(id),
            None => message,
        }
    }
}

/// Divides frames into entries of at most so many bytes, unless one frame alone is larger; and these into
/// rounds, with no two frames of one topic in one round.
fn share(frames: Vec<Frame>, parts: u32, largest: usize) -> Vec<Vec<Sharing>> {
    let mut rounds: Vec<Vec<Sharing>> = Vec::new();
    let mut earlier: HashMap<Topic, usize> = HashMap::with_capacity(frames.len());
    // The entry of each round and part that was begun last.
    let mut open: HashMap<(usize, u32), usize> = HashMap::new();
    for frame in frames {
        let part = frame.topic.part_of(parts);
        let channel = subject::channel(&frame.topic);
        let size = entry::size(&channel, &frame.bytes);
        let next = earlier.entry(frame.topic.clone()).or_default();
        let at = *next;
        *next += 1;
        if rounds.len() == at {
            rounds.push(Vec::new());
        }
        let round = &mut rounds[at];
        let last = open.get(&(at, part)).and_then(|last| round.get_mut(*last));
        match last.filter(|it| it.size + size <= largest) {
            Some(sharing) => {
                sharing.frames.push(frame);
                sharing.channels.push(channel);
                sharing.size += size;
            }
            None => {
                open.insert((at, part), round.len());
                let (frames, channels) = (vec![frame], vec![channel]);
                round.push(Sharing { part, frames, channels, size });
            }
        }
    }
    rounds
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST: usize = 1000;

    /// A frame of this topic, which takes so many bytes of an entry.
    fn frame(name: &str, size: usize, envelopes: &[usize]) -> Frame {
        let topic = Topic::group("orders", name);
        let around = entry::size(&subject::channel(&topic), &[]);
        let bytes = vec![b'x'; size - around].into();
        Frame { topic, bytes, envelopes: envelopes.to_vec() }
    }

    /// For each round, for each entry: its part and its envelopes.
    fn shared(frames: Vec<Frame>, parts: u32) -> Vec<Vec<(u32, Vec<usize>)>> {
        let envelopes = |it: Sharing| it.frames.into_iter().flat_map(|it| it.envelopes).collect();
        let entry = |it: Sharing| (it.part, envelopes(it));
        let rounds = share(frames, parts, LARGEST).into_iter();
        rounds.map(|round| round.into_iter().map(entry).collect()).collect()
    }

    #[test]
    fn frames_of_one_part_share_an_entry_as_long_as_there_is_room() {
        let frames = ["a", "b", "c", "d"].into_iter().zip(0..);
        let frames: Vec<Frame> = frames.map(|(name, at)| frame(name, 400, &[at])).collect();
        assert_eq!(shared(frames.clone(), 1), [[(1, vec![0, 1]), (1, vec![2, 3])]]);
        let round = shared(frames, 16).remove(0);
        let mut parts: Vec<u32> = round.iter().map(|(part, _)| *part).collect();
        parts.dedup();
        assert_eq!(parts.len(), round.len(), "{round:?}");
        let exact = vec![frame("a", 500, &[0]), frame("b", 500, &[1]), frame("c", 50, &[2])];
        assert_eq!(shared(exact, 1), [[(1, vec![0, 1]), (1, vec![2])]]);
    }

    #[test]
    fn what_is_too_large_stands_alone_and_keeps_nothing_else_out() {
        let frames = vec![frame("a", 100, &[0]), frame("b", 5000, &[1]), frame("c", 100, &[2])];
        assert_eq!(shared(frames, 1), [[(1, vec![0]), (1, vec![1]), (1, vec![2])]]);
    }

    #[test]
    fn frames_of_one_topic_follow_each_other_in_rounds() {
        let frames = vec![
            frame("a", 900, &[0, 2]),
            frame("b", 100, &[1]),
            frame("a", 100, &[3]),
            frame("b", 100, &[4, 5]),
            frame("c", 100, &[6]),
        ];
        let expected = [vec![(1, vec![0, 2, 1]), (1, vec![6])], vec![(1, vec![3, 4, 5])]];
        assert_eq!(shared(frames, 1), expected);
    }
}
