//! Says how far a comparison is: a bar on a terminal, plain lines anywhere else.

use std::{
    io::{IsTerminal as _, Write},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    format::remaining,
    plan::{Plan, Planned},
};

/// How much is done, and how long the rest takes, from what was expected and what it took so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    expected: Vec<Duration>,
    done: usize,
    took: Duration,
}

impl Pace {
    /// At the beginning.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let expected = plan.runs.iter().map(|planned| planned.lasts).collect();
        Self { expected, done: 0, took: Duration::ZERO }
    }

    /// The present run has ended, after this long.
    pub fn ended(&mut self, took: Duration) {
        self.done += 1;
        self.took += took;
    }

    /// The present run makes no sense, and says nothing about how long others take.
    pub fn skipped(&mut self) {
        if let Some(expected) = self.expected.get_mut(self.done) {
            *expected = Duration::ZERO;
        }
        self.done += 1;
    }

    /// What is left when the present run has lasted for `present`. The first runs also correct what is
    /// expected of the others, but no run makes them shorter than half or longer than twice.
    #[must_use]
    pub fn left(&self, present: Duration) -> Duration {
        let expected_done: Duration = self.expected.iter().take(self.done).sum();
        let factor = if expected_done.is_zero() {
            1.0
        } else {
            (self.took.as_secs_f64() / expected_done.as_secs_f64()).clamp(0.5, 2.0)
        };
        let mut ahead = self.expected.iter().skip(self.done).map(|lasts| lasts.mul_f64(factor));
        let of_present = ahead.next().unwrap_or_default().saturating_sub(present);
        of_present + ahead.sum::<Duration>()
    }

    /// The part that is done, of 1; short of 1 until all is.
    #[must_use]
    pub fn part(&self, present: Duration) -> f64 {
        let spent = (self.took + present).as_secs_f64();
        let left = self.left(present).as_secs_f64();
        match (self.done == self.expected.len(), spent + left) {
            (true, _) => 1.0,
            (false, 0.0) => 0.0,
            (false, all) => (spent / all).min(0.999),
        }
    }
}

/// The bar's length: it moves by thousandths.
const WHOLE: f64 = 1_000.0;

/// Shows the [`Pace`] on standard error.
#[derive(Debug)]
pub struct Progress {
    pace: Pace,
    bar: Option<ProgressBar>,
    present: Option<(String, Instant)>,
}

impl Progress {
    /// A bar if both standard output and standard error are a terminal; plain lines otherwise, so that a
    /// log stays readable.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let terminal = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        let bar = terminal.then(|| {
            let target = ProgressDrawTarget::stderr();
            let bar = ProgressBar::with_draw_target(Some(WHOLE as u64), target);
            let style = ProgressStyle::with_template("{bar:24} {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { pace: Pace::new(plan), bar, present: None }
    }

    /// A run begins.
    pub fn begins(&mut self, index: usize, plan: &Plan) {
        let Some(planned) = plan.runs.get(index) else { return };
        let name = format!("{} of {}: {}", index + 1, plan.runs.len(), named(planned));
        if self.bar.is_none() {
            let left = remaining(self.pace.left(Duration::ZERO));
            self.line(&format!("{name}, {left} left"));
        }
        self.present = Some((name, Instant::now()));
        self.moves();
    }

    /// Some time has passed.
    pub fn moves(&self) {
        let (Some(bar), Some((name, since))) = (&self.bar, &self.present) else { return };
        let present = since.elapsed();
        bar.set_position((self.pace.part(present) * WHOLE) as u64);
        bar.set_message(format!("{name}, {} left", remaining(self.pace.left(present))));
    }

    /// The run has ended, and this is what came of it.
    pub fn ended(&mut self, came: &str, applicable: bool) {
        let Some((name, since)) = self.present.take() else { return };
        if applicable {
            self.pace.ended(since.elapsed());
        } else {
            self.pace.skipped();
        }
        self.line(&match self.bar {
            Some(_) => format!("{name}: {came}"),
            None => format!("    {came}"),
        });
    }

    /// Nothing more comes: the bar goes, what was said stays.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => {
                // Nobody is there to read it: that is no reason to stop measuring.
                let _ = writeln!(std::io::stderr(), "{text}");
            }
        }
    }
}

fn named(planned: &Planned) -> String {
    let case = &planned.case;
    format!("{}, {} {}", case.scenario, case.transport, case.layer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::bench::Case;

    fn plan(seconds: &[u64]) -> Plan {
        let case = Case {
            transport: "redis7".to_owned(),
            layer: "bare".to_owned(),
            scenario: "killed 2 s".to_owned(),
        };
        let planned =
            |&seconds| Planned { case: case.clone(), lasts: Duration::from_secs(seconds) };
        Plan { runs: seconds.iter().map(planned).collect() }
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_left_follows_from_what_it_took() {
        let mut pace = Pace::new(&plan(&[10, 10, 20]));
        assert_eq!(pace.left(Duration::ZERO), seconds(40));
        assert_eq!(pace.left(seconds(4)), seconds(36));
        assert_eq!(pace.left(seconds(15)), seconds(30), "an overdue run owes nothing");
        pace.ended(seconds(15));
        assert_eq!(pace.left(Duration::ZERO), seconds(45));
        assert_eq!(pace.left(seconds(5)), seconds(40));
        pace.ended(seconds(1_000));
        assert_eq!(pace.left(Duration::ZERO), seconds(40), "never more than twice");
        pace.ended(seconds(20));
        assert_eq!(pace.left(Duration::ZERO), Duration::ZERO);

        let mut pace = Pace::new(&plan(&[10, 10, 20]));
        pace.skipped();
        assert_eq!(pace.left(Duration::ZERO), seconds(30), "the others take as long as before");
        pace.ended(seconds(20));
        assert_eq!(pace.left(Duration::ZERO), seconds(40));
    }

    #[test]
    fn the_part_that_is_done_grows_to_one() {
        let mut pace = Pace::new(&plan(&[10, 30]));
        assert_eq!(pace.part(Duration::ZERO), 0.0);
        assert!((pace.part(seconds(4)) - 0.1).abs() < 1e-9);
        pace.ended(seconds(10));
        assert!((pace.part(Duration::ZERO) - 0.25).abs() < 1e-9);
        assert!(pace.part(seconds(500)) < 1.0, "not done is not done");
        pace.ended(seconds(30));
        assert_eq!(pace.part(Duration::ZERO), 1.0);
        assert_eq!(Pace::new(&plan(&[])).part(Duration::ZERO), 1.0);
    }
}
