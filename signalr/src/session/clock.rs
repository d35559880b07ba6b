use std::time::Duration;

use tokio::time::Instant;

use crate::{Options, Transport};

/// When a session has to do something though nothing happens.
///
/// Nothing is reset while messages come and go: they leave a time behind, and when the one timer of
/// the session fires it is seen whether it was too early.
#[derive(Debug)]
pub(super) struct Clock {
    keep_alive: Duration,
    client_timeout: Duration,
    send_timeout: Duration,
    /// When the last write was done.
    sent: Instant,
    /// When the running write began.
    writing: Option<Instant>,
    /// When something came last, or could have come again.
    heard: Instant,
    /// Whether the client pings. One that doesn't may be silent.
    pings: bool,
    /// Until when a client may come back that is not there.
    away: Option<Instant>,
}

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// A ping is to be sent.
    Ping,
    /// The client was silent for too long.
    ClientTimeout,
    /// A write has taken too long.
    SendTimeout,
    /// The client has not come back.
    Gone,
}

impl Clock {
    /// A client that polls needs no pings, sends none that count, and fetches what it is sent when it
    /// likes: whether it is there is told by its polls.
    pub(super) fn new(options: &Options, transport: Transport, now: Instant) -> Self {
        let of = |time| if transport == Transport::LongPolling { Duration::MAX } else { time };
        Self {
            keep_alive: of(options.keep_alive),
            client_timeout: of(options.client_timeout),
            send_timeout: of(options.send_timeout),
            sent: now,
            writing: None,
            heard: now,
            pings: false,
            away: None,
        }
    }

    /// The earliest time at which something may be due. `listening`: whether the client is listened
    /// to, as its silence doesn't count otherwise.
    pub(super) fn next(&self, listening: bool) -> Instant {
        if let Some(until) = self.away {
            return until;
        }
        let write = match self.writing {
            Some(since) => after(since, self.send_timeout),
            None => after(self.sent, self.keep_alive),
        };
        if self.pings && listening {
            write.min(after(self.heard, self.client_timeout))
        } else {
            write
        }
    }

    /// What is due.
    pub(super) fn due(&self, now: Instant, listening: bool) -> Option<Due> {
        if now < self.next(listening) {
            return None;
        }
        Some(match self.writing {
            _ if self.away.is_some() => Due::Gone,
            Some(since) if now >= after(since, self.send_timeout) => Due::SendTimeout,
            None if now >= after(self.sent, self.keep_alive) => Due::Ping,
            _ => Due::ClientTimeout,
        })
    }

    pub(super) const fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    pub(super) fn write_begins(&mut self, now: Instant) {
        self.writing = Some(now);
    }

    pub(super) fn write_ends(&mut self, now: Instant) {
        self.writing = None;
        self.sent = now;
    }

    /// Something came, or is listened for again.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// The client is not there, and may come back within this time. Nothing else is due.
    pub(super) fn leaves(&mut self, now: Instant, window: Duration) {
        self.writing = None;
        self.away = Some(after(now, window));
    }

    /// The client is back, and is being written to.
    pub(super) fn comes_back(&mut self, now: Instant) {
        self.away = None;
        self.heard = now;
        self.writing = Some(now);
    }

    /// The client pings.
    pub(super) fn pinged(&mut self) {
        self.pings = true;
    }
}

/// That time, or as good as never.
fn after(instant: Instant, duration: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(86_400 * 365 * 30);

    instant + duration.min(NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn clock(now: Instant) -> Clock {
        Clock::new(&Options::new(), Transport::WebSockets, now)
    }

    #[test]
    fn a_ping_is_due_when_nothing_was_sent() {
        let start = Instant::now();
        let mut clock = clock(start);
        assert_eq!(clock.due(start + 14 * SECOND, true), None);
        assert_eq!(clock.due(start + 15 * SECOND, true), Some(Due::Ping));
        clock.write_begins(start + 14 * SECOND);
        assert_eq!(clock.due(start + 15 * SECOND, true), None);
        clock.write_ends(start + 14 * SECOND);
        assert_eq!(clock.next(true), start + 29 * SECOND);
    }

    #[test]
    fn a_write_may_take_ten_seconds() {
        let start = Instant::now();
        let mut clock = clock(start);
        clock.write_begins(start);
        assert_eq!(clock.due(start + 9 * SECOND, true), None);
        assert_eq!(clock.due(start + 10 * SECOND, true), Some(Due::SendTimeout));
    }

    #[test]
    fn silence_counts_after_the_first_ping_and_while_listening() {
        let start = Instant::now();
        let mut clock = clock(start);
        clock.keep_alive = 100 * SECOND;
        assert_eq!(clock.due(start + 60 * SECOND, true), None);
        clock.pinged();
        assert_eq!(clock.due(start + 29 * SECOND, true), None);
        assert_eq!(clock.due(start + 30 * SECOND, true), Some(Due::ClientTimeout));
        assert_eq!(clock.due(start + 60 * SECOND, false), None);
        clock.heard(start + 60 * SECOND);
        assert_eq!(clock.due(start + 89 * SECOND, true), None);
        assert_eq!(clock.due(start + 90 * SECOND, true), Some(Due::ClientTimeout));
    }

    #[test]
    fn nothing_is_ever_due_to_a_client_that_polls() {
        let start = Instant::now();
        let mut clock = Clock::new(&Options::new(), Transport::LongPolling, start);
        clock.pinged();
        assert_eq!(clock.due(start + 86_400 * SECOND, true), None);
        clock.write_begins(start);
        assert_eq!(clock.due(start + 86_400 * SECOND, true), None);
    }

    #[test]
    fn a_client_that_is_away_has_so_long_to_come_back() {
        let start = Instant::now();
        let mut clock = clock(start);
        clock.pinged();
        clock.write_begins(start);
        clock.leaves(start, 100 * SECOND);
        assert_eq!(clock.due(start + 99 * SECOND, true), None);
        assert_eq!(clock.due(start + 100 * SECOND, true), Some(Due::Gone));
        clock.comes_back(start + 99 * SECOND);
        clock.write_ends(start + 99 * SECOND);
        assert_eq!(clock.due(start + 113 * SECOND, true), None);
        assert_eq!(clock.due(start + 114 * SECOND, true), Some(Due::Ping));
    }

    #[test]
    fn endless_times_are_no_overflow() {
        let start = Instant::now();
        let options = Options::new().keep_alive(Duration::MAX).send_timeout(Duration::MAX);
        let mut clock = Clock::new(&options, Transport::WebSockets, start);
        assert_eq!(clock.due(start + 86_400 * SECOND, true), None);
        clock.write_begins(start);
        assert_eq!(clock.due(start + 86_400 * SECOND, true), None);
    }
}
