//! How much is read at once.

/// The most entries of a stream in one answer.
const MOST: usize = 512;

/// What one answer is to hold, in bytes: server and reader keep it whole.
const ENOUGH: usize = 4 * 1024 * 1024;

/// How many entries of each stream are asked for. A server counts entries, of one envelope or of many, and knows no
/// limit in bytes: so a reader begins with one, takes twice as many for as long as answers are small, and fewer
/// after one that was not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portion(usize);

impl Portion {
    pub(super) const SMALLEST: Self = Self(1);

    pub(super) const fn entries(self) -> usize {
        self.0
    }

    /// Learns from an answer, of so many bytes, and whether there was more to be had.
    pub(super) fn learn(&mut self, bytes: usize, more: bool) {
        if bytes > ENOUGH {
            self.0 = (self.0 * ENOUGH / bytes).max(1);
        } else if more && bytes <= ENOUGH / 2 {
            self.0 = (self.0 * 2).min(MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many entries of this size are asked for in the end, from 17 streams that all have more.
    fn settled(mut portion: Portion, size: usize) -> Portion {
        for _ in 0..20 {
            portion.learn(17 * portion.entries() * size, true);
        }
        portion
    }

    #[test]
    fn small_entries_come_many_at_a_time_and_large_ones_do_not() {
        let small = settled(Portion::SMALLEST, 100);
        assert_eq!(small.entries(), MOST);
        for size in [4_000, 64 * 1024, 1 << 20, 8 << 20] {
            let large = settled(small, size);
            let bytes = 17 * large.entries() * size;
            assert!(bytes <= ENOUGH || large.entries() == 1, "{large:?} of {size}");
            assert_eq!(settled(large, 100).entries(), MOST);
        }
    }

    #[test]
    fn a_reader_that_is_not_behind_learns_nothing() {
        let mut portion = Portion::SMALLEST;
        portion.learn(100, false);
        assert_eq!(portion.entries(), 1);
    }
}
