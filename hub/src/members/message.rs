use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;

use super::Mark;
use crate::protocol::MOST;

/// Messages up to this size are copied out of what they arrived in, once per node, so that a client
/// that is slow to take a small message does not keep a large buffer alive.
const COPIED: usize = 16 * 1024;

/// One message of the hub on its way to connections of this node: encoded once for each protocol.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    payloads: [Option<Payload>; MOST],
    /// Tells it from all others.
    pub(crate) mark: Mark,
    /// Names a message that comes to this node by several topics, so that a connection gets it once.
    pub(crate) once: Option<u64>,
    /// Whose members get it, where they are a group.
    pub(crate) group: Option<Arc<str>>,
    except: Except<'a>,
}

#[derive(Debug)]
struct Payload {
    bytes: Bytes,
    /// Whether it may be part of a larger buffer.
    borrowed: bool,
}

#[derive(Debug)]
enum Except<'a> {
    Few(&'a [Box<str>]),
    Many(HashSet<&'a str, foldhash::fast::RandomState>),
}

impl<'a> Message<'a> {
    pub(crate) fn new(except: &'a [Box<str>]) -> Self {
        const FEW: usize = 4;
        let except = if except.len() <= FEW {
            Except::Few(except)
        } else {
            Except::Many(except.iter().map(|id| &**id).collect())
        };
        Self { payloads: Default::default(), mark: Mark::NONE, once: None, group: None, except }
    }

    /// Adds what clients of the protocol at `slot` get; `borrowed` says that it may be part of a
    /// larger buffer.
    pub(crate) fn add(&mut self, slot: usize, bytes: Bytes, borrowed: bool) {
        if let Some(place) = self.payloads.get_mut(slot) {
            *place = Some(Payload { bytes, borrowed });
        }
    }

    /// What clients of the protocol at `slot` get.
    pub(crate) fn payload(&mut self, slot: usize) -> Option<&Bytes> {
        let payload = self.payloads.get_mut(slot)?.as_mut()?;
        if payload.borrowed && payload.bytes.len() <= COPIED {
            payload.bytes = Bytes::copy_from_slice(&payload.bytes);
        }
        payload.borrowed = false;
        Some(&payload.bytes)
    }

    pub(crate) fn excludes(&self, id: &str) -> bool {
        match &self.except {
            Except::Few(ids) => ids.iter().any(|it| **it == *id),
            Except::Many(ids) => ids.contains(id),
        }
    }
}
