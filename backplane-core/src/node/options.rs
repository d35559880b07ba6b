use std::time::Duration;

use bytesize::ByteSize;

/// How a node behaves, whatever its transport.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NodeOptions {
    /// The most envelopes that wait to be written. Default 16,384: a few milliseconds at full speed.
    pub queue_envelopes: usize,
    /// The most bytes that wait to be written. Default 16 MiB.
    pub queue_bytes: ByteSize,
    /// How often the node probes its own link. Default 1 s: cheap, and a mute link is noticed soon.
    pub probe_every: Duration,
    /// How long a probe may take before the link counts as mute. Default 3 s: above any pause that a
    /// healthy broker makes.
    pub probe_deadline: Duration,
    /// How long a connection attempt may take. Default 5 s.
    pub connect_deadline: Duration,
    /// How long the broker may take to answer a batch. Default 5 s.
    pub answer_deadline: Duration,
    /// The first pause between attempts; it doubles up to `longest_pause`, each drawn at random
    /// from half to whole. Default 50 ms.
    pub shortest_pause: Duration,
    /// The longest pause between attempts. Default 2 s: many nodes, one restarted broker.
    pub longest_pause: Duration,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            queue_envelopes: 16_384,
            queue_bytes: ByteSize::mib(16),
            probe_every: Duration::from_secs(1),
            probe_deadline: Duration::from_secs(3),
            connect_deadline: Duration::from_secs(5),
            answer_deadline: Duration::from_secs(5),
            shortest_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(2),
        }
    }
}
