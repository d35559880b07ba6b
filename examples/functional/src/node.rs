//! One node: an ordinary axum application with two hubs in it.

use std::{error::Error, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    middleware::{from_fn, map_request},
};
use backplane_hub::connect;
use backplane_signalr::{Options, Transport, raw_router, router};

use crate::{
    cookies, cors, echo, hub,
    pages::{self, Redirects, Site},
    path,
    secrets::Secrets,
};

/// Starts a node and returns where it listens.
pub(crate) async fn start(
    address: SocketAddr,
    backplane: &str,
    secrets: &Secrets,
    redirects: &Redirects,
) -> Result<SocketAddr, Box<dyn Error>> {
    let backplane = connect(backplane).await?;
    let test = hub::test(Arc::clone(&backplane))?;
    let authorized = hub::authorized(Arc::clone(&backplane))?;
    let uncreatable = hub::uncreatable(backplane)?;
    let options = || {
        let keys = secrets.token_keys().clone();
        Options::new().detailed_errors(true).token_keys(keys).stateful_reconnect(true)
    };
    let without_websockets =
        options().transports([Transport::ServerSentEvents, Transport::LongPolling]);
    let logged_in = options().authenticate(secrets.bearer().clone());
    let site = Site { hub: test.clone(), secrets: secrets.clone(), redirects: redirects.clone() };
    let app = Router::new()
        .nest("/testhub", router(&test, options()))
        .nest("/testhub-nowebsockets", router(&test, without_websockets))
        .nest("/authorizedhub", router(&authorized, logged_in))
        .nest("/uncreatable", router(&uncreatable, options()))
        .nest("/echo", raw_router(&test, options(), echo::echo))
        .merge(pages::router(site))
        .layer(from_fn(cookies::set));
    // Around the routes and not between them: a path is lowered before its route is looked for.
    let app = Router::new()
        .fallback_service(app)
        .layer(map_request(path::without_case))
        .layer(from_fn(cors::allow_all));

    Ok(front_door::serve(address, app).await?)
}
