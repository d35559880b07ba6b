use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::UploadReceiver;

/// A call of a client, as a front end hands it over.
#[derive(Debug)]
pub struct Call {
    /// The method's name, which is found without regard to case.
    pub target: Box<str>,
    /// Each is what [`Protocol::argument`](crate::Protocol::argument) reads.
    pub arguments: Vec<Bytes>,
    /// The streams that the client sends beside them; see [`upload`](crate::upload).
    pub uploads: Vec<UploadReceiver>,
    /// The W3C `traceparent` that the client sent along.
    pub trace: Option<Arc<str>>,
    /// `Some` asks for a stream, which the token gives up.
    pub streaming: Option<CancellationToken>,
}

impl Call {
    /// A call that asks for one value.
    #[must_use]
    pub fn new(target: impl Into<Box<str>>, arguments: Vec<Bytes>) -> Self {
        let target = target.into();
        Self { target, arguments, uploads: Vec::new(), trace: None, streaming: None }
    }
}
