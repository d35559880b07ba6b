//! URLs of brokers, which may name several servers. A general parser of URLs reads no such thing.

use std::{fmt, net::Ipv6Addr};

use crate::ConnectError;

/// `scheme://[login@]host[:port][,host[:port]…][/path][?query]`, in its parts.
///
/// For a transport's `from_url`: scheme, login and options are the transport's own; see
/// [`NodeOptions::from_query`](crate::NodeOptions::from_query) for the latter.
///
/// ```
/// use backplane_core::BrokerUrl;
///
/// let url = BrokerUrl::parse("redis://ann:pw@one,two:6380/main?prefix=shop")?;
/// let servers: Vec<String> = url.servers(6379)?.iter().map(ToString::to_string).collect();
/// assert_eq!((url.scheme.as_str(), url.login), ("redis", Some("ann:pw")));
/// assert_eq!(servers, ["one:6379", "two:6380"]);
/// assert_eq!((url.path, url.query), ("main", "prefix=shop"));
/// # Ok::<(), backplane_core::ConnectError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerUrl<'a> {
    /// In lower case.
    pub scheme: String,
    /// What stands before the `@`, as it is written there: percent-encoded, and not for display.
    pub login: Option<&'a str>,
    /// What stands between the servers and the query, without the first `/`, as it is written.
    pub path: &'a str,
    /// What follows the question mark, as it is written.
    pub query: &'a str,
    hosts: &'a str,
}

/// A server's host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Server {
    /// A name, or an address; one of version 6 without its brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

impl<'a> BrokerUrl<'a> {
    /// Takes a URL apart.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Url`]. No message repeats a part of the URL that may hold a password.
    pub fn parse(text: &'a str) -> Result<Self, ConnectError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(ConnectError::url("expected scheme://host:port"));
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        // A password that is not encoded ends the authority early: its rest is not for display. And what
        // looks like the login of a second server would be taken for a part of the first one's password.
        if rest.contains('@') || login.is_some_and(|login| login.contains('@')) {
            return Err(ConnectError::url(
                "percent-encode / ? # and @ in user, password, token and paths; one login stands before all servers",
            ));
        }
        if rest.contains('#') {
            return Err(ConnectError::url(
                "nothing may follow a #: percent-encode it as %23 where it is meant",
            ));
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = path.strip_prefix('/').unwrap_or(path);
        Ok(Self { scheme: scheme.to_ascii_lowercase(), login, path, query, hosts })
    }

    /// The servers, at least one, with `default_port` where there is none.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Url`]: one of them is not written as host or host:port.
    pub fn servers(&self, default_port: u16) -> Result<Vec<Server>, ConnectError> {
        self.hosts.split(',').map(|server| Server::parse(server, default_port)).collect()
    }
}

impl Server {
    /// Reads `host` or `host:port`, with an address of version 6 in brackets.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Url`], which repeats nothing that stands behind a colon.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, ConnectError> {
        // What follows a colon might be a password whose host was forgotten.
        let start = text.split(':').next().unwrap_or_default();
        let wrong =
            || ConnectError::url(format!("{start:?}… is no server: write host or host:port"));
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => {
                host.parse::<Ipv6Addr>().map_err(|_| wrong())?;
                (host, port)
            }
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().map_err(|_| wrong())?,
            None if port.is_empty() => default_port,
            None => return Err(wrong()),
        };
        let is_written = |byte: u8| byte.is_ascii_graphic() && !br#"#%/<>?@[\]^|,"#.contains(&byte);
        if host.is_empty() || !host.bytes().all(is_written) || port == 0 {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_names_or_addresses() {
        let url = BrokerUrl::parse("KAFKA://a:1,b,[::1]:3,[::2],10.0.0.1/").unwrap();
        let servers = url.servers(9).unwrap();
        assert_eq!((url.scheme.as_str(), servers[2].host.as_str()), ("kafka", "::1"));
        let servers: Vec<String> = servers.iter().map(Server::to_string).collect();
        assert_eq!(servers, ["a:1", "b:9", "[::1]:3", "[::2]:9", "10.0.0.1:9"]);
        for wrong in
            ["", "a,", "a:x", "a:", "a:99999", "a b", "a:0", "[::1", "[x]", "a]", "::1", "a:1:2"]
        {
            let url = format!("x://{wrong}");
            let error = BrokerUrl::parse(&url).unwrap().servers(9).unwrap_err().to_string();
            assert!(error.contains("write host or host:port"), "{wrong}: {error}");
        }
    }

    #[test]
    fn what_may_be_a_password_is_never_shown() {
        for url in [
            "x://ann:s3/cret@a",
            "x://ann:s3?cret@a",
            "x://ann:s3#cret@a",
            "x://ann:s3cret@a:port",
            "x://ann:s3@cret@a",
            "x://ann:s3cret@a,ann:s3cret@b",
            "x://ann:s3cret",
            "x://s3cret@a#b",
            "x:s3cret",
        ] {
            let error =
                BrokerUrl::parse(url).and_then(|url| url.servers(9)).unwrap_err().to_string();
            assert!(!error.contains("s3") && !error.contains("cret"), "{url}: {error}");
        }
    }
}
