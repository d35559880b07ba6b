//! A hub whose groups, users and connections span processes.

mod builder;
mod caller;
mod clients;
mod connect;
mod error;
mod front;
mod groups;
mod hub;
mod members;
mod method;
mod options;
mod policy;
mod protocol;
mod routing;
mod stats;
mod user;

pub use backplane_core::{
    Backplane, ByteSize, ConnectError, LONGEST_HUB, LONGEST_NAME, Link, LinkError, NodeId,
};

pub use builder::{BuildError, HubBuilder};
pub use caller::{Caller, CallerClients};
pub use clients::{Arguments, Clients, Sending, Target};
pub use connect::{Connect, connect};
pub use error::{
    ArgumentsError, ClaimError, CloseError, GroupError, HubError, InvocationError, OpenError,
    SendError,
};
pub use front::{Connection, Opening, Outbound};
pub use groups::{Groups, Joined};
pub use hub::Hub;
pub use members::End;
pub use method::{
    Aborted, Answer, Disconnect, Extract, Fallible, FromInvocation, Handler, IntoReturned,
    Invocation, Items, Needs, Plain, Returned, State, Trace, ViaArgument, ViaExtract,
};
pub use options::{HubOptions, WhenSlow};
pub use policy::{Policy, Unauthorized};
pub use protocol::{EncodeError, Protocol};
pub use stats::HubStats;
pub use user::{Claims, ConnectionId, User};
