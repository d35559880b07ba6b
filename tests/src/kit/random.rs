//! Randomness that can be repeated.

use super::{Doing, Outcome};

/// The environment variable that names the seed of a run.
pub const SEED: &str = "BACKPLANE_SEED";

/// The seed of this run: the one in [`SEED`], or a fresh one.
///
/// # Errors
///
/// The variable holds something else than a number.
pub fn seed() -> Outcome<u64> {
    match std::env::var(SEED) {
        Ok(text) => text.trim().parse().doing(format!("{SEED} must be a number, not {text:?}")),
        Err(_) => getrandom::u64().doing("drawing a seed"),
    }
}

/// SplitMix64: the same seed gives the same numbers, in every version of the kit.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The numbers that follow from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 where there is none.
    pub const fn below(&mut self, bound: usize) -> usize {
        // The bias is far below what any scenario could notice.
        (self.next() % if bound == 0 { 1 } else { bound as u64 }) as usize
    }

    /// This many random bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    /// A text of up to `longest` bytes, from all of Unicode, and often from what is special
    /// somewhere.
    pub fn text(&mut self, longest: usize) -> String {
        const SPECIAL: &[char] = &['*', '.', '>', '[', ':', '/', '%', ' ', '\\', '?', '$', '\0'];
        let length = self.below(longest + 1);
        let mut text = String::new();
        loop {
            let special = self.below(2) == 0;
            let next = match char::from_u32(self.below(0x11_0000) as u32) {
                Some(any) if !special => any,
                _ => SPECIAL.get(self.below(SPECIAL.len())).copied().unwrap_or('*'),
            };
            if text.len() + next.len_utf8() > length {
                return text;
            }
            text.push(next);
        }
    }

    /// Puts the items into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_itself() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            (random.next(), random.bytes(13), random.text(64), random.below(7))
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        // The published first number of SplitMix64 for the seed 0.
        assert_eq!(Random::new(0).next(), 0xE220_A839_7B1D_CDAF);
    }

    #[test]
    fn draws_keep_their_bounds() {
        let mut random = Random::new(3);
        for bound in 1..200 {
            assert!(random.below(bound) < bound);
            assert_eq!(random.bytes(bound).len(), bound);
            assert!(random.text(bound).len() <= bound);
        }
        let mut items: Vec<_> = (0..100).collect();
        random.shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
