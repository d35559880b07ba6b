//! The stream that keeps the log.

use std::time::Duration;

use async_nats::jetstream::{
    ErrorCode,
    stream::{Config, DiscardPolicy, Info, RawMessage, RetentionPolicy, StorageType},
};
use backplane_core::{LinkError, Offset};
use serde::{Deserialize, Serialize};

use super::{
    api::Api,
    config::{JetStreamConfig, Storage},
};
use crate::subject::Subjects;

/// For how long the server knows again what it has stored: longer than a node tries to send the same, unless
/// told otherwise.
const KNOWN_AGAIN: Duration = Duration::from_secs(120);

/// An entry of the stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct At {
    pub(super) sequence: u64,
    /// When it was stored, in nanoseconds.
    pub(super) time: i128,
}

/// Where the stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// When it was made, in nanoseconds: another stream of that name has another time.
    pub(super) created: u64,
    /// The first sequence that it still has, or would have.
    pub(super) first: u64,
    /// The last that it has had.
    pub(super) last: At,
    /// How large a message may be, with its headers.
    pub(super) largest: usize,
}

/// The stream, as it is to be.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) subjects: Subjects,
    pub(super) parts: u32,
    config: Config,
}

impl Stream {
    pub(super) fn new(subjects: Subjects, config: &JetStreamConfig) -> Self {
        let bound = |bound: u64| i64::try_from(bound).unwrap_or(i64::MAX);
        let prefix = &config.servers.prefix;
        Self {
            parts: config.parts,
            config: Config {
                name: subjects.stream().to_owned(),
                description: Some(format!("What the nodes of {prefix:?} publish")),
                subjects: vec![subjects.parts()],
                retention: RetentionPolicy::Limits,
                discard: DiscardPolicy::Old,
                storage: match config.storage {
                    Storage::File => StorageType::File,
                    Storage::Memory => StorageType::Memory,
                },
                num_replicas: config.replicas as usize,
                max_age: config.age,
                max_messages: bound(config.entries),
                max_bytes: bound(config.bytes.as_u64()),
                max_messages_per_subject: -1,
                max_message_size: -1,
                max_consumers: -1,
                duplicate_window: KNOWN_AGAIN.min(config.age),
                ..Config::default()
            },
            subjects,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.config.name
    }

    /// The parts there are, with that of what nodes say to each other.
    pub(super) const fn count(&self) -> usize {
        self.parts as usize + 1
    }

    /// The offset of one of the frames of an entry of a part. A stream that was made later has later offsets.
    pub(super) fn offset(part: u32, created: u64, sequence: u64, frame: usize) -> Offset {
        // No entry has more: a small one takes several bytes of the entry's 64 KiB.
        let frame = u16::try_from(frame).unwrap_or(u16::MAX);
        Offset::of_frame(part, (created, sequence), frame)
    }

    /// Makes the stream if it is not there, and says where it stands; or why it will not do.
    pub(super) async fn open(&self, api: &Api) -> Result<Standing, LinkError> {
        let name = self.name();
        let mut info = self.ask_for_info(api).await?;
        if info.is_none() {
            let made = api.ask::<Info>(&format!("STREAM.CREATE.{name}"), &self.config).await?;
            info = match made {
                Ok(info) => Some(info),
                // Another node was quicker, with other settings.
                Err(error) if error.error_code() == ErrorCode::STREAM_NAME_EXIST => {
                    self.ask_for_info(api).await?
                }
                Err(error) => {
                    return Err(api.failed(&format!("the stream {name} cannot be made"), &error));
                }
            };
        }
        let gone = || LinkError::Lost { reason: format!("the stream {name} is gone") };
        let info = info.ok_or_else(gone)?;
        match self.falls_short(&info.config) {
            Some(reason) => Err(api.unsuitable(reason)),
            None => Ok(standing(&info)),
        }
    }

    /// Where the stream stands, if it is still the one that was made then. A consumer that was made before
    /// this was asked is of that one.
    pub(super) async fn standing(&self, api: &Api, created: u64) -> Result<Standing, LinkError> {
        let info = self.ask_for_info(api).await?;
        let standing = info.map(|info| standing(&info)).filter(|it| it.created == created);
        let reason = || format!("the stream {} is gone, or another one", self.name());
        standing.ok_or_else(|| LinkError::Lost { reason: reason() })
    }

    async fn ask_for_info(&self, api: &Api) -> Result<Option<Info>, LinkError> {
        let name = self.name();
        match api.ask(&format!("STREAM.INFO.{name}"), &()).await? {
            Ok(info) => Ok(Some(info)),
            Err(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
            Err(error) => Err(api.failed(&format!("the stream {name} is not to be had"), &error)),
        }
    }

    /// When the entry of that sequence was stored, if it is there.
    pub(super) async fn time_of(
        &self,
        api: &Api,
        sequence: u64,
    ) -> Result<Option<i128>, LinkError> {
        #[derive(Serialize)]
        struct Which {
            seq: u64,
        }
        #[derive(Deserialize)]
        struct Found {
            message: RawMessage,
        }
        let operation = format!("STREAM.MSG.GET.{}", self.name());
        match api.ask::<Found>(&operation, &Which { seq: sequence }).await? {
            Ok(found) => Ok(Some(found.message.time.unix_timestamp_nanos())),
            Err(error) if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => Ok(None),
            Err(error) => {
                tracing::debug!(%error, "an entry of the stream is not to be had");
                Ok(None)
            }
        }
    }

    /// What a stream that is there keeps less of than it is to, or does otherwise.
    fn falls_short(&self, there: &Config) -> Option<String> {
        let wanted = &self.config;
        let name = &wanted.name;
        let unlimited = |bound: i64| if bound <= 0 { i64::MAX } else { bound };
        let covers = there.subjects.iter().any(|subject| covers(subject, &wanted.subjects[0]));
        let differs = |what: &str, there: String, wanted: String| {
            Some(format!(
                "the stream {name} has {what} {there}, not {wanted}: edit or delete it, or change what is configured"
            ))
        };
        if !covers || there.mirror.is_some() {
            let there = format!("{:?}", there.subjects);
            return differs("the subjects", there, format!("{:?}", wanted.subjects));
        }
        if there.retention != RetentionPolicy::Limits || there.discard != DiscardPolicy::Old {
            return Some(format!(
                "the stream {name} must have the retention \"limits\" and discard \"old\""
            ));
        }
        if there.sealed || there.no_ack {
            return Some(format!("the stream {name} is sealed, or acknowledges nothing"));
        }
        if there.storage == StorageType::Memory && wanted.storage == StorageType::File {
            return differs("the storage", "memory".to_owned(), "file".to_owned());
        }
        if there.num_replicas < wanted.num_replicas {
            let (there, wanted) = (there.num_replicas, wanted.num_replicas);
            return differs("the number of replicas", there.to_string(), wanted.to_string());
        }
        if !there.max_age.is_zero() && there.max_age < wanted.max_age {
            let [there, wanted] = [there.max_age, wanted.max_age].map(|age| format!("{age:?}"));
            return differs("the age", there, wanted);
        }
        let bounds = [
            ("at most so many messages:", there.max_messages, wanted.max_messages),
            ("at most so many bytes:", there.max_bytes, wanted.max_bytes),
        ];
        let short = bounds.into_iter().find(|(_, it, wanted)| unlimited(*it) < unlimited(*wanted));
        short.and_then(|(what, it, wanted)| differs(what, it.to_string(), wanted.to_string()))
    }
}

fn standing(info: &Info) -> Standing {
    let state = &info.state;
    Standing {
        created: u64::try_from(info.created.unix_timestamp_nanos()).unwrap_or_default(),
        first: state.first_sequence,
        last: At {
            sequence: state.last_sequence,
            time: state.last_timestamp.unix_timestamp_nanos(),
        },
        // Below zero, and by older servers at zero, there is no bound.
        largest: usize::try_from(info.config.max_message_size)
            .ok()
            .filter(|largest| *largest > 0)
            .unwrap_or(usize::MAX),
    }
}

/// Whether a subject with wildcards includes this one, which may have some too.
fn covers(subject: &str, wanted: &str) -> bool {
    let mut wanted = wanted.split('.');
    for token in subject.split('.') {
        match (token, wanted.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (token, Some(other)) if token == other => {}
            _ => return false,
        }
    }
    wanted.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Stream {
        Stream::new(Subjects::new("shop"), &JetStreamConfig::default())
    }

    #[test]
    fn a_subject_covers_others() {
        for subject in ["shop.log.*", "shop.*.*", "shop.>", ">"] {
            assert!(covers(subject, "shop.log.*"), "{subject}");
        }
        for subject in ["shop.log.1", "shop.*", "shop.log.*.*", "other.log.*", "shop.log.*.>"] {
            assert!(!covers(subject, "shop.log.*"), "{subject}");
        }
    }

    #[test]
    fn a_stream_that_keeps_more_will_do_and_one_that_keeps_less_will_not() {
        let stream = stream();
        let with = |change: fn(&mut Config)| {
            let mut there = stream.config.clone();
            change(&mut there);
            stream.falls_short(&there)
        };
        let enough: [fn(&mut Config); 4] = [
            |_| {},
            |it| it.max_age = Duration::ZERO,
            |it| it.max_messages = -1,
            |it| it.subjects = vec!["shop.>".to_owned()],
        ];
        enough.into_iter().for_each(|change| assert_eq!(with(change), None));
        type Change = fn(&mut Config);
        let short: [(Change, &str); 6] = [
            (|it| it.storage = StorageType::Memory, "the storage memory, not file"),
            (|it| it.num_replicas = 0, "replicas 0, not 1"),
            (|it| it.max_age = Duration::from_secs(1), "the age 1s, not 3600s"),
            (|it| it.max_messages = 7, "messages: 7, not 1000000"),
            (|it| it.subjects = vec!["shop.log.1".to_owned()], "shop.log.*"),
            (|it| it.retention = RetentionPolicy::Interest, "limits"),
        ];
        for (change, expected) in short {
            let reason = with(change).unwrap();
            assert!(reason.contains(expected), "{reason}");
        }
    }
}
