//! Whether a stream drops messages faster than they are read.

use std::time::Duration;

use backplane_core::LinkError;
use tokio::time::Instant;

use super::{api::Api, consumer::Found, stream::Stream};

/// How often the stream is asked at the most.
const EVERY: Duration = Duration::from_secs(1);

/// Watches what comes. Messages that do not follow on each other are of other parts between them, or were dropped
/// before the server had sent them: only the stream can tell, by where it begins.
#[derive(Debug)]
pub(super) struct Overtaken {
    /// How many more there were behind the last message.
    pending: u64,
    /// Where the stream begins at the least, if something was dropped that was to come.
    suspect: Option<u64>,
    asked: Option<Instant>,
}

impl Overtaken {
    /// Of a consumer that had so many to send when it was made.
    pub(super) const fn new(pending: u64) -> Self {
        Self { pending, suspect: None, asked: None }
    }

    /// Whether something that was to come behind `read` may have been dropped. Told up to a second late.
    pub(super) async fn look(
        &mut self,
        (api, stream, created): (&Api, &Stream, u64),
        read: u64,
        found: &[Found],
    ) -> Result<bool, LinkError> {
        self.follow(read, found.iter().map(|found| (found.at.sequence, found.pending)));
        let Some(suspect) = self.suspect else { return Ok(false) };
        if self.asked.is_some_and(|asked| asked.elapsed() < EVERY) {
            return Ok(false);
        }
        (self.suspect, self.asked) = (None, Some(Instant::now()));
        Ok(stream.standing(api, created).await?.first >= suspect)
    }

    /// Takes the sequences of messages, and how many more there were behind each; at a heartbeat there are none.
    fn follow(&mut self, mut read: u64, found: impl Iterator<Item = (u64, u64)>) {
        let mut pending = 0;
        for (sequence, more) in found {
            if sequence > read + 1 {
                // Who had everything a moment ago goes on with what is oldest now, or with what is new.
                let begins = if self.pending > 0 { read + 2 } else { sequence };
                self.suspect = Some(self.suspect.map_or(begins, |suspect| suspect.min(begins)));
            }
            (read, self.pending, pending) = (read.max(sequence), more, more);
        }
        self.pending = pending;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspect(pending: u64, read: u64, batches: &[&[(u64, u64)]]) -> Option<u64> {
        let mut overtaken = Overtaken::new(pending);
        let mut read = read;
        for batch in batches {
            overtaken.follow(read, batch.iter().copied());
            read = batch.last().map_or(read, |last| last.0);
        }
        overtaken.suspect
    }

    #[test]
    fn what_does_not_follow_may_have_been_dropped() {
        assert_eq!(suspect(0, 10, &[&[(11, 2), (12, 1)], &[(13, 0)]]), None);
        assert_eq!(suspect(0, 10, &[&[(15, 3)]]), Some(15), "it had all before");
        assert_eq!(suspect(0, 10, &[&[(11, 3), (15, 2), (20, 1)]]), Some(13), "it was behind");
        assert_eq!(suspect(5, 0, &[&[(9, 4)]]), Some(2));
        assert_eq!(suspect(5, 0, &[&[], &[(9, 4)]]), Some(9), "a heartbeat: there is no more");
    }
}
