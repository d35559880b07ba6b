//! Whether more was lost at a time than an origin keeps: then repair ends, and counting begins.

use backplane_core::{NodeOptions, Outage};

use super::{
    account::{Streams, View},
    journal::What,
};

#[cfg(test)]
mod tests;

/// What one envelope takes of a bound on bytes beside its body: no less than any node charges.
const FLAT: u64 = 256;

/// Whether during one outage, of whomever, one node published more than these options keep.
pub(super) fn exceeded(
    options: &NodeOptions,
    views: &[View],
    streams: &Streams,
    size: usize,
) -> bool {
    spans(views).iter().any(|span| {
        too_long(options, *span)
            || streams.iter().any(|topics| {
                let within = |at: u64| at >= span.0 && at <= span.1;
                let counts: Vec<u64> = topics
                    .iter()
                    .map(|stream| stream.iter().filter(|sent| within(sent.at)).count() as u64)
                    .collect();
                too_many(options, &counts, size as u64 + FLAT)
            })
    })
}

/// The times in which a receiver was in doubt, or a link was not up.
fn spans(views: &[View]) -> Vec<(u64, u64)> {
    let mut spans = Vec::new();
    for view in views {
        let mut since = None;
        for told in &view.pages.told {
            match told.what {
                What::Interrupted { since: doubt } => since = Some(doubt),
                What::Restored => spans.extend(since.take().map(|since| (since, told.at))),
                _ => {}
            }
        }
        spans.extend(since.map(|since| (since, u64::MAX)));
        let mut since = None;
        for change in &view.pages.links {
            match since {
                None if !change.up => since = Some(change.at),
                Some(down) if change.up => {
                    spans.push((down, change.at));
                    since = None;
                }
                _ => {}
            }
        }
        spans.extend(since.map(|since| (since, u64::MAX)));
    }
    spans
}

fn too_long(options: &NodeOptions, (from, to): (u64, u64)) -> bool {
    let lasts = u128::from(to - from);
    let buffered = match options.outage {
        Outage::Buffer { age, .. } => lasts > age.as_micros(),
        _ => false,
    };
    // One that stays open to the end is no outage that was overcome.
    to < u64::MAX && (buffered || lasts > options.retention.age.as_micros())
}

fn too_many(options: &NodeOptions, counts: &[u64], cost: u64) -> bool {
    let total: u64 = counts.iter().sum();
    let retention = &options.retention;
    let topic = counts.iter().any(|count| {
        *count > retention.topic_envelopes as u64 || count * cost > retention.topic_bytes.as_u64()
    });
    let buffered = match options.outage {
        Outage::Buffer { count, bytes, .. } => {
            total > count as u64 || total * cost > bytes.as_u64()
        }
        _ => false,
    };
    topic || buffered || total * cost > retention.bytes.as_u64()
}
