//! Appending to the log.

use std::{collections::HashMap, error::Error, future::IntoFuture, sync::Arc};

use async_nats::{
    HeaderMap, Subject,
    header::NATS_MESSAGE_ID,
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
    consumer::TOPIC,
    stream::Stream,
};
use crate::subject;

/// Room in a message for its headers, with the longest names.
const HEADERS: usize = 2048;

/// Writes batches on one connection.
#[derive(Debug)]
pub(super) struct Appender {
    api: Api,
    stream: Arc<Stream>,
    /// Whose turn it is. A batch takes its place at its first poll, and keeps it until everything of it is
    /// answered.
    turn: Mutex<()>,
}

/// One frame on its way to the stream.
struct Entry {
    subject: Subject,
    topic: Topic,
    /// By which the servers know it again.
    id: Option<String>,
    frame: Bytes,
    envelopes: Vec<usize>,
}

/// What becomes of an entry that was not stored.
enum Fate {
    Refused(Arc<str>),
    /// No server has the stream, or none of them leads it at present.
    NotTaken,
}

impl Appender {
    pub(super) fn new(api: Api, stream: Arc<Stream>) -> Self {
        Self { api, stream, turn: Mutex::new(()) }
    }

    /// Appends a batch.
    ///
    /// All of it is on its way at once, but for a topic of which it has several frames: each of these waits
    /// for the answer to the one before. Where the stream moves to another server, what is on its way may get
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

    /// The frames of a batch, no two of one topic in one round.
    fn rounds(&self, batch: &Batch) -> Vec<Vec<Entry>> {
        let largest = self.api.connection.client.max_payload().saturating_sub(HEADERS);
        let frames = batch.frames_within(largest);
        let mut rounds: Vec<Vec<Entry>> = Vec::new();
        let mut earlier: HashMap<Topic, usize> = HashMap::with_capacity(frames.len());
        for frame in frames {
            let id = batch.id_of(&frame);
            let Frame { topic, bytes: frame, envelopes } = frame;
            let part = topic.part_of(self.stream.parts);
            let subject = self.stream.subjects.part(part).into();
            let round = earlier.entry(topic.clone()).or_default();
            if rounds.len() == *round {
                rounds.push(Vec::new());
            }
            rounds[*round].push(Entry { subject, topic, id, frame, envelopes });
            *round += 1;
        }
        rounds
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
        let mut headers = HeaderMap::new();
        headers.insert(TOPIC, subject::channel(&self.topic));
        if let Some(id) = &self.id {
            headers.insert(NATS_MESSAGE_ID, &**id);
        }
        PublishMessage::build().headers(headers).payload(self.frame.clone())
    }
}
