//! What a client is told before it connects.

use serde::Serialize;

use crate::{Transport, query::Query, texts};

/// The versions of the negotiation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NegotiateVersion {
    /// One id, which the client shows and connects with.
    Zero = 0,
    /// A public id, and a secret token to connect with.
    One = 1,
}

impl NegotiateVersion {
    /// The version that a request is answered in, or the text that refuses it.
    pub(crate) fn of(query: &Query, minimum: Self) -> Result<Self, String> {
        let asked = match query.get("negotiateVersion") {
            None => 0,
            Some(text) => {
                text.trim().parse::<i32>().map_err(|_| texts::NOT_A_VERSION.to_owned())?
            }
        };
        if asked < minimum as i32 {
            return Err(texts::version_too_low(asked));
        }
        Ok(if asked == 0 { Self::Zero } else { Self::One })
    }
}

/// The answer, in the order of the original's properties.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    use_stateful_reconnect: bool,
    negotiate_version: u8,
    connection_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_token: Option<&'a str>,
    available_transports: Vec<Available>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_lifetime_seconds: Option<i32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Available {
    transport: &'static str,
    transfer_formats: &'static [&'static str],
}

/// Whether a client asks to come back with what it has missed.
pub(crate) fn asks_for_stateful_reconnect(query: &Query) -> bool {
    query.get("useStatefulReconnect").is_some_and(|asked| asked.trim().eq_ignore_ascii_case("true"))
}

/// The body that tells a client its ids, how it can connect and reconnect, and when it should renew its
/// credentials.
pub(crate) fn granted(
    version: NegotiateVersion,
    id: &str,
    token: &str,
    transports: &[Transport],
    use_stateful_reconnect: bool,
    token_lifetime_seconds: Option<i32>,
) -> Vec<u8> {
    let connection_token = match version {
        NegotiateVersion::Zero => None,
        NegotiateVersion::One => Some(token),
    };
    json(&Answer {
        use_stateful_reconnect,
        negotiate_version: version as u8,
        connection_id: id,
        connection_token,
        available_transports: transports
            .iter()
            .map(|it| Available { transport: it.name(), transfer_formats: it.formats() })
            .collect(),
        token_lifetime_seconds,
    })
}

/// The body that tells a client why it gets none.
pub(crate) fn refused(error: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct Refusal<'a> {
        error: &'a str,
    }

    json(&Refusal { error })
}

fn json(body: &impl Serialize) -> Vec<u8> {
    // Texts and lists of texts have a JSON form, and memory can be written to.
    serde_json::to_vec(body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use http::Uri;

    use super::*;

    fn version(query: &str, minimum: NegotiateVersion) -> Result<NegotiateVersion, String> {
        let uri: Uri = format!("/negotiate{query}").parse().unwrap();
        NegotiateVersion::of(&Query::of(&uri), minimum)
    }

    #[test]
    fn versions() {
        use NegotiateVersion::{One, Zero};
        assert_eq!(version("", Zero), Ok(Zero));
        assert_eq!(version("?negotiateVersion=0", Zero), Ok(Zero));
        assert_eq!(version("?negotiateVersion=1", Zero), Ok(One));
        assert_eq!(version("?NEGOTIATEVERSION=7", Zero), Ok(One));
        assert_eq!(version("?negotiateVersion=1", One), Ok(One));
        for query in [
            "?negotiateVersion=one",
            "?negotiateVersion=",
            "?negotiateVersion=1.0",
            "?negotiateVersion=99999999999",
        ] {
            assert_eq!(
                version(query, Zero),
                Err("The client requested a non-integer protocol version.".to_owned())
            );
        }
        assert_eq!(
            version("?negotiateVersion=-1", Zero),
            Err("The client requested version '-1', but the server does not support this version."
                .to_owned())
        );
        for query in ["", "?negotiateVersion=0"] {
            assert_eq!(
                version(query, One),
                Err("The client requested version '0', but the server does not support this version.".to_owned())
            );
        }
    }

    #[test]
    fn stateful_reconnect_is_asked_for() {
        let asks = |query: &str| {
            let uri: Uri = format!("/negotiate{query}").parse().unwrap();
            asks_for_stateful_reconnect(&Query::of(&uri))
        };
        assert!(asks("?useStatefulReconnect=true"));
        assert!(asks("?USESTATEFULRECONNECT=True&negotiateVersion=1"));
        for query in ["", "?useStatefulReconnect", "?useStatefulReconnect=1"] {
            assert!(!asks(query), "{query}");
        }
        assert!(!asks("?useStatefulReconnect=false"));
    }

    #[test]
    fn bodies() {
        assert_eq!(
            String::from_utf8(granted(
                NegotiateVersion::One,
                "public",
                "secret",
                &Transport::ALL,
                true,
                None
            ))
            .unwrap(),
            r#"{"useStatefulReconnect":true,"negotiateVersion":1,"connectionId":"public","connectionToken":"secret","availableTransports":[{"transport":"WebSockets","transferFormats":["Text","Binary"]},{"transport":"ServerSentEvents","transferFormats":["Text"]},{"transport":"LongPolling","transferFormats":["Text","Binary"]}]}"#
        );
        assert_eq!(
            String::from_utf8(granted(
                NegotiateVersion::Zero,
                "both",
                "both",
                &[Transport::WebSockets],
                false,
                Some(60)
            ))
            .unwrap(),
            r#"{"negotiateVersion":0,"connectionId":"both","availableTransports":[{"transport":"WebSockets","transferFormats":["Text","Binary"]}],"tokenLifetimeSeconds":60}"#
        );
        assert_eq!(String::from_utf8(refused("no")).unwrap(), r#"{"error":"no"}"#);
    }
}
