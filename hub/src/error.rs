use std::{any::type_name, borrow::Cow, error::Error, fmt, sync::Arc};

use backplane_core::{ByteSize, LinkError, NodeId};

use crate::{ConnectionId, EncodeError, Unauthorized};

/// What a handler fails with.
///
/// Clients see the text of [`client`](Self::client) errors only; all others stay private unless the
/// front end is told to show details. Any error of the standard kind converts by `?` into a private
/// one, which is why this type is not such an error itself.
pub struct HubError(Box<Parts>);

struct Parts {
    public: bool,
    kind: Cow<'static, str>,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl HubError {
    /// For clients to see.
    #[must_use]
    pub fn client(message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            public: true,
            kind: Cow::Borrowed("HubException"),
            message: message.into(),
            source: None,
        }))
    }

    /// Private, with the kind's name that a front end shows if it is told to show details.
    #[must_use]
    pub fn named(kind: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            public: false,
            kind: kind.into(),
            message: message.into(),
            source: None,
        }))
    }

    /// Whether clients may see the message.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.0.public
    }

    /// The kind's name: `HubException` for public errors, the name of the error's type for others.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.0.kind
    }

    /// What went wrong.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The error this one was made of.
    #[must_use]
    pub fn source(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.0.source.as_deref()
    }

    pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Self::named("Panic", text.unwrap_or("the handler panicked"))
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for HubError {
    fn from(error: E) -> Self {
        let path = type_name::<E>();
        let path = path.split_once('<').map_or(path, |(outer, _)| outer);
        let kind = path.rsplit("::").next().unwrap_or(path);
        let mut named = Self::named(kind, error.to_string());
        named.0.source = Some(Box::new(error));
        named
    }
}

impl fmt::Debug for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubError")
            .field("public", &self.0.public)
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("source", &self.0.source)
            .finish()
    }
}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind, self.0.message)
    }
}

/// Why an invocation has no result.
#[derive(Debug, thiserror::Error)]
pub enum InvocationError {
    /// The hub has no method of this name.
    #[error("the hub has no such method")]
    UnknownMethod,
    /// The arguments do not fit the method.
    #[error("the arguments do not fit the method")]
    Arguments {
        /// What does not fit.
        #[source]
        detail: ArgumentsError,
    },
    /// The method's policy does not let the user pass.
    #[error("the method's policy does not let this user pass")]
    Unauthorized,
    /// The method returns a stream, and one value was asked for.
    #[error("the method returns a stream, and one value was asked for")]
    Streaming,
    /// The method returns once, and a stream was asked for.
    #[error("the method returns once, and a stream was asked for")]
    NotStreaming,
    /// A filter answered a call of a streaming method with one value.
    #[error("a filter answered a call of a streaming method with one value")]
    NotAStream,
    /// Too many or too few streams came with the call.
    #[error("{sent} streams came with the call, {expected} are expected")]
    Uploads {
        /// How many came.
        sent: usize,
        /// How many [`Upload`](crate::Upload)s the method takes.
        expected: usize,
    },
    /// The method failed.
    #[error("the method failed: {0}")]
    Failed(HubError),
}

impl From<HubError> for InvocationError {
    fn from(error: HubError) -> Self {
        Self::Failed(error)
    }
}

/// How arguments do not fit a method.
#[derive(Debug, thiserror::Error)]
pub enum ArgumentsError {
    /// Too many or too few.
    #[error("{given} arguments were given, {expected} are expected")]
    Count {
        /// How many came.
        given: usize,
        /// How many the method has.
        expected: usize,
    },
    /// One of another type.
    #[error("argument {index} does not fit its type")]
    Type {
        /// Which, from 0.
        index: usize,
        /// What the deserialiser said.
        #[source]
        source: erased_serde::Error,
    },
}

impl ArgumentsError {
    pub(crate) const fn expect(given: usize, expected: usize) -> Result<(), InvocationError> {
        if given == expected {
            return Ok(());
        }
        Err(InvocationError::Arguments { detail: Self::Count { given, expected } })
    }
}

/// Why a send did not, or is not known to, reach every connection it was meant for.
///
/// With several groups, users or connections all are attempted, and the first error is told. Once
/// the arguments are encoded, connections of this node that are addressed by their ids get the
/// message whatever happens beyond.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// An argument cannot be serialised; nothing was sent.
    #[error("the arguments cannot be encoded for clients that speak {protocol:?}")]
    Encode {
        /// The client protocol.
        protocol: &'static str,
        /// What it said.
        #[source]
        source: EncodeError,
    },
    /// Nothing was sent, as there is no protocol to encode it for.
    #[error("the hub speaks no client protocol yet: mount a front end first, or call Hub::speak")]
    NoProtocol,
    /// Only connections of this node got it: the link to the broker is down, and the backplane keeps
    /// nothing for later, or not for so long.
    #[error("only this node's connections got it: the link to the broker is down")]
    HereOnly(#[source] Arc<LinkError>),
    /// Connections of this node got it; whether those of others did is unknown, as the link failed
    /// before the broker answered.
    #[error(
        "this node's connections got it; the link failed before the broker said whether others did"
    )]
    Unknown,
    /// The queue to the broker is full; nothing was sent to the target that this speaks of. Only from
    /// `try_send`.
    #[error("the queue to the broker is full: use send, which waits for room, or send less")]
    QueueFull,
    /// The broker refuses it; connections of this node got it.
    #[error("the broker refuses it: {reason}; this node's connections got it")]
    Refused {
        /// What the broker said.
        reason: Arc<str>,
    },
    /// More than the transport carries; nothing was sent.
    #[error(
        "the message has {size} in all protocols, the transport carries at most {limit}: send less, or a reference to it"
    )]
    TooLarge {
        /// The encoded size, for all protocols together.
        size: ByteSize,
        /// See [`Semantics::largest_body`](backplane_core::Semantics::largest_body).
        limit: ByteSize,
    },
    /// A group, user or connection of this name cannot exist; nothing was sent to it.
    #[error("a name is too long: at most {} bytes", backplane_core::LONGEST_NAME)]
    NameTooLong,
    /// The list of excluded connections does not fit into an envelope; nothing was sent.
    #[error("{count} excluded connections are too many for one message: use a group")]
    TooManyExceptions {
        /// How many there were.
        count: usize,
    },
    /// The backplane was closed; nothing was sent.
    #[error("the backplane is closed")]
    Closed,
}

/// Why a call of a client has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvokeError {
    /// No node has this connection.
    #[error("Connection '{id}' does not exist.")]
    NotFound {
        /// The connection.
        id: Box<str>,
    },
    /// The connection ended before the client answered.
    #[error("Connection '{id}' disconnected.")]
    Disconnected {
        /// The connection.
        id: Box<str>,
    },
    /// The connection's node left or died before the client answered.
    #[error("Connection '{id}' disconnected, as its node has left or died.")]
    NodeGone {
        /// The connection.
        id: Box<str>,
    },
    /// The client's method failed, or the client has none of this name.
    #[error("{message}")]
    Client {
        /// What the client said.
        message: Box<str>,
    },
    /// What the client returned is not of the type that is asked for.
    #[error("Error trying to deserialize result to {expected}.")]
    Result {
        /// The name of the type.
        expected: &'static str,
        /// What the deserialiser said.
        #[source]
        source: erased_serde::Error,
    },
    /// The client answered in a protocol that this node's hub does not speak.
    #[error(
        "the client answered in the protocol {protocol:?}, which this node's hub does not speak: call Hub::speak for it on every node"
    )]
    UnknownProtocol {
        /// Its name.
        protocol: Box<str>,
    },
    /// A client cannot answer before `on_connected` has returned.
    #[error("Client results inside OnConnectedAsync Hub methods are not allowed.")]
    InsideOnConnected,
    /// An argument cannot be serialised; nobody was called.
    #[error("the arguments cannot be encoded for clients that speak {protocol:?}")]
    Encode {
        /// The client protocol.
        protocol: &'static str,
        /// What it said.
        #[source]
        source: EncodeError,
    },
    /// Nobody was called, as there is no protocol to encode the call for.
    #[error("the hub speaks no client protocol yet: mount a front end first, or call Hub::speak")]
    NoProtocol,
    /// The call or the result is larger than the transport carries between nodes.
    #[error(
        "the call or its result has {size}, the transport carries at most {limit} between nodes: send less, or a reference to it"
    )]
    TooLarge {
        /// Its encoded size; of a call, for all protocols together.
        size: ByteSize,
        /// See [`Semantics::largest_body`](backplane_core::Semantics::largest_body).
        limit: ByteSize,
    },
    /// The call was dropped, as the client does not take its messages as fast as they come.
    #[error("Connection '{id}' takes its messages too slowly: the call was dropped")]
    TooSlow {
        /// The connection.
        id: Box<str>,
    },
    /// The connection's node does not take the call.
    #[error("the connection's node refuses the call: {reason}")]
    Refused {
        /// Why.
        reason: Arc<str>,
    },
    /// The connection's node cannot be asked, or what it says is not heard: the client may or may not
    /// have been called.
    #[error("the connection's node cannot be reached: {reason}; try again when the link is up")]
    Unavailable {
        /// What stands in the way.
        reason: Arc<str>,
    },
    /// The hub or the backplane was closed.
    #[error("the hub is closed")]
    Closed,
}

/// Why what a client answered went nowhere. The call it names, if there is one, goes on waiting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompletionError {
    /// No such call waits: it was given up, or never made.
    #[error("no call waits for a result with the invocation ID '{invocation}'")]
    Unknown {
        /// The id that the client gave.
        invocation: Box<str>,
    },
    /// Another connection was called.
    #[error("Connection ID '{connection}' is not valid for invocation ID '{invocation}'.")]
    WrongConnection {
        /// The connection that answered.
        connection: ConnectionId,
        /// The id that its client gave.
        invocation: Box<str>,
    },
}

/// Why a relayed request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// No node has this connection.
    #[error("no node has this connection")]
    NotFound,
    /// The connection has ended.
    #[error("the connection has ended")]
    Ended,
    /// The connection's node left or died: its connections are gone with it. It may have served the
    /// request.
    #[error("the connection's node has left or died, and the connection with it")]
    NodeGone,
    /// The request or its answer is larger than the transport carries.
    #[error(
        "the request or its answer has {size}, the transport carries at most {limit} between nodes"
    )]
    TooLarge {
        /// Its encoded size.
        size: ByteSize,
        /// See [`Semantics::largest_body`](backplane_core::Semantics::largest_body).
        limit: ByteSize,
    },
    /// The connection's node does not take the request.
    #[error("the connection's node refuses the request: {reason}")]
    Refused {
        /// Why.
        reason: Arc<str>,
    },
    /// The connection's node cannot be asked, or what it says is not heard: it may or may not have
    /// served the request.
    #[error("the connection's node cannot be reached: {reason}")]
    Unavailable {
        /// What stands in the way.
        reason: Arc<str>,
    },
    /// The backplane was closed.
    #[error("the backplane is closed")]
    Closed,
}

/// Why a connection did not join or leave a group.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// No node has this connection.
    #[error("no node has this connection")]
    NotFound,
    /// The node that has the connection cannot be asked, or did not say what came of it: the change
    /// may or may not have been made.
    #[error("the connection's node cannot be reached: {reason}; try again when the link is up")]
    Unavailable {
        /// What stands in the way.
        reason: Arc<str>,
    },
    /// The node that has the connection had taken the request on, and then left or died. Its
    /// connections are gone with it.
    #[error("the connection's node has left or died, and the connection with it")]
    NodeGone,
    /// Some of the user's nodes could not be asked, or did not say what came of it: the change may or may not have
    /// been made there. It was made everywhere else.
    #[error(
        "the change was not made on {} of the nodes, as far as is known: {reason}; try again, which changes nothing where it was made", nodes.len()
    )]
    Partly {
        /// Which; none where this node does not even know the others, as its link was never up.
        nodes: Vec<NodeId>,
        /// What stands in the way at the first of them.
        reason: Arc<str>,
    },
    /// The name is longer than any group's or user's.
    #[error(
        "the group's name, or the user's, is too long: at most {} bytes",
        backplane_core::LONGEST_NAME
    )]
    NameTooLong,
    /// The broker refuses the group's topic.
    #[error(
        "the broker refuses the group: {reason}; check the access rules of the user that the node connects as"
    )]
    Refused {
        /// What the broker said.
        reason: Arc<str>,
    },
    /// The backplane was closed.
    #[error("the backplane is closed")]
    Closed,
}

/// Why a connection was not opened.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The hub's policy does not let the user pass.
    #[error(transparent)]
    Unauthorized(#[from] Unauthorized),
    /// This node has a connection with this id.
    #[error("a connection with this id is open already")]
    Duplicate,
    /// The connection's id or the user's is longer than any name.
    #[error(
        "the connection's id or the user's is too long: at most {} bytes",
        backplane_core::LONGEST_NAME
    )]
    NameTooLong,
    /// The hub speaks as many protocols as it can.
    #[error("the hub speaks {} protocols already and takes no more", crate::protocol::MOST)]
    TooManyProtocols,
    /// The broker refuses a topic.
    #[error(
        "the broker refuses a topic: {reason}; check the access rules of the user that the node connects as"
    )]
    Refused {
        /// What the broker said.
        reason: Arc<str>,
    },
    /// The hub is closing, or the backplane closed.
    #[error("the hub is closed")]
    Closed,
}

/// Why a connection's user was not refreshed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefreshError {
    /// The hub's policy would not let the user pass any more.
    #[error(transparent)]
    Unauthorized(#[from] Unauthorized),
    /// This node has no such connection.
    #[error("this node has no such connection: refresh it on the node that has it")]
    Unknown,
    /// The connection belongs to somebody else, or to nobody.
    #[error("the connection belongs to another user: open a new one for this user")]
    OtherUser,
}

/// Why a negotiated connection was not granted.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// It was granted before.
    #[error("the connection was claimed before: negotiate again")]
    AlreadyClaimed {
        /// The node that has it, where the registrar is of a version that tells.
        owner: Option<NodeId>,
    },
    /// It was granted before, and has ended since.
    #[error("the connection has ended: negotiate again")]
    Ended,
    /// The registrar does not know it, or no longer, or is gone.
    #[error(
        "the node that negotiated the connection does not know it, or is gone: negotiate again"
    )]
    Unknown,
    /// The registrar cannot be asked.
    #[error("the node that negotiated the connection cannot be reached: {reason}")]
    Unavailable {
        /// What stands in the way.
        reason: Arc<str>,
    },
}

/// Closing a hub did not go as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{connections} connections had not ended when the deadline passed")]
#[non_exhaustive]
pub struct CloseError {
    /// How many.
    pub connections: usize,
}
