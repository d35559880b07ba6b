use std::{borrow::Cow, io};

use backplane_hub::{End, HubError};

use crate::{codec::ParseError, message::Message, stateful::Ahead, texts, websocket::FrameError};

/// Why a session ends.
#[derive(Debug)]
pub(super) enum Ending {
    /// The client said that it goes, and perhaps why.
    Left { error: Option<Box<str>> },
    /// The client closed the socket.
    HungUp,
    /// The socket failed.
    Lost(io::Error),
    /// A write took too long.
    SendTimeout,
    /// The client did what it may not.
    Fault(Fault),
    /// The hub wants it.
    Hub(End),
    /// The user's credentials have expired.
    Expired,
    /// `on_connected` failed.
    Refused(HubError),
}

/// What a client did that it may not.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Message(#[from] ParseError),
    #[error("{}", texts::too_large(*limit))]
    TooLarge { limit: usize },
    #[error("{}", texts::CUT_OFF)]
    CutOff,
    #[error("The client broke the WebSocket protocol: {0}.")]
    Frame(FrameError),
    #[error("{}", texts::CLIENT_TIMEOUT)]
    Timeout,
    #[error(transparent)]
    Ahead(#[from] Ahead),
}

impl Ending {
    /// The last message for the client, where it can still get one.
    ///
    /// A client may come back by itself unless the application does not want it, or would refuse it
    /// again.
    pub(super) fn message(&self, detailed: bool) -> Option<Message> {
        let (error, allow_reconnect) = match self {
            Self::HungUp | Self::Lost(_) | Self::SendTimeout | Self::Fault(Fault::CutOff) => {
                return None;
            }
            Self::Left { .. } => (None, true),
            Self::Hub(End::Aborted) => (None, false),
            Self::Hub(_) | Self::Expired => (None, true),
            Self::Fault(fault) => (Some(texts::closed(fault.kind(), fault, detailed)), true),
            Self::Refused(error) => {
                let show = detailed || error.is_public();
                (Some(texts::closed(error.kind(), error.message(), show)), false)
            }
        };
        Some(Message::Close { error: error.map(Into::into), allow_reconnect })
    }

    /// Whether the client takes nothing any more.
    pub(super) const fn is_cut(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::SendTimeout)
    }

    /// Whether it is the network's doing, after which a client may come back that has not said that it
    /// goes.
    pub(super) const fn is_break(&self) -> bool {
        matches!(
            self,
            Self::HungUp
                | Self::Lost(_)
                | Self::SendTimeout
                | Self::Fault(Fault::CutOff | Fault::Timeout)
        )
    }

    /// What `on_disconnected` is told; nothing where all is well.
    pub(super) fn reason(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::HungUp | Self::Expired | Self::Hub(End::Aborted | End::ShuttingDown) => None,
            Self::Left { error } => error.as_deref().map(Cow::Borrowed),
            Self::Lost(error) => Some(error.to_string().into()),
            Self::SendTimeout => Some("The client did not take what it was sent in time.".into()),
            Self::Fault(fault) => Some(fault.to_string().into()),
            Self::Hub(_) => {
                Some("The client did not take its messages as fast as they came.".into())
            }
            Self::Refused(error) => Some(error.message().into()),
        }
    }
}

impl Fault {
    /// Whether it is the client's doing, and not the network's.
    pub(super) const fn is_broken_protocol(&self) -> bool {
        !matches!(self, Self::CutOff | Self::Timeout)
    }

    /// The name of the exception that the original has for it.
    const fn kind(&self) -> &'static str {
        match self {
            Self::Timeout => "OperationCanceledException",
            Self::Ahead(_) => "InvalidOperationException",
            _ => "InvalidDataException",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;

    fn record(ending: &Ending, detailed: bool) -> Option<String> {
        let message = ending.message(detailed)?;
        Some(String::from_utf8(Codec::Json.write(&message).to_vec()).unwrap())
    }

    #[test]
    fn who_may_come_back() {
        let record = |ending: Ending| record(&ending, false).unwrap_or_default();
        assert_eq!(record(Ending::Hub(End::Aborted)), "{\"type\":7}\u{1e}");
        for ending in [
            Ending::Hub(End::ShuttingDown),
            Ending::Hub(End::TooSlow),
            Ending::Expired,
            Ending::Left { error: None },
        ] {
            assert_eq!(record(ending), "{\"type\":7,\"allowReconnect\":true}\u{1e}");
        }
        assert_eq!(
            record(Ending::Fault(Fault::TooLarge { limit: 8 })),
            "{\"type\":7,\"error\":\"Connection closed with an error.\",\"allowReconnect\":true}\u{1e}"
        );
        assert_eq!(
            record(Ending::Refused(HubError::named("IoError", "secret"))),
            "{\"type\":7,\"error\":\"Connection closed with an error.\"}\u{1e}"
        );
        assert_eq!(
            record(Ending::Refused(HubError::client("Too many."))),
            "{\"type\":7,\"error\":\"Connection closed with an error. HubException: Too many.\"}\u{1e}"
        );
        assert_eq!(record(Ending::HungUp), "");
    }

    #[test]
    fn details_are_shown_only_when_allowed() {
        let fault = Ending::Fault(Fault::TooLarge { limit: 8 });
        assert_eq!(
            record(&fault, true).unwrap(),
            "{\"type\":7,\"error\":\"Connection closed with an error. InvalidDataException: The maximum message size of 8B was exceeded. The message size can be configured in AddHubOptions.\",\"allowReconnect\":true}\u{1e}"
        );
        let timeout = Ending::Fault(Fault::Timeout);
        assert!(
            record(&timeout, true)
                .unwrap()
                .contains("OperationCanceledException: Client hasn't sent")
        );
    }
}
