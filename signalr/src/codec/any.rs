//! Any message, for tests of whatever is written and read.

use bytes::Bytes;
use proptest::prelude::*;

use crate::message::{Invocation, Message, Outcome};

fn names() -> impl Strategy<Value = Box<str>> {
    ".{1,40}".prop_map(Into::into)
}

/// Of any type, with arguments, items and results that are such values.
pub(super) fn messages(
    values: impl Strategy<Value = Bytes> + Clone + 'static,
) -> impl Strategy<Value = Message> {
    let invocation = || {
        (
            prop::option::of(names()),
            ".{0,300}",
            prop::collection::vec(values.clone(), 0..4),
            prop::collection::vec(names(), 0..3),
            prop::option::of(names()),
        )
            .prop_map(|(id, target, arguments, streams, trace)| Invocation {
                id,
                target: target.into(),
                arguments,
                streams,
                trace,
            })
    };
    let outcome = prop_oneof![
        values.clone().prop_map(Outcome::Result),
        ".{0,40}".prop_map(|error| Outcome::Error(error.into())),
        Just(Outcome::Nothing),
    ];
    prop_oneof![
        invocation().prop_map(Message::Invocation),
        (names(), values.clone()).prop_map(|(id, item)| Message::StreamItem { id, item }),
        (names(), outcome).prop_map(|(id, outcome)| Message::Completion { id, outcome }),
        (names(), invocation())
            .prop_map(|(id, call)| Message::StreamInvocation(Invocation { id: Some(id), ..call })),
        names().prop_map(|id| Message::CancelInvocation { id }),
        Just(Message::Ping),
        (prop::option::of(names()), any::<bool>())
            .prop_map(|(error, allow_reconnect)| Message::Close { error, allow_reconnect }),
        any::<i64>().prop_map(|sequence| Message::Ack { sequence }),
        any::<i64>().prop_map(|sequence| Message::Sequence { sequence }),
    ]
}
