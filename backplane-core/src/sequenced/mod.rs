//! What makes a lossy medium lossless, for as long as the origin of an envelope lives and retains it.
//!
//! Pure state machines: what happened and when goes in, what to do comes out. Nothing here knows a
//! task, a lock across a wait, or a clock.
//!
//! * [`Origin`] numbers what this node publishes, keeps it for a while, says where a topic that has
//!   fallen silent ended, and sends again what others ask for.
//! * [`Receiver`] knows the next number of each origin on each topic: delivers it, drops what is
//!   older, holds what is newer and asks for what is missing.
//! * [`Peers`] knows the origins: what they had published when a topic was subscribed, and what has
//!   to be compared after the link was in doubt.
//! * [`Sequencer`] joins the three, with one lock per lane of topics.
//!
//! # Why a loss cannot hide
//!
//! Each envelope carries its number on its topic and its predecessor's position. A receiver that
//! follows the topic sees a hole at the next envelope, or at the watermark that follows the last one.
//! One that meets an origin on a topic for the first time compares the predecessor with the origin's
//! position when the topic was subscribed: above it, something was published in between. After doubt
//! about its own link it asks every origin for the topics used since the last position that is
//! proven to have arrived, and only then says `Restored`.

mod origin;
mod peers;
mod receiver;
mod rules;
mod sequencer;
#[cfg(test)]
mod simulation;
mod track;

use std::time::Duration;

use crate::{NodeId, Topic, codec::Control, envelope::Envelope};

use origin::Origin;
use peers::{Contact, Peers};
pub(crate) use receiver::Local;
use receiver::Receiver;
pub(crate) use rules::Rules;
pub(crate) use sequencer::{Sequencer, Settings};
use track::Track;

/// In tests the same at every run, so that a seed replays.
#[cfg(not(test))]
pub(crate) type Hashing = foldhash::fast::RandomState;
#[cfg(test)]
pub(crate) type Hashing = foldhash::fast::FixedState;

/// Time since the node was started.
pub(crate) type Moment = Duration;

/// What a machine wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Say this to everyone.
    Tell(Control),
    /// Say this to everyone who is interested in the topic.
    Mark(Topic, Control),
    /// Say this to one node.
    Send(NodeId, Control),
    /// Send this again to one node.
    Resend(NodeId, Box<Envelope>),
    /// Tell all sinks that envelopes of this node may be lost on any topic.
    OriginLost(NodeId),
}

/// What a topic's sinks are to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// An envelope, and whether it had been lost.
    Message(Envelope, bool),
    /// So many of an origin's are lost, or an unknown number.
    Lost(NodeId, Option<u64>),
    /// Nothing: an envelope had been delivered or reported before. To be counted.
    Doubled,
}
