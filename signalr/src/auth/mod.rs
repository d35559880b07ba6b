//! Who a request comes from.

mod bearer;
mod claims;
mod key;
mod rejection;

use async_trait::async_trait;
use backplane_hub::User;
use http::request::Parts;

pub use bearer::{Bearer, BearerBuilder, BearerError};
pub use key::{KeyError, VerificationKey};
pub use rejection::Rejection;

/// Finds out which user a request comes from.
///
/// Asked at each request to the hub's routes, before anything else. A function or closure from
/// `&Parts` is one; implement the trait to await something, for example a session store.
///
/// ```
/// use backplane_hub::User;
/// use backplane_signalr::{Options, Rejection};
/// use http::request::Parts;
///
/// // A proxy in front of this server has authenticated the user.
/// let options = Options::new().authenticate(|request: &Parts| {
///     let name = request.headers.get("x-user").and_then(|name| name.to_str().ok());
///     Ok::<_, Rejection>(name.map(User::new))
/// });
/// ```
#[async_trait]
pub trait Authenticate: Send + Sync + 'static {
    /// The user, or `None` for a request without credentials, which the hub's policy may let pass.
    ///
    /// # Errors
    ///
    /// The request has credentials that are no good.
    async fn authenticate(&self, request: &Parts) -> Result<Option<User>, Rejection>;
}

#[async_trait]
impl<F> Authenticate for F
where
    F: Fn(&Parts) -> Result<Option<User>, Rejection> + Send + Sync + 'static,
{
    async fn authenticate(&self, request: &Parts) -> Result<Option<User>, Rejection> {
        self(request)
    }
}
