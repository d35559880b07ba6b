//! What a node has read of each partition, and what it wants. Outlives connections.

use std::{
    collections::HashMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How soon a wait that nobody ends looks whether it still makes sense.
const LOOK: Duration = Duration::from_millis(50);

/// Shared by the session, which wants, and the thread that reads.
#[derive(Debug, Default)]
pub(crate) struct Place {
    inner: Mutex<Inner>,
    /// A place that was marked for a subscription is known now.
    marked: Condvar,
}

#[derive(Debug, Default)]
pub(crate) struct Inner {
    /// What comes next of each partition.
    pub(crate) next: Vec<i64>,
    /// What the record in front of that was, if it is known and still there.
    pub(crate) last: Vec<Option<Trace>>,
    /// Where each partition ended when the connection was made.
    marks: Vec<i64>,
    /// Keys of interest, each with the place behind which it is due.
    wanted: HashMap<Box<str>, Due>,
    /// Those of the connection before, until they are asked for again.
    before: HashMap<Box<str>, Due>,
    /// What is still to be read before everything has been that was there when the connection was made.
    ends: HashMap<u32, i64>,
    /// Whether all that was wanted before has been asked for on this connection.
    settled: bool,
}

/// Enough of a record to tell it from another that has its place in another log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) timestamp: Option<i64>,
    pub(crate) length: usize,
    /// Of how it begins: there stand its origin and number.
    pub(crate) hash: u64,
}

/// From where on a key is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// Behind this offset of this partition. What stands in another one, where a node divides topics
    /// otherwise, is wanted wherever it stands.
    Behind { partition: u32, offset: i64 },
    /// The place is being marked.
    Marking,
}

impl Place {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this record is wanted. Waits while the place of its key is being marked, for as long as
    /// `goes_on`: then nobody can tell yet.
    pub(crate) fn wants(
        &self,
        key: &str,
        partition: u32,
        offset: i64,
        goes_on: impl Fn() -> bool,
    ) -> bool {
        let mut inner = self.lock();
        loop {
            match inner.due(key) {
                None => return false,
                Some(Due::Behind { partition: own, offset: due }) => {
                    return partition != own || offset > due;
                }
                Some(Due::Marking) if !goes_on() => return false,
                Some(Due::Marking) => {
                    let waited = self.marked.wait_timeout(inner, LOOK);
                    inner = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// The places of these keys are known.
    pub(crate) fn mark(&self, keys: impl IntoIterator<Item = (Box<str>, u32, i64)>) {
        let mut inner = self.lock();
        for (key, partition, offset) in keys {
            // Unless it was given up meanwhile.
            if let Some(due) = inner.wanted.get_mut(&key) {
                *due = Due::Behind { partition, offset };
            }
        }
        self.marked.notify_all();
    }
}

impl Inner {
    /// What was wanted on the connection before still is, until all that is wanted on this one has been
    /// asked for.
    fn due(&self, key: &str) -> Option<Due> {
        self.wanted.get(key).or_else(|| self.before.get(key)).copied()
    }

    /// A new connection, on which the partitions end with these marks: nothing is wanted until it is asked
    /// for.
    pub(crate) fn begin(&mut self, marks: &[i64]) {
        let before = std::mem::take(&mut self.wanted);
        // A place that was never marked is behind what the new marks are behind of.
        self.before.retain(|_, due| *due != Due::Marking);
        self.before.extend(before.into_iter().filter(|(_, due)| *due != Due::Marking));
        self.ends = (0..).zip(marks.iter().copied()).collect();
        self.marks = marks.to_vec();
        self.settled = false;
    }

    /// Whether something was wanted on the connection before from this place of the partition on, or from
    /// further behind.
    pub(crate) fn is_due_behind(&self, partition: u32, place: i64) -> bool {
        self.before.values().any(|due| match due {
            Due::Behind { partition: own, offset } => *own == partition && *offset >= place,
            Due::Marking => false,
        })
    }

    /// A partition turns out to be another log than on the connection before: it is read from its beginning,
    /// and whatever was wanted then is wanted from there.
    pub(crate) fn begin_anew(&mut self, partition: u32) {
        let mark = self.marks.get(partition as usize).copied().unwrap_or_default();
        let before = self.before.values_mut().map(|due| (due, true));
        for (due, was_wanted) in before.chain(self.wanted.values_mut().map(|due| (due, false))) {
            if let Due::Behind { partition: own, offset } = due
                && *own == partition
                // What is wanted since is behind the mark of this connection.
                && (was_wanted || *offset < mark)
            {
                *offset = -1;
            }
        }
        let place = partition as usize;
        if let (Some(next), Some(last)) = (self.next.get_mut(place), self.last.get_mut(place)) {
            (*next, *last) = (0, None);
        }
    }

    /// So many partitions are read. One that is new has nothing that was there before.
    pub(crate) fn resize(&mut self, partitions: usize) {
        self.next.resize(partitions, 0);
        self.last.resize(partitions, None);
    }

    /// Wants a key. Returns whether its place has to be marked first.
    pub(crate) fn want(&mut self, key: &str) -> bool {
        let due = self.before.remove(key);
        let is_new = due.is_none();
        self.wanted.insert(key.into(), due.unwrap_or(Due::Marking));
        is_new
    }

    pub(crate) fn give_up(&mut self, key: &str) {
        self.wanted.remove(key);
    }

    /// All that is wanted has been asked for. Returns whether everything has been read.
    pub(crate) fn settle(&mut self) -> bool {
        self.before.clear();
        self.settled = true;
        self.ends.is_empty()
    }

    /// A record was dealt with. Returns whether with it everything has been read that was there when the
    /// connection was made.
    pub(crate) fn read(&mut self, partition: u32, offset: i64, trace: Trace) -> bool {
        let place = partition as usize;
        if let (Some(next), Some(last)) = (self.next.get_mut(place), self.last.get_mut(place)) {
            (*next, *last) = (offset + 1, Some(trace));
        }
        let Some(end) = self.ends.get(&partition) else { return false };
        if offset >= *end {
            self.ends.remove(&partition);
        }
        self.ends.is_empty() && self.settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(place: &Place, key: &str, partition: u32, offset: i64) -> bool {
        place.wants(key, partition, offset, || false)
    }

    #[test]
    fn a_key_is_due_behind_its_mark() {
        let place = Place::default();
        place.lock().begin(&[10, 20]);
        assert!(!wants(&place, "a", 1, 30));
        assert!(place.lock().want("a"));
        assert!(!wants(&place, "a", 1, 30)); // nobody can tell yet
        place.mark([("a".into(), 1, 30)]);
        assert!(!wants(&place, "a", 1, 30) && wants(&place, "a", 1, 31));
        assert!(wants(&place, "a", 0, 5));
        place.lock().give_up("a");
        place.mark([("a".into(), 1, 40)]);
        assert!(!wants(&place, "a", 1, 50));
    }

    #[test]
    fn what_was_wanted_stays_wanted_until_all_is_asked_for() {
        let place = Place::default();
        place.lock().begin(&[0]);
        for key in ["a", "b"] {
            place.lock().want(key);
            place.mark([(key.into(), 0, 7)]);
        }
        place.lock().begin(&[9]);
        assert!(wants(&place, "a", 0, 8) && wants(&place, "b", 0, 8));
        assert!(!place.lock().want("a") && !place.lock().settle());
        assert!(wants(&place, "a", 0, 8) && !wants(&place, "b", 0, 8));
        assert!(!wants(&place, "a", 0, 7));
        place.lock().begin(&[9]);
        place.lock().begin_anew(0);
        assert!(wants(&place, "a", 0, 0));
    }

    const TRACE: Trace = Trace { timestamp: Some(1), length: 2, hash: 3 };

    #[test]
    fn everything_is_read_when_each_mark_is() {
        let place = Place::default();
        let mut inner = place.lock();
        inner.resize(2);
        inner.next = vec![4, 0];
        inner.begin(&[5, 0]);
        let mut read = |partition, offset| inner.read(partition, offset, TRACE);
        assert!(!read(0, 4) && !read(1, 0) && !read(0, 5));
        assert!(inner.settle());
        assert_eq!((&inner.next, inner.last[0]), (&vec![6, 1], Some(TRACE)));
        inner.begin(&[7, 1]);
        assert!(!inner.settle() && !inner.read(0, 7, TRACE) && inner.read(1, 1, TRACE));
        assert!(!inner.read(0, 8, TRACE));
    }

    #[test]
    fn another_log_is_wanted_from_its_beginning_by_those_who_were_there() {
        let place = Place::default();
        place.lock().resize(1);
        place.lock().want("old");
        place.mark([("old".into(), 0, 7)]);
        place.lock().read(0, 9, TRACE);
        place.lock().begin(&[20]);
        place.lock().want("old");
        place.lock().want("new");
        place.mark([("new".into(), 0, 21)]);
        place.lock().begin_anew(0);
        assert!(wants(&place, "old", 0, 0) && !wants(&place, "new", 0, 0));
        let inner = place.lock();
        assert_eq!((inner.next[0], inner.last[0]), (0, None));
    }

    #[test]
    fn a_mark_at_the_end_of_the_log_or_behind_it_is_of_another() {
        let place = Place::default();
        place.lock().want("a");
        place.mark([("a".into(), 1, 7)]);
        place.lock().begin(&[7, 8]);
        let is_due_behind = |partition, mark| place.lock().is_due_behind(partition, mark);
        assert!(is_due_behind(1, 7) && is_due_behind(1, 6));
        assert!(!is_due_behind(1, 8) && !is_due_behind(0, 7));
    }

    #[test]
    fn whoever_reads_waits_for_the_mark() {
        let place = Place::default();
        place.lock().want("a");
        std::thread::scope(|threads| {
            let reader = threads.spawn(|| place.wants("a", 0, 5, || true));
            place.mark([("a".into(), 0, 4)]);
            assert!(reader.join().unwrap());
        });
    }
}
