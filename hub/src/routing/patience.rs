//! When silence means that nobody is there.

/// A question is put this many times in the time within which it has to be accepted.
pub(super) const REPEATS: u32 = 4;

/// How often a node that did not run in time starts to wait anew.
const WINDOWS: u32 = 4;

/// How often a question is put beyond that while the link is not seen to deliver: with the default
/// times, for longer than a link takes to be declared mute.
const DEAF: u32 = 20;

/// How long silence may last before it means that nobody is there.
///
/// It counts only while this node runs and its link is seen to deliver: the question is put again
/// where it may be this node that did not hear.
#[derive(Debug)]
pub(super) struct Patience {
    put: u32,
    windows: u32,
    deaf: u32,
    /// The probes of the link that had come back when the window began; 0 where there are none.
    probes: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    AskAgain,
    Nobody,
    /// This node would not have heard an answer.
    Deaf,
}

impl Patience {
    pub(super) const fn new(probes: u64) -> Self {
        Self { put: 0, windows: 1, deaf: 0, probes }
    }

    /// What to do when it is time to ask. `late` says that this node did not run in time.
    pub(super) fn judge(&mut self, late: bool, probes: u64) -> Verdict {
        if self.put < REPEATS {
            self.put += 1;
            return Verdict::AskAgain;
        }
        if late {
            self.windows += 1;
            self.put = 1;
            self.probes = probes;
            return if self.windows > WINDOWS { Verdict::Deaf } else { Verdict::AskAgain };
        }
        if self.probes == 0 || probes > self.probes {
            return Verdict::Nobody;
        }
        self.deaf += 1;
        if self.deaf > DEAF { Verdict::Deaf } else { Verdict::AskAgain }
    }
}

#[cfg(test)]
mod tests {
    use super::{DEAF, Patience, REPEATS, Verdict, WINDOWS};

    /// How many questions are put, and what is concluded then.
    fn ask(mut patience: Patience, mut step: impl FnMut(u32) -> (bool, u64)) -> (u32, Verdict) {
        let mut put = 0;
        loop {
            let (late, probes) = step(put);
            match patience.judge(late, probes) {
                Verdict::AskAgain => put += 1,
                verdict => return (put, verdict),
            }
        }
    }

    #[test]
    fn silence_counts_while_this_node_runs_and_its_link_delivers() {
        assert_eq!(ask(Patience::new(7), |_| (false, 8)), (REPEATS, Verdict::Nobody));
        // A backplane without probes: there is nothing to go by.
        assert_eq!(ask(Patience::new(0), |_| (false, 0)), (REPEATS, Verdict::Nobody));
    }

    #[test]
    fn a_link_that_is_not_seen_to_deliver_proves_nothing() {
        let probe_after_six = ask(Patience::new(7), |put| (false, if put < 6 { 7 } else { 8 }));
        assert_eq!(probe_after_six, (6, Verdict::Nobody));
        assert_eq!(ask(Patience::new(7), |_| (false, 7)), (REPEATS + DEAF, Verdict::Deaf));
    }

    #[test]
    fn a_node_that_stood_still_asks_anew() {
        let once = ask(Patience::new(7), |put| (put == REPEATS, 8 + u64::from(put)));
        assert_eq!(once, (2 * REPEATS, Verdict::Nobody));
        let always = ask(Patience::new(7), |put| (true, 8 + u64::from(put)));
        assert_eq!(always, (WINDOWS * REPEATS, Verdict::Deaf));
    }
}
