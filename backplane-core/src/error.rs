use std::{sync::Arc, time::Duration};

use bytesize::ByteSize;

use crate::{BoxError, Envelope, LinkError, Offset, Topic, topic};

/// Why an envelope was not published, or is not known to be.
///
/// As an `Err` of [`try_publish`](crate::Backplane::try_publish) it means that nothing happened
/// anywhere. As the outcome of a [`Ticket`](crate::Ticket) it speaks of the other nodes only:
/// this node's own sinks have got the envelope.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The body is larger than the transport carries.
    #[error(
        "the body has {size}, the transport carries at most {limit}: send less, or a reference to it"
    )]
    TooLarge {
        /// The body's size.
        size: ByteSize,
        /// See [`Semantics::largest_body`](crate::Semantics::largest_body).
        limit: ByteSize,
    },
    /// A name in the topic is too long.
    #[error(
        "a name in the topic is too long: hubs have at most {} bytes, other names {}",
        topic::LONGEST_HUB,
        topic::LONGEST_NAME
    )]
    NameTooLong,
    /// The list of excluded connections does not fit into a header.
    #[error(
        "{count} excluded connections do not fit into one envelope: exclude fewer, or send to a group without them"
    )]
    TooManyExceptions {
        /// How many there were.
        count: usize,
    },
    /// The outgoing queue is full. Gives the envelope back; `room()` waits until there is room.
    #[error("the outgoing queue is full: wait with room(), or send less")]
    Full(Box<Envelope>),
    /// The node was closed.
    #[error("the backplane is closed")]
    Closed,
    /// A sink tried to publish while it was being told of an event.
    #[error("a sink must not publish from accept(): hand over to a task and publish there")]
    InsideSink,
    /// There is no connection to the broker; no other node gets the envelope.
    #[error("no other node gets this: the link to the broker is down ({0})")]
    LinkDown(Arc<LinkError>),
    /// The broker refused the envelope.
    #[error("the broker refused the envelope: {reason}")]
    Refused {
        /// What the broker said.
        reason: Arc<str>,
    },
    /// The connection failed after the envelope was handed to it and before the broker answered:
    /// it may or may not have been published.
    #[error(
        "the connection failed before the broker answered: the envelope may or may not have arrived"
    )]
    Unknown,
}

/// Why interest could not be registered or confirmed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// A name in the topic is too long.
    #[error(
        "a name in {topic} is too long: hubs have at most {} bytes, other names {}",
        topic::LONGEST_HUB,
        topic::LONGEST_NAME
    )]
    NameTooLong {
        /// The topic.
        topic: Topic,
    },
    /// The broker refuses the topic, for example by an access rule. Tried again at the next
    /// connection.
    #[error(
        "the broker refuses {topic}: {reason}; check the access rules of the user it connects as"
    )]
    Refused {
        /// The topic.
        topic: Topic,
        /// What the broker said.
        reason: Arc<str>,
    },
    /// It was to be read from a position, and the transport keeps no log.
    #[error(
        "{topic} cannot be read from a position, as this transport keeps no log: subscribe to it, or take a transport whose semantics() say that it replays"
    )]
    NoReplay {
        /// The topic.
        topic: Topic,
    },
    /// The offset is not one of this topic's.
    #[error(
        "{topic} does not stand where {offset} is: keep an offset together with its topic, and with the parts that the log had then"
    )]
    WrongOffset {
        /// The topic.
        topic: Topic,
        /// The offset.
        offset: Offset,
    },
    /// The node was closed.
    #[error("the backplane is closed")]
    Closed,
}

/// Why a transport could not be set up: what no amount of waiting heals.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL cannot be read.
    #[error("the backplane URL is not valid: {reason}")]
    Url {
        /// What is wrong with it; never holds its password.
        reason: String,
    },
    /// No transport answers to the scheme.
    #[error("no transport is called {scheme:?}: use one of {known}")]
    UnknownScheme {
        /// The scheme in the URL.
        scheme: String,
        /// The schemes that would work.
        known: String,
    },
    /// The transport exists, but was not compiled in.
    #[error(
        "{scheme:?} needs the Cargo feature {feature:?} of backplane-hub: turn it on in Cargo.toml"
    )]
    FeatureOff {
        /// The scheme in the URL.
        scheme: String,
        /// The feature to turn on.
        feature: &'static str,
    },
    /// An option is unknown or has a bad value.
    #[error("the option {option:?} is not usable: {reason}")]
    Option {
        /// The option's name.
        option: String,
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// A file that the configuration names cannot be used.
    #[error("the file {path:?} cannot be used as {role}")]
    File {
        /// The path as configured.
        path: String,
        /// What it was to serve as.
        role: &'static str,
        /// What went wrong.
        #[source]
        source: BoxError,
    },
    /// The link was required to be up within a deadline, and was not.
    #[error("the link was not up within {waited:?}")]
    NotUp {
        /// How long it was waited for.
        waited: Duration,
        /// The latest failure, if there was one.
        #[source]
        source: Option<Arc<LinkError>>,
    },
}

impl ConnectError {
    /// A [`Url`](Self::Url) that cannot be read. The reason must not hold its password.
    pub fn url(reason: impl Into<String>) -> Self {
        Self::Url { reason: reason.into() }
    }

    /// An [`Option`](Self::Option) that is not usable, and what would be right.
    pub fn option(option: &str, reason: impl Into<String>) -> Self {
        Self::Option { option: option.to_owned(), reason: reason.into() }
    }
}

/// Why closing did not go as asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// The node was closed before.
    #[error("the backplane is already closed")]
    AlreadyClosed,
    /// The deadline passed before everything queued was sent.
    #[error("the deadline passed with {unsent} envelopes unsent or unconfirmed")]
    DeadlinePassed {
        /// How many were not known to be sent.
        unsent: u64,
    },
}
