use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::{sync::Notify, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use super::{
    ChaosOptions,
    handle::Control,
    storm::{Moving, Storm},
};
use crate::{
    LinkError,
    node::{Arrival, Detour, Inbound},
    random::Random,
};

/// One connection: what arrives on it goes through its storm.
#[derive(Debug)]
pub(super) struct Connection {
    onward: Inbound,
    storm: Mutex<Storm>,
    spares_probes: bool,
    /// Something is due earlier than everything before it.
    earlier: Notify,
    control: Arc<Control>,
}

/// A connection with the one task that lets go what it holds.
#[derive(Debug)]
pub(super) struct Running {
    connection: Arc<Connection>,
    _release: AbortOnDropHandle<()>,
}

impl Running {
    /// Within a Tokio runtime.
    pub(super) fn start(
        onward: Inbound,
        options: ChaosOptions,
        random: Random,
        control: Arc<Control>,
    ) -> Self {
        let connection = Arc::new(Connection {
            onward,
            spares_probes: !options.probes,
            storm: Mutex::new(Storm::new(options, random)),
            earlier: Notify::new(),
            control,
        });
        let release = tokio::spawn(release(Arc::clone(&connection)));
        Self { connection, _release: AbortOnDropHandle::new(release) }
    }

    /// Where the wire hands over what arrives.
    pub(super) fn inbound(&self) -> Inbound {
        self.connection.onward.through(Arc::clone(&self.connection) as Arc<dyn Detour>)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut storm = self.connection.storm();
        storm.end(&mut self.connection.control.counts());
    }
}

impl Connection {
    fn storm(&self) -> MutexGuard<'_, Storm> {
        self.storm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Outside of every lock: sinks run in here.
    fn pass(&self, going: Vec<Moving>) {
        for Moving { arrival, messages } in going {
            let taken = self.onward.take(arrival);
            let mut counts = self.control.counts();
            if taken {
                counts.passed += 1;
            } else {
                counts.abandoned += 1;
                counts.lost_messages += messages;
            }
        }
    }
}

impl Detour for Connection {
    fn arrives(&self, arrival: Arrival) {
        let contents = self.onward.contents(&arrival);
        if contents.is_probe && self.spares_probes {
            self.onward.take(arrival);
            return;
        }
        let moving = Moving { arrival, messages: contents.messages };
        let (going, earlier) = {
            let mut storm = self.storm();
            let before = storm.due();
            // Asked under the lock, so that nothing is held behind what a switch lets go.
            let on = self.control.is_on();
            let going = storm.arrives(moving, Instant::now(), on, &mut self.control.counts());
            let due = storm.due();
            (going, due.is_some_and(|due| before.is_none_or(|before| due < before)))
        };
        if earlier {
            self.earlier.notify_one();
        }
        self.pass(going);
    }
}

/// Lets go what is held when it is due, or when the chaos is switched off.
async fn release(connection: Arc<Connection>) {
    let _told = TellsOfPanic(&connection.onward);
    let mut switched = connection.control.switched();
    loop {
        let on = *switched.borrow_and_update();
        let going = {
            let mut storm = connection.storm();
            if on { storm.release(Instant::now()) } else { storm.release_all() }
        };
        connection.pass(going);
        let due = connection.storm().due();
        let time = async {
            match due {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = time => {}
            () = connection.earlier.notified() => {}
            // The sender lives in `connection`.
            _ = switched.changed() => {}
        }
    }
}

/// A sink that panics ends the task, and nothing would be let go any more.
struct TellsOfPanic<'a>(&'a Inbound);

impl Drop for TellsOfPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lost(LinkError::Lost { reason: "a sink panicked".to_owned() });
        }
    }
}
