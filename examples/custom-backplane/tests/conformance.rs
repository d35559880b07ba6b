//! Judges the example by every scenario of the kit that applies to it.

#[expect(dead_code, unreachable_pub, reason = "it is a program, whose main is not run here")]
#[path = "../src/main.rs"]
mod custom;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use backplane_core::Backplane;
use backplane_tests::kit::{Control, Doing, Fixture, Outcome, Setup};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// A relay on a port of its own, and whether it runs.
#[derive(Debug)]
struct Relay {
    address: SocketAddr,
    running: Mutex<Option<AbortOnDropHandle<std::io::Result<()>>>>,
}

impl Relay {
    async fn launch() -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.doing("listening")?;
        let address = listener.local_addr().doing("asking for the port")?;
        let relay = Self { address, running: Mutex::default() };
        relay.run(listener);
        Ok(relay)
    }

    fn run(&self, listener: TcpListener) {
        let running = AbortOnDropHandle::new(tokio::spawn(custom::relay(listener)));
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
    }
}

#[async_trait]
impl Fixture for Relay {
    fn name(&self) -> String {
        "the example's relay".to_owned()
    }

    async fn node(&self, setup: Setup) -> Outcome<Arc<dyn Backplane>> {
        Ok(Arc::new(custom::node(self.address, setup.options)))
    }

    fn controls(&self) -> &[Control] {
        &[Control::Stop]
    }

    async fn stop(&self) -> Outcome {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            running.abort();
            // Only then is the port free again.
            drop(running.await);
        }
        Ok(())
    }

    async fn start(&self) -> Outcome {
        self.run(TcpListener::bind(self.address).await.doing("listening again")?);
        Ok(())
    }
}

backplane_tests::conformance! {
    relay => Relay::launch(),
}
