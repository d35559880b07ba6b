use std::{
    fmt,
    hash::{BuildHasher, Hash, Hasher},
    sync::{Arc, LazyLock},
};

use crate::NodeId;

/// The longest hub name, in bytes of UTF-8.
pub const LONGEST_HUB: usize = 128;

/// The longest group, user or connection name, in bytes of UTF-8.
///
/// Bounded so that every transport can carry every name: escaped, with its hub and its
/// prefix, the longest name still fits into one NATS control line (4,096 bytes).
pub const LONGEST_NAME: usize = 1024;

/// Where an envelope goes: a hub's name and a [`Route`] within it.
///
/// Names are data. Any UTF-8 text is literal, whatever it looks like to a broker, and two
/// different topics never share a channel. Cloning costs one reference count.
#[derive(Clone)]
pub struct Topic(Arc<Parts>);

struct Parts {
    /// Of the parts that follow, so that no table computes it again.
    hash: u64,
    hub: Box<str>,
    kind: RouteKind,
    name: Box<str>,
}

/// Which members of a hub a topic addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Route<'a> {
    /// Every connection of the hub.
    All,
    /// The members of a group.
    Group(&'a str),
    /// The connections of a user.
    User(&'a str),
    /// One connection.
    Connection(&'a str),
    /// One node, for requests and their answers.
    Node(&'a str),
}

/// A [`Route`] without its name; the number is its code on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum RouteKind {
    /// See [`Route::All`].
    All = 0,
    /// See [`Route::Group`].
    Group = 1,
    /// See [`Route::User`].
    User = 2,
    /// See [`Route::Connection`].
    Connection = 3,
    /// See [`Route::Node`].
    Node = 4,
}

impl RouteKind {
    /// Every kind, in the order of the codes.
    pub const ALL: [Self; 5] = [Self::All, Self::Group, Self::User, Self::Connection, Self::Node];

    /// The kind with this code on the wire, if this version knows it.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// A short word for the kind, made of lower-case letters: safe in any channel name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Group => "group",
            Self::User => "user",
            Self::Connection => "connection",
            Self::Node => "node",
        }
    }
}

impl Topic {
    /// Every connection of `hub`.
    #[must_use]
    pub fn all(hub: &str) -> Self {
        Self::new(hub, RouteKind::All, "")
    }

    /// The members of the group `name` of `hub`.
    #[must_use]
    pub fn group(hub: &str, name: &str) -> Self {
        Self::new(hub, RouteKind::Group, name)
    }

    /// The connections that user `name` has to `hub`.
    #[must_use]
    pub fn user(hub: &str, name: &str) -> Self {
        Self::new(hub, RouteKind::User, name)
    }

    /// The connection `id` of `hub`.
    #[must_use]
    pub fn connection(hub: &str, id: &str) -> Self {
        Self::new(hub, RouteKind::Connection, id)
    }

    /// The part of `hub` that runs on `node`.
    #[must_use]
    pub fn node(hub: &str, node: NodeId) -> Self {
        Self::new(hub, RouteKind::Node, &node.to_string())
    }

    /// The topic with these parts, as read from a wire.
    #[must_use]
    pub fn new(hub: &str, kind: RouteKind, name: &str) -> Self {
        let hash = TopicParts { hub, kind, name }.hashed();
        Self(Arc::new(Parts { hash, hub: hub.into(), kind, name: name.into() }))
    }

    pub(crate) fn hashed(&self) -> u64 {
        self.0.hash
    }

    /// Which of so many parts of a log holds the topic, for a transport that divides its log: always the
    /// same, whoever computes it, in whichever version. What nodes say to each other is in part 0 alone,
    /// all else in 1 to `parts`.
    #[must_use]
    pub fn part_of(&self, parts: u32) -> u32 {
        if self.kind() == RouteKind::Node {
            return 0;
        }
        // FNV-1a.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for word in [self.hub().as_bytes(), &[self.kind().code()], self.name().as_bytes()] {
            // The last byte is in no UTF-8.
            for byte in word.iter().chain(&[0xFF]) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        1 + (hash % u64::from(parts.max(1))) as u32
    }

    /// The hub's name.
    #[must_use]
    pub fn hub(&self) -> &str {
        &self.0.hub
    }

    /// Which members of the hub it addresses.
    #[must_use]
    pub fn route(&self) -> Route<'_> {
        let name = self.name();
        match self.kind() {
            RouteKind::All => Route::All,
            RouteKind::Group => Route::Group(name),
            RouteKind::User => Route::User(name),
            RouteKind::Connection => Route::Connection(name),
            RouteKind::Node => Route::Node(name),
        }
    }

    /// The route's kind.
    #[must_use]
    pub fn kind(&self) -> RouteKind {
        self.0.kind
    }

    /// The route's name; empty for [`RouteKind::All`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether hub and name are within [`LONGEST_HUB`] and [`LONGEST_NAME`].
    #[must_use]
    pub fn fits(&self) -> bool {
        self.hub().len() <= LONGEST_HUB && self.name().len() <= LONGEST_NAME
    }

    pub(crate) fn as_parts(&self) -> TopicParts<'_> {
        TopicParts { hub: self.hub(), kind: self.kind(), name: self.name() }
    }
}

impl PartialEq for Topic {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.hash == other.0.hash && self.as_parts() == other.as_parts())
    }
}

impl Eq for Topic {}

impl Hash for Topic {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            RouteKind::All => write!(f, "{}/all", self.hub()),
            kind => write!(f, "{}/{}/{}", self.hub(), kind.as_str(), self.name()),
        }
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topic({:?}, {:?})", self.hub(), self.route())
    }
}

/// A topic's parts, borrowed from a received header: found in a table without an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TopicParts<'a> {
    pub(crate) hub: &'a str,
    pub(crate) kind: RouteKind,
    pub(crate) name: &'a str,
}

/// Random for each process, so that nobody outside can make names collide; in this crate's tests always
/// the same, so that a seed replays.
static HASHING: LazyLock<Hashing> = LazyLock::new(Hashing::default);

#[cfg(not(test))]
type Hashing = foldhash::quality::RandomState;
#[cfg(test)]
type Hashing = foldhash::quality::FixedState;

impl TopicParts<'_> {
    /// The same as that of the topic with these parts.
    pub(crate) fn hashed(self) -> u64 {
        HASHING.hash_one(self)
    }
}
