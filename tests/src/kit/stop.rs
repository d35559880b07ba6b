//! How a scenario says what it found.

use std::{error::Error, fmt::Display, time::Duration};

/// What a scenario, or a step of one, comes to.
pub type Outcome<T = ()> = Result<T, Stop>;

/// Why a scenario ends before its end.
///
/// Any error becomes [`Stop::Broken`] by `?`; [`Doing::doing`] adds what was being done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// A promise was broken, or the medium could not be set up.
    Broken(String),
    /// The fixture cannot do what the scenario needs.
    NotApplicable(String),
    /// The transport does not promise what the scenario checks.
    NotPromised(String),
}

impl<E: Error> From<E> for Stop {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            // Some messages already hold their source's.
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text += ": ";
                text += &cause_text;
            }
            source = cause.source();
        }
        Self::Broken(text)
    }
}

/// Adds to a failure what was being done.
pub trait Doing<T> {
    /// The same, and a failure's text starts with `what`.
    ///
    /// # Errors
    ///
    /// The failure, if it is one.
    fn doing(self, what: impl Display) -> Outcome<T>;
}

impl<T, E: Into<Stop>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl Display) -> Outcome<T> {
        self.map_err(|error| match error.into() {
            Stop::Broken(text) => Stop::Broken(format!("{what}: {text}")),
            other => other,
        })
    }
}

/// How long anything may take that should take no time at all. Generous: a busy machine is no
/// failure.
pub const SOON: Duration = Duration::from_secs(20);

/// Waits for `work`, but no longer than `limit`.
///
/// # Errors
///
/// [`Stop::Broken`], which says what was waited for.
pub async fn within<T>(
    limit: Duration,
    what: impl Display,
    work: impl Future<Output = T>,
) -> Outcome<T> {
    tokio::time::timeout(limit, work)
        .await
        .map_err(|_| Stop::Broken(format!("waited {limit:?} for {what}, in vain")))
}

/// Waits until `check` says so, looking again and again: for what nobody announces.
///
/// # Errors
///
/// [`Stop::Broken`], with what `check` answered last.
pub async fn eventually<F>(
    limit: Duration,
    what: impl Display,
    mut check: impl FnMut() -> F,
) -> Outcome
where
    F: Future<Output = Outcome<Result<(), String>>>,
{
    const LONGEST: Duration = Duration::from_millis(16);
    let deadline = tokio::time::Instant::now() + limit;
    // Mostly it is so in a moment.
    let mut pause = Duration::from_millis(1);
    loop {
        let Err(state) = check().await? else { return Ok(()) };
        if tokio::time::Instant::now() >= deadline {
            return Err(Stop::Broken(format!("waited {limit:?} for {what}, in vain: {state}")));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST);
    }
}

/// Ends the scenario with [`Stop::Broken`] and this text unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err($crate::kit::Stop::Broken(format!($($text)+)));
        }
    };
}
pub(crate) use ensure;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_its_causes_once() {
        let missing = std::fs::read("/nowhere/at/all").doing("reading the list").unwrap_err();
        let Stop::Broken(text) = missing else { panic!("{missing:?}") };
        assert!(text.starts_with("reading the list: No such file"), "{text}");
        let other: Outcome = Err(Stop::NotPromised("order".to_owned()));
        assert_eq!(other.doing("looking"), Err(Stop::NotPromised("order".to_owned())));
    }

    #[tokio::test]
    async fn whatever_is_waited_for_has_a_deadline() {
        let limit = Duration::from_millis(20);
        let never = within(limit, "godot", std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(never, Stop::Broken("waited 20ms for godot, in vain".to_owned()));
        let never = eventually(limit, "two", async || Ok(Err("still one".to_owned()))).await;
        let Err(Stop::Broken(text)) = never else { panic!("{never:?}") };
        assert!(text.ends_with("still one"), "{text}");
        eventually(SOON, "nothing", async || Ok(Ok(()))).await.unwrap();
    }
}
