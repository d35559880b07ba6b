//! The hub: what clients may call, and who they must be.

use std::sync::Arc;

use backplane_hub::{
    Backplane, BuildError, Caller, ClientNotices, Hub, HubError, LinkEvent, Missed, Policy, State,
};
use serde::Serialize;

use crate::kitchen::{Kitchen, NewOrder};

pub(crate) fn build(backplane: Arc<dyn Backplane>, kitchen: Kitchen) -> Result<Hub, BuildError> {
    Hub::builder("orders")
        .backplane(backplane)
        .state(kitchen)
        .authorize(Policy::authenticated())
        .method("PlaceOrder", place_order)
        .method("WatchOrder", watch_order)
        .method("UnwatchOrder", unwatch_order)
        .method("WhoAmI", who_am_i)
        // What is lost beyond repair is no secret: it stands in the log, and pages read anew.
        .on_gap(missed)
        .on_link(link)
        .notify_clients(ClientNotices::default())
        .build()
}

async fn place_order(
    caller: Caller,
    kitchen: State<Kitchen>,
    order: NewOrder,
) -> Result<String, HubError> {
    kitchen.place(user(&caller)?, &order).map_err(HubError::client)
}

async fn watch_order(caller: Caller, order_id: String) -> Result<(), HubError> {
    caller.groups().add(caller.id(), &Kitchen::watchers(&order_id)).await?;
    Ok(())
}

async fn unwatch_order(caller: Caller, order_id: String) -> Result<(), HubError> {
    caller.groups().remove(caller.id(), &Kitchen::watchers(&order_id)).await?;
    Ok(())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    user: String,
    connection_id: String,
    node: String,
    /// Whether the node is on its own just now. Why is none of a customer's business.
    degraded: bool,
}

async fn who_am_i(caller: Caller, kitchen: State<Kitchen>) -> Result<Identity, HubError> {
    Ok(Identity {
        user: user(&caller)?.to_owned(),
        connection_id: caller.id().to_string(),
        node: kitchen.node().to_owned(),
        degraded: !caller.hub().health().is_ready(),
    })
}

fn missed(missed: Missed) {
    let Missed { topic, origin, count, .. } = missed;
    tracing::warn!(%topic, ?origin, ?count, "messages were lost");
}

fn link(event: LinkEvent) {
    let LinkEvent { hub, change, .. } = event;
    tracing::warn!(hub = hub.name(), ?change, "the link to the other nodes");
}

fn user(caller: &Caller) -> Result<&str, HubError> {
    let user = caller.user().and_then(|user| user.id.as_deref());
    user.ok_or_else(|| HubError::client("Your login names no user."))
}
