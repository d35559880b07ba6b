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
    wire::{Batch, Refused},
};
use bytes::Bytes;
use tokio::{sync::Mutex, task};

use super::{
    api::{Api, passes, said},
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
    headers: HeaderMap,
    frame: Bytes,
    envelopes: Vec<usize>,
}

impl Appender {
    pub(super) fn new(api: Api, stream: Arc<Stream>) -> Self {
        Self { api, stream, turn: Mutex::new(()) }
    }

    /// Appends a batch.
    ///
    /// All of it is on its way at once, but for a topic of which it has several frames: each of these waits
    /// for the answer to the one before. Where the stream moves to another server, what is on its way may get
    /// lost in the middle, and then nothing behind it is stored before it is written again.
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
        for round in rounds {
            self.append(round, &mut refused).await?;
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
            let round = earlier.entry(frame.topic.clone()).or_default();
            if rounds.len() == *round {
                rounds.push(Vec::new());
            }
            rounds[*round].push(self.entry(
                batch.id_of(&frame),
                frame.topic,
                frame.bytes,
                frame.envelopes,
            ));
            *round += 1;
        }
        rounds
    }

    fn entry(
        &self,
        id: Option<String>,
        topic: Topic,
        frame: Bytes,
        envelopes: Vec<usize>,
    ) -> Entry {
        let mut headers = HeaderMap::new();
        headers.insert(TOPIC, subject::channel(&topic));
        if let Some(id) = id {
            headers.insert(NATS_MESSAGE_ID, id);
        }
        let subject = self.stream.subjects.part(topic.part_of(self.stream.parts)).into();
        Entry { subject, headers, frame, envelopes }
    }

    /// Appends these, and waits until each is stored or refused.
    async fn append(
        &self,
        round: Vec<Entry>,
        refused: &mut Vec<Refused<usize>>,
    ) -> Result<(), LinkError> {
        let notices = &self.api.connection.notices;
        let mut refuse = |envelopes: Vec<usize>, reason: Arc<str>| {
            let each = envelopes.into_iter();
            refused.extend(each.map(|what| Refused { what, reason: Arc::clone(&reason) }));
        };
        let mut answers = Vec::with_capacity(round.len());
        for Entry { subject, headers, frame, envelopes } in round {
            if let Some(reason) = notices.unpublishable(&subject) {
                refuse(envelopes, reason);
                continue;
            }
            let message = PublishMessage::build().headers(headers).payload(frame);
            match self.api.context.send_publish(subject.clone(), message).await {
                Ok(answer) => answers.push((subject, envelopes, answer)),
                Err(error) => refuse(envelopes, self.refusal(&error)?),
            }
        }
        for (subject, envelopes, answer) in answers {
            tokio::select! {
                biased;
                answer = answer.into_future() => {
                    if let Err(error) = answer {
                        refuse(envelopes, self.refusal(&error)?);
                    }
                }
                // What is not allowed is never answered.
                reason = notices.refuses(&subject) => refuse(envelopes, reason),
            }
        }
        Ok(())
    }

    /// Why one entry is refused; or what it says of the connection.
    fn refusal(&self, error: &PublishError) -> Result<Arc<str>, LinkError> {
        match error.kind() {
            PublishErrorKind::BrokenPipe => Err(self.api.connection.notices.lost()),
            PublishErrorKind::TimedOut => Err(self.api.timed_out()),
            PublishErrorKind::StreamNotFound => {
                let reason = "no server has the stream, or none leads it at present".to_owned();
                Err(LinkError::Lost { reason })
            }
            _ => match error.source().and_then(|it| it.downcast_ref::<jetstream::Error>()) {
                Some(error) if passes(error) => Err(LinkError::Lost { reason: said(error) }),
                Some(error) => Ok(said(error).into()),
                None => Ok(error.to_string().into()),
            },
        }
    }
}
