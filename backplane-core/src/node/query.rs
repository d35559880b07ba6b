use std::{borrow::Cow, time::Duration};

use super::{NodeOptions, Outage, Sequencing};
use crate::ConnectError;

/// The options that every transport's URL may have.
const EVERYWHERE: &str = "name, repair, outage";

impl NodeOptions {
    /// Reads the options of a transport's URL: `query` is what follows its question mark. These are known
    /// everywhere:
    ///
    /// * `name=kitchen-1`: [`name`](Self::name)
    /// * `repair=on`, `counted` or `off`: [`sequencing`](Self::sequencing)
    /// * `outage=buffer`, `refuse` or `wait`: [`outage`](Self::outage); `wait` waits for 10 s
    ///
    /// Any other is given to `own` with its value, which sets it, or returns false if there is none of
    /// that name; `owned` names those that there are.
    ///
    /// ```
    /// use backplane_core::NodeOptions;
    ///
    /// let mut prefix = String::new();
    /// let options = NodeOptions::from_query("prefix=a%2Fb&name=one", &["prefix"], |option, value| {
    ///     if option == "prefix" {
    ///         value.clone_into(&mut prefix);
    ///     }
    ///     Ok(option == "prefix")
    /// })?;
    /// assert_eq!((&*prefix, options.name.as_deref()), ("a/b", Some("one")));
    /// # Ok::<(), backplane_core::ConnectError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConnectError::Option`]: an option is unknown, is there twice, or has no value or a bad one.
    pub fn from_query(
        query: &str,
        owned: &[&str],
        mut own: impl FnMut(&str, &str) -> Result<bool, ConnectError>,
    ) -> Result<Self, ConnectError> {
        let mut options = Self::default();
        let mut seen: Vec<Cow<'_, str>> = Vec::new();
        for (option, value) in form_urlencoded::parse(query.as_bytes()) {
            if value.is_empty() {
                return Err(ConnectError::option(
                    &option,
                    "it has no value: give it one, or leave it out",
                ));
            }
            if seen.contains(&option) {
                return Err(ConnectError::option(&option, "it is there twice: keep one"));
            }
            if !options.set(&option, &value)? && !own(&option, &value)? {
                let known =
                    owned.iter().copied().chain([EVERYWHERE]).collect::<Vec<_>>().join(", ");
                return Err(ConnectError::option(
                    &option,
                    format!("there is none of that name; use {known}"),
                ));
            }
            seen.push(option);
        }
        Ok(options)
    }

    /// Whether there is such an option.
    fn set(&mut self, option: &str, value: &str) -> Result<bool, ConnectError> {
        let expected =
            |values| ConnectError::option(option, format!("it is {value:?}: use {values}"));
        match option {
            "name" => self.name = Some(value.into()),
            "repair" => {
                self.sequencing = match value {
                    "on" => Sequencing::Repaired,
                    "counted" => Sequencing::Counted,
                    "off" => Sequencing::Off,
                    _ => return Err(expected("on, counted or off")),
                };
            }
            "outage" => {
                self.outage = match value {
                    "buffer" => Outage::buffer(),
                    "refuse" => Outage::Refuse,
                    "wait" => Outage::Wait { deadline: Duration::from_secs(10) },
                    _ => return Err(expected("buffer, refuse or wait")),
                };
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<NodeOptions, ConnectError> {
        NodeOptions::from_query(query, &["prefix"], |option, _| Ok(option == "prefix"))
    }

    #[test]
    fn what_every_url_may_say() {
        let options = read("").unwrap();
        assert_eq!((options.name, options.sequencing), (None, Sequencing::Auto));
        assert_eq!(options.outage, Outage::buffer());
        let options = read("name=kitchen%201&repair=on&prefix=x&outage=wait").unwrap();
        assert_eq!(options.name.as_deref(), Some("kitchen 1"));
        assert_eq!(options.sequencing, Sequencing::Repaired);
        assert_eq!(options.outage, Outage::Wait { deadline: Duration::from_secs(10) });
        assert_eq!(read("repair=counted").unwrap().sequencing, Sequencing::Counted);
        assert_eq!(read("repair=off").unwrap().sequencing, Sequencing::Off);
        assert_eq!(read("outage=refuse").unwrap().outage, Outage::Refuse);
        assert_eq!(read("outage=buffer").unwrap().outage, Outage::buffer());
    }

    #[test]
    fn what_is_wrong_says_what_to_do() {
        let cases = [
            ("prefx=a", "prefx", "use prefix, name, repair, outage"),
            ("prefix=a&prefix=b", "prefix", "keep one"),
            ("name=a&name=b", "name", "keep one"),
            ("prefix=", "prefix", "give it one"),
            ("name", "name", "give it one"),
            ("repair=maybe", "repair", r#"it is "maybe": use on, counted or off"#),
            ("outage=drop", "outage", r#"it is "drop": use buffer, refuse or wait"#),
            ("?name=a", "?name", "use prefix"),
        ];
        for (query, name, expected) in cases {
            match read(query).unwrap_err() {
                ConnectError::Option { option, reason } => {
                    assert_eq!(option, name);
                    assert!(reason.contains(expected), "{query}: {reason}");
                }
                other => panic!("{query}: {other}"),
            }
        }
    }
}
