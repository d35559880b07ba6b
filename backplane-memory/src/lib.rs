//! The in-process backplane: several nodes in one process, the embedded default, and the reference
//! for what the other transports promise.
//!
//! ```
//! use backplane_core::{Backplane, Envelope, Receipt, Topic};
//! use backplane_memory::Medium;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let medium = Medium::new();
//! let (one, two) = (medium.node(), medium.node());
//! # one.link().wait_for(|link| link.is_up()).await?;
//! let receipt = one.publish(Envelope::new(Topic::all("orders"), "tea")).await?;
//! assert_eq!(receipt, Receipt::Accepted);
//! # drop(two);
//! # Ok(())
//! # }
//! ```
//!
//! Envelopes are handed over as they are: nothing is encoded, and a body is never copied. A
//! publisher that is faster than the sinks of the other nodes fills its own queue and is told so
//! ([`PublishError::Full`](backplane_core::PublishError::Full)): that is real back-pressure.
//!
//! # Promises
//!
//! Nothing is lost here, so by default nothing is numbered or repaired; `repair=on` in the URL does it
//! all the same, and `outage` says what becomes of what is published while a test has stopped the medium.
//!
//! | promise | memory |
//! |---|---|
//! | delivery | at least once, and never twice |
//! | order | per origin and topic |
//! | receipt | accepted: every interested node's sinks have it |
//! | outage | none, unless a test [stops](Medium::stop) the medium |
//! | filter | the medium |
//! | largest body | 16 MiB |

mod config;
mod connection;
mod from_url;
mod medium;

pub use config::MemoryConfig;
pub use medium::Medium;
