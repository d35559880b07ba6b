/// How a client's connection travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Both ways on one socket.
    WebSockets,
    /// One response without an end, and requests for what the client sends. Text only.
    ServerSentEvents,
    /// A response for each time that there is something, and requests for what the client sends.
    LongPolling,
}

impl Transport {
    /// All of them, in the order in which clients are to try them.
    pub(crate) const ALL: [Self; 3] = [Self::WebSockets, Self::ServerSentEvents, Self::LongPolling];

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WebSockets => "WebSockets",
            Self::ServerSentEvents => "ServerSentEvents",
            Self::LongPolling => "LongPolling",
        }
    }

    /// Whether it carries protocols that are no text.
    pub(crate) const fn takes_binary(self) -> bool {
        !matches!(self, Self::ServerSentEvents)
    }

    /// The formats that it carries, as a negotiation names them.
    pub(crate) const fn formats(self) -> &'static [&'static str] {
        if self.takes_binary() { &["Text", "Binary"] } else { &["Text"] }
    }
}
