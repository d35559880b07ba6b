use backplane_core::{ConnectError, NodeOptions};

use crate::MemoryConfig;

const SHAPE: &str = "memory:NAME?option=value";

/// Reads a URL.
pub(crate) fn parse(text: &str) -> Result<MemoryConfig, ConnectError> {
    let (scheme, rest) = text
        .split_once(':')
        .ok_or_else(|| ConnectError::url(format!("it has no scheme; expected {SHAPE}")))?;
    if !scheme.eq_ignore_ascii_case("memory") {
        return Err(ConnectError::UnknownScheme {
            scheme: scheme.to_owned(),
            known: "memory:".to_owned(),
        });
    }
    if rest.contains('#') {
        return Err(ConnectError::url(format!("it has no use for a #; expected {SHAPE}")));
    }
    let (name, query) = rest.split_once('?').unwrap_or((rest, ""));
    let node = NodeOptions::from_query(query, &[], |_, _| Ok(false))?;
    Ok(MemoryConfig { name: name.trim_start_matches('/').to_owned(), node })
}

#[cfg(test)]
mod tests {
    use backplane_core::{Outage, Sequencing};

    use super::*;

    #[test]
    fn everything_a_url_can_say() {
        let config = parse("MEMORY:shop?name=one&repair=on&outage=refuse").unwrap();
        assert_eq!((&*config.name, config.node.name.as_deref()), ("shop", Some("one")));
        assert_eq!(config.node.sequencing, Sequencing::Repaired);
        assert_eq!(config.node.outage, Outage::Refuse);
        assert_eq!(parse("memory://shop?").unwrap().name, "shop");
    }

    #[test]
    fn what_a_url_leaves_out_has_a_default() {
        let config = parse("memory:").unwrap();
        assert_eq!((&*config.name, config.node.name), ("", None));
        assert_eq!(config.node.sequencing, Sequencing::Auto);
        assert_eq!(parse("memory:?name=one").unwrap().name, "");
    }

    #[test]
    fn bad_urls_and_options_say_what_is_right() {
        let cases = [
            ("memory", "expected memory:NAME?option=value"),
            ("memory:shop#tls", "expected memory:NAME?option=value"),
            ("redis://host", "use one of memory:"),
            ("memory:?prefix=a", "use name, repair, outage"),
            ("memory:?repair=maybe", "use on, counted or off"),
            ("memory:?name=a&name=b", "keep one"),
            ("memory:?name=", "give it one"),
        ];
        for (url, expected) in cases {
            let text = parse(url).unwrap_err().to_string();
            assert!(text.contains(expected), "{url}: {text}");
        }
    }
}
