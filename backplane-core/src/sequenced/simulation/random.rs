pub(super) use crate::random::Random;

impl Random {
    /// True so many times in a thousand.
    pub(super) const fn chance(&mut self, thousandth: u64) -> bool {
        self.below(1000) < thousandth
    }
}
