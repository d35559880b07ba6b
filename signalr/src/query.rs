//! The query of a request. It may hold credentials, so it has no `Debug` and is never logged.

use http::Uri;

/// The query's keys and values; keys are found without case.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// That of `uri`; what can't be read as a query counts as none.
    pub(crate) fn of(uri: &Uri) -> Self {
        Self(axum::extract::Query::try_from_uri(uri).map(|query| query.0).unwrap_or_default())
    }

    /// The first value of the key.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let pair = self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
        pair.map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(uri: &'static str) -> Query {
        Query::of(&Uri::from_static(uri))
    }

    #[test]
    fn keys_have_no_case() {
        let query = query("/hub?NegotiateVersion=1&id=a%20b&ID=c&empty");
        assert_eq!(query.get("negotiateVersion"), Some("1"));
        assert_eq!(query.get("Id"), Some("a b"));
        assert_eq!(query.get("empty"), Some(""));
        assert_eq!(query.get("access_token"), None);
    }

    #[test]
    fn anything_is_a_query() {
        assert_eq!(query("/hub").get("id"), None);
        assert_eq!(query("/hub?&&=&%&%ff=%00&id=%zz").get("id"), Some("%zz"));
    }
}
