//! Numbers and times as people read them.

use std::time::Duration;

/// A count, by thousands: `1,234,567`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How many of something: `1 run`, `3 runs`. The plural is the word with an s.
#[must_use]
pub fn counted(number: u64, word: &str) -> String {
    format!("{} {word}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Milliseconds in a unit that fits: `850 ms`, `2.31 s`, `2 min 05 s`.
#[must_use]
pub fn millis(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{} s", three(ms as f64 / 1e3)),
        _ => {
            let seconds = (ms + 500) / 1_000;
            format!("{} min {:02} s", count(seconds / 60), seconds % 60)
        }
    }
}

/// Microseconds in a unit that fits: `412 µs`, `1.24 ms`, `2.31 s`.
#[must_use]
pub fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        // From here on three digits would round to a whole second.
        1_000..999_500 => format!("{} ms", three(us as f64 / 1e3)),
        _ => millis((us + 500) / 1_000),
    }
}

/// Two times in the unit of the longer one: `0.41/1.24 ms`; a dash where there is neither.
#[must_use]
pub fn pair(shorter_us: u64, longer_us: u64) -> String {
    let (unit, per_unit) = match shorter_us.max(longer_us) {
        0 => return NONE.to_owned(),
        1..1_000 => return format!("{shorter_us}/{longer_us} µs"),
        1_000..999_500 => ("ms", 1e3),
        _ => ("s", 1e6),
    };
    let [shorter, longer] = [shorter_us, longer_us].map(|us| three(us as f64 / per_unit));
    format!("{shorter}/{longer} {unit}")
}

/// A part of a whole in percent: never `100 %` unless it is all, never `0 %` unless it is nothing.
#[must_use]
pub fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return NONE.to_owned();
    }
    let percent = part as f64 * 100.0 / whole as f64;
    match (part, percent) {
        (0, _) => "0 %".to_owned(),
        _ if part == whole => "100 %".to_owned(),
        (_, ..0.01) => "< 0.01 %".to_owned(),
        (_, 99.99..100.0) => "> 99.99 %".to_owned(),
        (_, 99.0..100.0) => format!("{percent:.2} %"),
        _ => format!("{percent:.1} %"),
    }
}

/// How long something still takes, no finer than one would believe: `45 s`, `3 min 20 s`.
#[must_use]
pub fn remaining(left: Duration) -> String {
    let seconds = left.as_secs_f64().round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// What stands where there is no value.
pub const NONE: &str = "–";

/// Three digits, for values below a thousand; more in front of the point where there are more.
fn three(value: f64) -> String {
    match value {
        ..9.995 => format!("{value:.2}"),
        9.995..99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_separators() {
        let texts = [0, 999, 1_000, 12_345, 1_234_567, u64::MAX].map(count);
        let wanted = ["0", "999", "1,000", "12,345", "1,234,567", "18,446,744,073,709,551,615"];
        assert_eq!(texts, wanted);
        assert_eq!(counted(1, "run"), "1 run");
        assert_eq!(counted(0, "run"), "0 runs");
        assert_eq!(counted(1_000, "run"), "1,000 runs");
    }

    #[test]
    fn times_have_the_unit_that_fits() {
        let texts = [0, 999, 1_000, 2_314, 9_999, 99_990, 119_999, 120_000, 125_499].map(millis);
        let wanted = [
            "0 ms",
            "999 ms",
            "1.00 s",
            "2.31 s",
            "10.0 s",
            "100 s",
            "120 s",
            "2 min 00 s",
            "2 min 05 s",
        ];
        assert_eq!(texts, wanted);
        let texts = [0, 999, 1_000, 12_345, 999_499, 999_500, 2_310_000].map(micros);
        let wanted = ["0 µs", "999 µs", "1.00 ms", "12.3 ms", "999 ms", "1.00 s", "2.31 s"];
        assert_eq!(texts, wanted);
        let left = [0, 59, 60, 200, 3_600, 7_260].map(|s| remaining(Duration::from_secs(s)));
        assert_eq!(left, ["0 s", "59 s", "1 min 00 s", "3 min 20 s", "1 h 00 min", "2 h 01 min"]);
    }

    #[test]
    fn a_pair_shares_its_unit() {
        assert_eq!(pair(0, 0), NONE);
        assert_eq!(pair(412, 980), "412/980 µs");
        assert_eq!(pair(412, 1_240), "0.41/1.24 ms");
        assert_eq!(pair(41_200, 2_310_000), "0.04/2.31 s");
        assert_eq!(pair(900_000, 999_500), "0.90/1.00 s");
    }

    #[test]
    fn a_share_is_all_only_if_it_is_all() {
        assert_eq!(share(0, 0), NONE);
        assert_eq!(share(0, 10), "0 %");
        assert_eq!(share(10, 10), "100 %");
        assert_eq!(share(999_999, 1_000_000), "> 99.99 %");
        assert_eq!(share(1, 1_000_000), "< 0.01 %");
        assert_eq!(share(9_968, 10_000), "99.68 %");
        assert_eq!(share(815, 1_000), "81.5 %");
    }
}
