//! From values to places on a plot, and the values that are written at its edge.

/// Places values on a line, evenly or by their logarithm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
    logarithmic: bool,
}

impl Scale {
    /// `from` is placed at `start`, `to` at `end`.
    pub(super) fn even(from: f64, to: f64, start: f64, end: f64) -> Self {
        Self { from, to: to.max(from + f64::EPSILON), start, end, logarithmic: false }
    }

    /// The same, where ten times as much is as far everywhere. `from` must be above zero.
    pub(super) fn logarithmic(from: f64, to: f64, start: f64, end: f64) -> Self {
        Self { from: from.log10(), to: to.log10(), start, end, logarithmic: true }
    }

    /// The value at the end of an even scale.
    pub(super) const fn upper(&self) -> f64 {
        self.to
    }

    /// Where a value is; outside values are at the edge.
    pub(super) fn place(&self, value: f64) -> f64 {
        let value = if self.logarithmic { value.log10() } else { value };
        let part = ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        self.start + part * (self.end - self.start)
    }
}

/// Round values from zero up to `to`, at most `most` of them beside the zero.
pub(super) fn ticks(to: f64, most: usize) -> Vec<f64> {
    if to <= 0.0 || !to.is_finite() {
        return vec![0.0];
    }
    let coarse = to / most as f64;
    let power = 10_f64.powf(coarse.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= coarse * 0.999)
        .unwrap_or(10.0 * power);
    let number = (to / step + 0.001).floor() as usize;
    (0..=number).map(|index| index as f64 * step).collect()
}

/// The powers of ten from at or below `from` to at or above `to`; at least two.
pub(super) fn decades(from: f64, to: f64) -> Vec<f64> {
    let first = (from.max(1.0).log10() + 1e-9).floor() as i32;
    let last = ((to.max(1.0).log10() - 1e-9).ceil() as i32).max(first + 1);
    (first..=last).map(|power| 10_f64.powi(power)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_placed_between_the_edges() {
        let even = Scale::even(0.0, 10.0, 100.0, 0.0);
        assert_eq!([0.0, 5.0, 10.0, 99.0].map(|value| even.place(value)), [100.0, 50.0, 0.0, 0.0]);
        let logarithmic = Scale::logarithmic(10.0, 1_000.0, 0.0, 50.0);
        assert!((logarithmic.place(100.0) - 25.0).abs() < 1e-9);
        assert_eq!(logarithmic.place(1.0), 0.0);
        assert!(Scale::even(0.0, 0.0, 0.0, 10.0).place(0.0).is_finite());
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks(10_000.0, 4), [0.0, 5_000.0, 10_000.0]);
        assert_eq!(ticks(12.0, 6), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
        assert_eq!(ticks(7.3, 5), [0.0, 2.0, 4.0, 6.0]);
        assert_eq!(ticks(0.0, 5), [0.0]);
        assert_eq!(decades(350.0, 9_000.0), [100.0, 1_000.0, 10_000.0]);
        assert_eq!(decades(100.0, 100.0), [100.0, 1_000.0]);
        assert_eq!(decades(0.0, 0.0), [1.0, 10.0]);
    }
}
