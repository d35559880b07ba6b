use std::{convert::Infallible, io, thread};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    task::JoinHandle,
};

/// A thread with a runtime of its own, for one connection of the client library.
///
/// The library spawns tasks that nobody else has a handle of, and that outlive the client where the
/// server does not read what they write. Dropping this ends them and their sockets at once, with
/// what they have not written. Besides, tasks on one thread run in the order in which they were
/// woken, so what was reported before a message came is handled before it.
#[derive(Debug)]
pub(crate) struct Thread {
    runtime: Handle,
    /// Dropping it ends the thread.
    _stop: oneshot::Sender<Infallible>,
}

impl Thread {
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        thread::Builder::new().name("backplane-nats".to_owned()).spawn(move || {
            // Nothing is ever sent.
            let _: Result<Infallible, _> = runtime.block_on(stopped);
            // Without waiting for the resolution of a name.
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, _stop: stop })
    }

    /// Runs a task on this thread, for as long as there is one.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime.spawn(task)
    }
}
