//! The SignalR protocol as an axum router over a hub.

mod auth;
mod handshake;
mod json;
mod message;
mod negotiate;
mod options;
mod query;
mod router;
mod session;
mod texts;
mod token;
mod websocket;

pub use auth::{
    Authenticate, Bearer, BearerBuilder, BearerError, KeyError, Rejection, VerificationKey,
};
pub use negotiate::NegotiateVersion;
pub use options::Options;
pub use router::router;
pub use token::{TokenKey, TokenKeyError, TokenKeys};
