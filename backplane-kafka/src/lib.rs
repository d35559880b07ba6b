//! A backplane over Kafka, and over what speaks its protocol.
//!
//! ```no_run
//! use backplane_core::{Backplane, Envelope, Topic};
//! use backplane_kafka::KafkaConfig;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let node = KafkaConfig::from_url("kafka://localhost:9092?topic=shop")?.start()?;
//! node.link().wait_for(|link| link.is_up()).await?;
//! node.publish(Envelope::new(Topic::user("orders", "ann"), "shipped")).await?;
//! # Ok(())
//! # }
//! ```

mod client;
mod cluster;
mod config;
mod connection;
mod error;
mod follow;
mod from_url;
mod part;
mod place;
mod publish;
mod read;

pub use config::{Acks, KafkaConfig, Login, Mechanism};
