use std::{
    borrow::Cow,
    fmt,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, SeqAccess, Unexpected, Visitor},
};

/// A point in time, as an argument, a result or a part of such.
///
/// It is text by RFC 3339 in JSON, and MessagePack's own timestamp, which clients of the original know
/// as `Date` and `DateTime`. Leap seconds count as the second before.
///
/// ```
/// # use backplane_signalr::Timestamp;
/// let when: Timestamp = "2002-04-01T12:20:15+02:00".parse()?;
/// assert_eq!(serde_json::to_string(&when)?, "\"2002-04-01T10:20:15Z\"");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Since 1970, rounded down.
    seconds: i64,
    nanoseconds: u32,
}

/// A text is not a time by RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a time such as 2002-04-01T10:20:15Z")]
pub struct TimestampError;

const SECOND: u32 = 1_000_000_000;
const DAY: i64 = 86_400;

/// How `rmp-serde` knows MessagePack's extensions: a structure of this name around a type and bytes.
const EXTENSION: &str = rmp_serde::MSGPACK_EXT_STRUCT_NAME;
const TIMESTAMP: i8 = -1;

impl Timestamp {
    /// So many seconds and nanoseconds after the start of 1970, UTC; whole seconds in the nanoseconds
    /// are carried over. `None` outside of the years 0 to 9999.
    #[must_use]
    pub fn new(seconds: i64, nanoseconds: u32) -> Option<Self> {
        let seconds = seconds.checked_add((nanoseconds / SECOND).into())?;
        let range = days(0, 1, 1) * DAY..days(10_000, 1, 1) * DAY;
        range.contains(&seconds).then_some(Self { seconds, nanoseconds: nanoseconds % SECOND })
    }

    /// Whole seconds since 1970, UTC, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// What comes on top of the seconds.
    #[must_use]
    pub const fn nanoseconds(self) -> u32 {
        self.nanoseconds
    }
}

/// The nearest that it can hold, as to the years 0 to 9999.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let nanoseconds = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i128::try_from(after.as_nanos()).unwrap_or(i128::MAX),
            Err(error) => -i128::try_from(error.duration().as_nanos()).unwrap_or(i128::MAX),
        };
        let second = i128::from(SECOND);
        let least = i128::from(days(0, 1, 1) * DAY) * second;
        let most = i128::from(days(10_000, 1, 1) * DAY) * second - 1;
        let nanoseconds = nanoseconds.clamp(least, most);
        // Both fit: the first as it is of years 0 to 9999.
        Self {
            seconds: nanoseconds.div_euclid(second) as i64,
            nanoseconds: nanoseconds.rem_euclid(second) as u32,
        }
    }
}

impl From<Timestamp> for SystemTime {
    fn from(Timestamp { seconds, nanoseconds }: Timestamp) -> Self {
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let start = if seconds < 0 { UNIX_EPOCH - whole } else { UNIX_EPOCH + whole };
        start + Duration::from_nanos(nanoseconds.into())
    }
}

/// By RFC 3339, in UTC, with as many digits of the second as are needed.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.seconds.div_euclid(DAY));
        let second = self.seconds.rem_euclid(DAY);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if self.nanoseconds > 0 {
            let digits = format!("{:09}", self.nanoseconds);
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

/// By RFC 3339. What is finer than nanoseconds is left out; a time without an offset counts as UTC,
/// as the original writes such.
impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let mut text = Text(text.as_bytes());
        let year = text.number(4)?;
        text.one_of(b"-")?;
        let month = text.number(2)?;
        text.one_of(b"-")?;
        let day = text.number(2)?;
        text.one_of(b"Tt ")?;
        let hour = text.number(2)?;
        text.one_of(b":")?;
        let minute = text.number(2)?;
        text.one_of(b":")?;
        let second = text.number(2)?;
        let nanoseconds = text.fraction()?;
        let offset = text.offset()?;
        let exists = date(days(year, month, day)) == (year, month, day);
        if !exists || hour > 23 || minute > 59 || second > 60 {
            return Err(TimestampError);
        }
        let time = hour * 3600 + minute * 60 + second.min(59);
        Self::new(days(year, month, day) * DAY + time - offset, nanoseconds).ok_or(TimestampError)
    }
}

/// What is left of a text to read.
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    fn one_of(&mut self, any: &[u8]) -> Result<u8, TimestampError> {
        let (first, rest) = self.0.split_first().ok_or(TimestampError)?;
        if !any.contains(first) {
            return Err(TimestampError);
        }
        self.0 = rest;
        Ok(*first)
    }

    fn digit(&mut self) -> Result<i64, TimestampError> {
        self.one_of(b"0123456789").map(|digit| i64::from(digit - b'0'))
    }

    fn number(&mut self, digits: u8) -> Result<i64, TimestampError> {
        (0..digits).try_fold(0, |number, _| Ok(10 * number + self.digit()?))
    }

    fn fraction(&mut self) -> Result<u32, TimestampError> {
        if self.one_of(b".").is_err() {
            return Ok(0);
        }
        let mut unit = SECOND / 10;
        let mut nanoseconds = self.digit()? as u32 * unit;
        while let Ok(digit) = self.digit() {
            unit /= 10;
            nanoseconds += digit as u32 * unit;
        }
        Ok(nanoseconds)
    }

    /// How far the time is ahead of UTC, in seconds.
    fn offset(&mut self) -> Result<i64, TimestampError> {
        if self.0.is_empty() {
            return Ok(0);
        }
        let sign = self.one_of(b"Zz+-")?;
        let offset = match sign {
            b'+' | b'-' => {
                let hours = self.number(2)?;
                self.one_of(b":")?;
                let minutes = self.number(2)?;
                if hours > 23 || minutes > 59 {
                    return Err(TimestampError);
                }
                hours * 3600 + minutes * 60
            }
            _ => 0,
        };
        let end = self.0.is_empty();
        if end { Ok(if sign == b'-' { -offset } else { offset }) } else { Err(TimestampError) }
    }
}

/// Years of the calendar's cycle of 400 have so many days.
const CYCLE: i64 = 146_097;

/// The days from the start of 1970 to a date. Years are counted from March here, so that the day that
/// some have more is their last.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (cycle, year) = (year.div_euclid(400), year.rem_euclid(400));
    // March to July, August to December, and January on have 31, 30, 31, 30, 31 days each.
    let within = (153 * month + 2) / 5 + day - 1 + 365 * year + year / 4 - year / 100;
    // From March of the year 0 to 1970.
    cycle * CYCLE + within - 719_468
}

/// The year, the month and the day that is so many days from the start of 1970.
const fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (cycle, day) = (days.div_euclid(CYCLE), days.rem_euclid(CYCLE));
    let year = (day - day / 1460 + day / 36_524 - day / (CYCLE - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let year = cycle * 400 + year;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        // The shortest form that holds it: 32 bits of seconds; 34, with 30 of nanoseconds before
        // them; or 64, with 32 before them.
        let (seconds, nanoseconds) = (self.seconds, u64::from(self.nanoseconds));
        match u64::try_from(seconds) {
            Ok(seconds) if seconds >> 34 == 0 => match u32::try_from(seconds) {
                Ok(seconds) if nanoseconds == 0 => extension(serializer, &seconds.to_be_bytes()),
                _ => extension(serializer, &(nanoseconds << 34 | seconds).to_be_bytes()),
            },
            _ => {
                let mut bytes = [0; 12];
                bytes[..4].copy_from_slice(&self.nanoseconds.to_be_bytes());
                bytes[4..].copy_from_slice(&seconds.to_be_bytes());
                extension(serializer, &bytes)
            }
        }
    }
}

fn extension<S: Serializer>(serializer: S, bytes: &[u8]) -> Result<S::Ok, S::Error> {
    struct Raw<'a>(&'a [u8]);

    impl Serialize for Raw<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(self.0)
        }
    }

    serializer.serialize_newtype_struct(EXTENSION, &(TIMESTAMP, Raw(bytes)))
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = Cow::<'_, str>::deserialize(deserializer)?;
            return text.parse().map_err(D::Error::custom);
        }
        deserializer.deserialize_any(TimestampVisitor)
    }
}

struct TimestampVisitor;

impl<'de> Visitor<'de> for TimestampVisitor {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a timestamp or a text by RFC 3339")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Timestamp, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Timestamp, D::Error> {
        inner.deserialize_tuple(2, self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Timestamp, A::Error> {
        let kind: i8 = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
        if kind != TIMESTAMP {
            return Err(A::Error::invalid_value(Unexpected::Signed(kind.into()), &self));
        }
        let form: Form = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(1, &self))?;
        Ok(form.0)
    }
}

/// A timestamp in any of its three forms.
struct Form(Timestamp);

impl<'de> Deserialize<'de> for Form {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(FormVisitor)
    }
}

struct FormVisitor;

impl Visitor<'_> for FormVisitor {
    type Value = Form;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("4, 8 or 12 bytes of a timestamp of the years 0 to 9999")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Form, E> {
        let number = bytes.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
        let (seconds, nanoseconds) = match bytes.len() {
            4 => (number as i64, 0),
            8 => ((number & ((1 << 34) - 1)) as i64, (number >> 34) as u32),
            12 => (number as i64, (number >> 64) as u32),
            length => return Err(E::invalid_length(length, &self)),
        };
        let timestamp = Timestamp::new(seconds, nanoseconds).filter(|_| nanoseconds < SECOND);
        timestamp.map(Form).ok_or_else(|| E::invalid_value(Unexpected::Bytes(bytes), &self))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(timestamp: Timestamp) -> Vec<u8> {
        rmp_serde::to_vec(&timestamp).unwrap()
    }

    #[test]
    fn texts() {
        for (text, seconds, nanoseconds) in [
            ("1970-01-01T00:00:00Z", 0, 0),
            ("2002-04-01T10:20:15Z", 1_017_656_415, 0),
            ("2000-02-29T23:59:59.25Z", 951_868_799, 250_000_000),
            ("1969-12-31T23:59:59.999999999Z", -1, 999_999_999),
            ("9999-12-31T23:59:59Z", 253_402_300_799, 0),
            ("0000-01-01T00:00:00Z", -62_167_219_200, 0),
        ] {
            let timestamp = Timestamp::new(seconds, nanoseconds).unwrap();
            assert_eq!(text.parse(), Ok(timestamp));
            assert_eq!(timestamp.to_string(), text);
        }
        for (text, same) in [
            ("2002-04-01T12:20:15+02:00", "2002-04-01T10:20:15Z"),
            ("2002-03-31T23:20:15.1234567891-11:00", "2002-04-01T10:20:15.123456789Z"),
            ("2002-04-01t10:20:15z", "2002-04-01T10:20:15Z"),
            ("2002-04-01T10:20:15.0000000", "2002-04-01T10:20:15Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"),
        ] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), same);
        }
    }

    #[test]
    fn texts_that_are_no_time() {
        for text in [
            "",
            "2002-04-01",
            "2002-04-01T10:20Z",
            "2002-02-29T10:20:15Z",
            "2002-13-01T10:20:15Z",
            "2002-00-01T10:20:15Z",
            "2002-04-31T10:20:15Z",
            "2002-04-00T10:20:15Z",
            "2002-04-01T24:00:00Z",
            "2002-04-01T10:20:15.Z",
            "2002-04-01T10:20:15ZZ",
            "2002-04-01T10:20:15+0200",
            "2002-04-01T10:20:15+24:00",
            "+002-04-01T10:20:15Z",
            "0000-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(TimestampError), "{text}");
        }
    }

    #[test]
    fn forms() {
        let of = |seconds, nanoseconds| packed(Timestamp::new(seconds, nanoseconds).unwrap());
        assert_eq!(of(1, 0), b"\xd6\xff\0\0\0\x01");
        assert_eq!(of(u32::MAX.into(), 0), b"\xd6\xff\xff\xff\xff\xff");
        assert_eq!(of(1 << 32, 0), b"\xd7\xff\0\0\0\x01\0\0\0\0");
        assert_eq!(of(1, 1), b"\xd7\xff\0\0\0\x04\0\0\0\x01");
        assert_eq!(of(-1, 1), b"\xc7\x0c\xff\0\0\0\x01\xff\xff\xff\xff\xff\xff\xff\xff");
        let text = rmp_serde::to_vec("1970-01-01T00:00:01Z").unwrap();
        assert_eq!(
            rmp_serde::from_slice::<Timestamp>(&text).unwrap(),
            Timestamp::new(1, 0).unwrap()
        );
        for bytes in [
            &b"\xd6\x01\0\0\0\x01"[..],
            b"\xd5\xff\0\0",
            b"\xd7\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\xc7\x0c\xff\0\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff",
            b"\x01",
            b"\xc0",
            b"\xa1x",
        ] {
            assert!(rmp_serde::from_slice::<Timestamp>(bytes).is_err(), "{bytes:x?}");
        }
    }

    #[test]
    fn times_of_the_system() {
        let before = UNIX_EPOCH - Duration::from_millis(1500);
        assert_eq!(Timestamp::from(before).to_string(), "1969-12-31T23:59:58.5Z");
        for time in
            [before, UNIX_EPOCH, UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789)]
        {
            assert_eq!(SystemTime::from(Timestamp::from(time)), time);
        }
    }

    proptest! {
        #[test]
        fn both_protocols_give_it_back(
            seconds in -62_167_219_200_i64..253_402_300_800,
            nanoseconds in prop_oneof![Just(0), 0..SECOND],
        ) {
            let timestamp = Timestamp::new(seconds, nanoseconds).unwrap();
            let json = serde_json::to_vec(&timestamp).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Timestamp>(&json).unwrap(), timestamp);
            let packed = packed(timestamp);
            prop_assert_eq!(rmp_serde::from_slice::<Timestamp>(&packed).unwrap(), timestamp);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-0-9T:.Z+]{0,30}") {
            let _ = text.parse::<Timestamp>();
        }
    }
}
