//! What a node has read, and what it wants to read: a pure state machine.

use std::collections::HashMap;

use super::stream::{At, Standing};

/// Outlives connections.
#[derive(Debug)]
pub(super) struct Place {
    /// When the stream was made of which this speaks.
    created: Option<u64>,
    /// The entry up to which all that is wanted was read; none where nothing ever was.
    read: Option<At>,
    /// How many channels of each part are wanted.
    interest: Vec<usize>,
    wanted: HashMap<Box<str>, Due>,
    /// Those of the connection before, until they are asked for again.
    before: HashMap<Box<str>, Due>,
}

/// From where on a channel is wanted.
#[derive(Debug, Clone, Copy)]
struct Due {
    part: u32,
    /// The sequence behind which it is; none as long as that is not known.
    behind: Option<u64>,
}

impl Place {
    /// Of so many parts.
    pub(super) fn new(parts: usize) -> Self {
        Self {
            created: None,
            read: None,
            interest: vec![0; parts],
            wanted: HashMap::new(),
            before: HashMap::new(),
        }
    }

    /// A new connection: nothing is wanted until it is asked for.
    pub(super) fn begin(&mut self) {
        // What was not asked for on the last connection was not given up either. What it did not get to the
        // end of is asked for anew.
        let before = std::mem::take(&mut self.wanted);
        self.before.extend(before.into_iter().filter(|(_, due)| due.behind.is_some()));
        self.interest.fill(0);
    }

    /// The sequence up to which was read.
    pub(super) fn read(&self) -> Option<u64> {
        self.read.map(|at| at.sequence)
    }

    pub(super) fn created(&self) -> u64 {
        self.created.unwrap_or_default()
    }

    /// Goes on where it was, in the stream as it stands now. `found` is when the entry that was read last
    /// was stored, if it is still there. Returns whether something that was to come next is gone.
    pub(super) fn resume(&mut self, standing: &Standing, found: Option<i128>) -> bool {
        let before = self.created.replace(standing.created);
        let Some(read) = self.read else { return false };
        if before != self.created {
            // Another stream: all that is in it has come since.
            self.go_on_behind(At::default());
            return true;
        }
        let other = found.is_some_and(|time| time != read.time);
        if standing.last.sequence < read.sequence || other {
            // The end of it was lost, and there may be something else in its place.
            self.go_on_behind(standing.last);
            return true;
        }
        self.is_trimmed(standing)
    }

    /// Whether what was to come next is gone; then what there is comes next.
    pub(super) fn is_trimmed(&mut self, standing: &Standing) -> bool {
        let gone = self.read.is_some_and(|read| standing.first > read.sequence + 1);
        if gone {
            self.read = Some(At { sequence: standing.first - 1, time: 0 });
        }
        gone
    }

    fn go_on_behind(&mut self, at: At) {
        self.read = Some(at);
        for due in self.before.values_mut() {
            due.behind = due.behind.map(|behind| behind.min(at.sequence));
        }
    }

    /// The place behind which a channel is due. What was wanted on the connection before still is, until all
    /// that is wanted on this one has been asked for.
    fn due(&self, channel: &str) -> Option<&Due> {
        self.wanted.get(channel).or_else(|| self.before.get(channel))
    }

    /// Whether an entry of this channel is wanted.
    pub(super) fn wants(&self, channel: &str, sequence: u64) -> bool {
        self.due(channel).and_then(|due| due.behind).is_some_and(|behind| sequence > behind)
    }

    /// This entry was handed over, or is not wanted.
    pub(super) const fn has_read(&mut self, at: At) {
        self.read = Some(at);
    }

    /// Wants a channel as it was wanted on the connection before. Returns false where it was not.
    pub(super) fn want_again(&mut self, channel: &str) -> bool {
        let Some((channel, due)) = self.before.remove_entry(channel) else { return false };
        self.insert(channel, due);
        true
    }

    /// Wants a channel, from a place that [`is_due`](Self::is_due) says.
    pub(super) fn want(&mut self, part: u32, channel: &str) {
        self.insert(channel.into(), Due { part, behind: None });
    }

    /// Wants a channel from behind this entry.
    pub(super) fn is_due(&mut self, channel: &str, end: At) {
        if let Some(due) = self.wanted.get_mut(channel) {
            due.behind = Some(end.sequence);
        }
    }

    fn insert(&mut self, channel: Box<str>, due: Due) {
        let part = due.part as usize;
        if self.wanted.insert(channel, due).is_none() {
            self.interest[part] += 1;
        }
    }

    pub(super) fn give_up(&mut self, channel: &str) {
        if let Some(due) = self.wanted.remove(channel) {
            self.interest[due.part as usize] -= 1;
        }
    }

    /// All that is wanted has been asked for.
    pub(super) fn settle(&mut self) {
        self.before.clear();
    }

    pub(super) fn is_settled(&self) -> bool {
        self.before.is_empty()
    }

    /// The parts that are to be read.
    pub(super) fn parts(&self) -> Vec<u32> {
        let mut parts = vec![false; self.interest.len()];
        let wanted = (0..).zip(&self.interest).filter(|(_, count)| **count > 0);
        wanted.for_each(|(part, _): (usize, _)| parts[part] = true);
        self.before.values().for_each(|due| parts[due.part as usize] = true);
        (0..).zip(parts).filter(|(_, is_wanted)| *is_wanted).map(|(part, _)| part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(sequence: u64) -> At {
        At { sequence, time: sequence as i128 * 10 }
    }

    fn standing(created: u64, first: u64, last: u64) -> Standing {
        Standing { created, first, last: at(last), largest: usize::MAX }
    }

    /// Wants one channel of part 1 from 5 on, and has read up to 7.
    fn place() -> Place {
        let mut place = Place::new(3);
        assert!(!place.resume(&standing(1, 1, 5), None));
        place.want(1, "a");
        assert!(!place.wants("a", 6), "it is not said yet from where on");
        place.is_due("a", at(5));
        place.has_read(at(7));
        place.begin();
        place
    }

    #[test]
    fn it_goes_on_where_it_was() {
        let mut place = place();
        assert!(!place.resume(&standing(1, 8, 20), None), "everything up to 7 was read");
        assert!(!place.resume(&standing(1, 1, 7), Some(70)));
        assert_eq!((place.read(), place.parts()), (Some(7), vec![1]));
        assert!(place.wants("a", 8) && !place.wants("b", 8));
        assert!(!place.want_again("b") && place.want_again("a"));
        place.settle();
        assert!(place.wants("a", 6) && !place.wants("a", 5) && place.is_settled());
        place.give_up("a");
        assert!(place.parts().is_empty());
    }

    #[test]
    fn what_a_connection_did_not_get_to_the_end_of_is_asked_for_anew() {
        let mut place = place();
        place.want(2, "b");
        assert_eq!(place.parts(), [1, 2]);
        place.begin();
        assert_eq!(place.parts(), [1]);
        assert!(place.want_again("a") && !place.want_again("b"));
    }

    #[test]
    fn what_is_gone_is_noticed() {
        assert!(place().resume(&standing(1, 9, 20), None), "8 was trimmed");

        let mut place = place();
        assert!(place.resume(&standing(1, 1, 6), None), "the end is gone");
        assert_eq!(place.read(), Some(6));
        assert!(place.wants("a", 7));
    }

    #[test]
    fn another_entry_in_place_of_the_last_one_is_noticed() {
        let mut place = place();
        assert!(place.resume(&standing(1, 1, 20), Some(71)));
        assert_eq!(place.read(), Some(20));
    }

    #[test]
    fn another_stream_is_read_from_its_beginning() {
        let mut place = place();
        assert!(place.resume(&standing(2, 1, 30), Some(70)));
        assert_eq!((place.read(), place.created()), (Some(0), 2));
        assert!(place.wants("a", 1));
    }
}
