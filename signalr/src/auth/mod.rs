//! Who a request comes from.

mod bearer;
mod claims;
mod identity;
mod key;
mod rejection;

use async_trait::async_trait;
use http::request::Parts;

pub use bearer::{Bearer, BearerBuilder, BearerError};
pub use identity::Identity;
pub use key::{KeyError, VerificationKey};
pub use rejection::Rejection;

/// Finds out which user a request comes from.
///
/// Asked at each request to the hub's routes, before anything else. A function or closure from
/// `&Parts` is one, whether it tells an [`Identity`] or a [`User`](backplane_hub::User), whose
/// credentials don't expire then; implement the trait to await something, for example a session store.
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
    /// Who it is, or `None` for a request without credentials, which the hub's policy may let pass.
    ///
    /// # Errors
    ///
    /// The request has credentials that are no good.
    async fn authenticate(&self, request: &Parts) -> Result<Option<Identity>, Rejection>;
}

#[async_trait]
impl<F, I> Authenticate for F
where
    F: Fn(&Parts) -> Result<Option<I>, Rejection> + Send + Sync + 'static,
    I: Into<Identity>,
{
    async fn authenticate(&self, request: &Parts) -> Result<Option<Identity>, Rejection> {
        self(request).map(|identity| identity.map(Into::into))
    }
}
