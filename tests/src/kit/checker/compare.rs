//! Compares one receiver's notes with what was sent.

use std::{collections::HashMap, sync::Arc, time::Instant};

use backplane_core::{NodeId, Receipt, Topic};

use super::{
    book::{Answer, Sent, Stream},
    receiver::{Heard, Notes, Receiver},
    report::{Findings, How, Lost, Place},
};

impl Findings {
    pub(super) fn of(receiver: &Receiver, streams: &[Arc<Stream>]) -> Self {
        let notes = receiver.notes();
        let mut findings = Self {
            label: receiver.label.clone(),
            arrived: 0,
            interruptions: 0,
            lost: Vec::new(),
            doubled: Vec::new(),
            reordered: Vec::new(),
            contradicted: Vec::new(),
            strangers: notes.strangers.clone(),
        };
        let doubts = Doubts::of(&notes);
        findings.interruptions = doubts.0.len();
        findings.strangers.extend(doubts.faults(&notes));
        let mut arrivals = vec![Vec::new(); streams.len()];
        for heard in &notes.heard {
            let Heard::Message { stream, number, topic, origin } = heard else { continue };
            findings.arrived += 1;
            let known = streams.get(*stream as usize);
            match known.filter(|it| it.topic == *topic && Some(it.origin) == *origin) {
                Some(_) => arrivals[*stream as usize].push(*number),
                None => findings.strangers.push(format!(
                    "number {number} of stream {stream} came on {topic:?} from {origin:?}"
                )),
            }
        }
        let mut gaps = Gaps::of(&notes);
        for (stream, numbers) in streams.iter().zip(arrivals) {
            findings.compare(receiver, &notes, stream, &numbers, &doubts, &mut gaps);
        }
        findings
    }

    fn compare(
        &mut self,
        receiver: &Receiver,
        notes: &Notes,
        stream: &Stream,
        numbers: &[u64],
        doubts: &Doubts,
        gaps: &mut Gaps,
    ) {
        let here = stream.origin == receiver.node;
        let sent = stream.all();
        let mut times = vec![0_u32; sent.len()];
        let mut latest = None;
        let name = |number| format!("number {number} on {:?} of {}", stream.topic, stream.origin);
        for number in numbers {
            let Some((count, sent)) =
                times.get_mut(*number as usize).zip(sent.get(*number as usize))
            else {
                self.strangers.push(format!("{}, which was never sent", name(number)));
                continue;
            };
            *count += 1;
            if *count > 1 {
                self.doubled.push(name(number));
            } else if latest > Some(*number) {
                self.reordered.push(format!("{} after {latest:?}", name(number)));
            }
            latest = latest.max(Some(*number));
            let denied = match sent.answer {
                Answer::Nothing => true,
                Answer::NoOtherNode => !here,
                _ => false,
            };
            if denied && *count == 1 {
                self.contradicted.push(format!("{}: {:?}", name(number), sent.answer));
            }
        }
        let Some(since) = notes.expected.get(&stream.topic) else {
            if !numbers.is_empty() {
                let count = numbers.len();
                self.strangers.push(format!("{count} on {:?}, not expected here", stream.topic));
            }
            return;
        };
        let due = |sent: &Sent| sent.at >= *since && sent.answer != Answer::Nothing;
        let due: Vec<(u64, &Sent)> = (0..).zip(&sent).filter(|(_, sent)| due(sent)).collect();
        let mut before = None;
        for (at, (number, sent)) in due.iter().enumerate() {
            if times.get(*number as usize).is_some_and(|times| *times > 0) {
                before = None;
                continue;
            }
            let how = match sent.answer {
                _ if here => How::Unreported,
                Answer::Ok(receipt) if !doubts.cover(sent, receipt) => gaps.account(stream),
                Answer::Ok(_) => How::Interruption,
                _ => How::Ticket,
            };
            let ends = (at == 0, at + 1 == due.len());
            match self.lost.last_mut().filter(|_| before == Some(how)) {
                Some(run) => run.extend(*number, ends.1),
                None => self.lost.push(Lost::new(stream, *number, how, ends)),
            }
            before = Some(how);
        }
    }
}

impl Lost {
    fn new(stream: &Stream, number: u64, how: How, ends: (bool, bool)) -> Self {
        let place = match ends {
            (true, true) => Place::Whole,
            (true, false) => Place::Prefix,
            (false, true) => Place::Suffix,
            (false, false) => Place::Middle,
        };
        let (origin, topic) = (stream.origin, stream.topic.clone());
        Self { origin, topic, first: number, last: number, count: 1, place, how }
    }

    fn extend(&mut self, number: u64, to_the_end: bool) {
        self.last = number;
        self.count += 1;
        self.place = match (self.place, to_the_end) {
            (Place::Prefix, true) => Place::Whole,
            (Place::Middle, true) => Place::Suffix,
            (place, _) => place,
        };
    }
}

/// The spans during which the receiver was told that something may be lost; open ones have no end.
#[derive(Debug)]
struct Doubts(Vec<(Instant, Option<Instant>)>);

impl Doubts {
    fn of(notes: &Notes) -> Self {
        let mut spans: Vec<(Instant, Option<Instant>)> = Vec::new();
        for heard in &notes.heard {
            match (heard, spans.last_mut()) {
                (Heard::Interrupted { since }, _) => spans.push((*since, None)),
                (Heard::Restored { at }, Some((_, end @ None))) => *end = Some(*at),
                _ => {}
            }
        }
        Self(spans)
    }

    /// `Interrupted` and `Restored` must take turns.
    fn faults(&self, notes: &Notes) -> Vec<String> {
        let mut open = false;
        let mut faults = Vec::new();
        for heard in &notes.heard {
            match heard {
                Heard::Interrupted { .. } if open => {
                    faults.push("Interrupted twice, without Restored in between".to_owned());
                }
                Heard::Interrupted { .. } => open = true,
                Heard::Restored { .. } if !open => {
                    faults.push("Restored without Interrupted before".to_owned());
                }
                Heard::Restored { .. } => open = false,
                _ => {}
            }
        }
        faults
    }

    /// Whether the envelope may have been on its way during one of them. With a receipt that does
    /// not prove that the broker has passed it on, it may have been on its way until any later
    /// time.
    fn cover(&self, sent: &Sent, receipt: Receipt) -> bool {
        let passed_on = sent.answered.filter(|_| receipt >= Receipt::Accepted);
        self.0.iter().any(|(since, until)| {
            passed_on.is_none_or(|at| at >= *since) && until.is_none_or(|until| sent.at <= until)
        })
    }
}

/// What the receiver was told of known losses; `None` is any number.
#[derive(Debug)]
struct Gaps(HashMap<(Option<NodeId>, Topic), Option<u64>>);

impl Gaps {
    fn of(notes: &Notes) -> Self {
        let mut gaps = HashMap::new();
        for heard in &notes.heard {
            if let Heard::Gap { topic, origin, count } = heard {
                let told = gaps.entry((*origin, topic.clone())).or_insert(Some(0));
                *told = told.zip(*count).map(|(told, more)| told + more);
            }
        }
        Self(gaps)
    }

    /// Takes one loss off what was told.
    fn account(&mut self, stream: &Stream) -> How {
        // Without an origin, it may be anybody's.
        let anybodys = self.0.contains_key(&(None, stream.topic.clone()));
        match self.0.get_mut(&(Some(stream.origin), stream.topic.clone())) {
            Some(None) => How::Gap,
            Some(Some(left)) if *left > 0 => {
                *left -= 1;
                How::Gap
            }
            _ if anybodys => How::Gap,
            _ => How::Unreported,
        }
    }
}
