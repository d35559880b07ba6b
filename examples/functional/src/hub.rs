//! The hubs: one with all that a client can do, one for those who are logged in, and one for nobody.

use std::{convert::Infallible, sync::Arc};

use backplane_hub::{
    Aborted, Backplane, BuildError, Caller, Hub, HubError, Policy, SendError, Upload,
};
use backplane_signalr::ConnectionRequest;
use futures_util::{Stream, StreamExt, TryStreamExt, future, stream};

use crate::values::{ComplexObject, CustomObject};

/// The name that the original has for what its methods throw.
const EXCEPTION: &str = "InvalidOperationException";

pub(crate) fn test(backplane: Arc<dyn Backplane>) -> Result<Hub, BuildError> {
    Hub::builder("TestHub")
        .backplane(backplane)
        .method("Echo", echo)
        .method("GetCallerConnectionId", async |caller: Caller| caller.id().to_string())
        .method("GetNumRedirects", redirects)
        .method("ThrowException", throw)
        .method("InvokeWithString", invoke_with_string)
        .method("SendCustomObject", send_custom_object)
        .method("Join", join)
        .method("SendToGroup", send_to_group)
        .method("StreamingConcat", concat)
        .method("GetActiveTransportName", async |request: ConnectionRequest| {
            request.transport().name()
        })
        .method("EchoComplexObject", async |object: ComplexObject| object)
        .method("SendComplexObject", async || ComplexObject::known())
        .method("GetContentTypeHeader", content_type)
        .method("GetHeader", header)
        .method("GetCookie", cookie)
        .stream("Stream", async || stream::iter(["a", "b", "c"]))
        .stream("InfiniteStream", infinite)
        .stream("EmptyStream", async || stream::empty::<i32>())
        .stream("StreamThrowException", throw_instead_of_streaming)
        .build()
}

pub(crate) fn authorized(backplane: Arc<dyn Backplane>) -> Result<Hub, BuildError> {
    Hub::builder("HubWithAuthorization")
        .backplane(backplane)
        .authorize(Policy::authenticated())
        .method("Echo", echo)
        .build()
}

/// One that nobody can be connected to: the original cannot make it, as it wants what nobody provides.
pub(crate) fn uncreatable(backplane: Arc<dyn Backplane>) -> Result<Hub, BuildError> {
    Hub::builder("UncreatableHub")
        .backplane(backplane)
        .on_connected(async || -> Result<(), HubError> {
            Err(HubError::named(
                EXCEPTION,
                "Unable to resolve service for type 'System.Object' while attempting to activate \
                 'FunctionalTests.UncreatableHub'.",
            ))
        })
        .build()
}

async fn echo(message: String) -> String {
    message
}

async fn redirects(request: ConnectionRequest) -> Result<i32, HubError> {
    let number = request.query("numRedirects").and_then(|number| number.parse().ok());
    number.ok_or_else(|| HubError::named("FormatException", "The query has no numRedirects."))
}

async fn throw(message: String) -> Result<(), HubError> {
    Err(HubError::named(EXCEPTION, message))
}

async fn invoke_with_string(caller: Caller, message: String) -> Result<(), SendError> {
    caller.clients().caller().send("Message", (message,)).await?;
    Ok(())
}

async fn send_custom_object(caller: Caller, object: CustomObject) -> Result<(), SendError> {
    caller.clients().caller().send("CustomObject", (object,)).await?;
    Ok(())
}

// The original's tests know no groups; those of several nodes do.

async fn join(caller: Caller, group: String) -> Result<(), HubError> {
    caller.groups().add(caller.id(), &group).await?;
    Ok(())
}

async fn send_to_group(caller: Caller, group: String, message: String) -> Result<(), SendError> {
    caller.clients().group(&group).send("Message", (message,)).await?;
    Ok(())
}

async fn concat(parts: Upload<String>) -> Result<String, HubError> {
    parts.try_fold(String::new(), async |whole, part| Ok(whole + &part)).await
}

async fn content_type(request: ConnectionRequest) -> Option<String> {
    request.header("content-type").map(str::to_owned)
}

async fn header(request: ConnectionRequest, name: String) -> Option<String> {
    request.header(name.as_str()).map(str::to_owned)
}

async fn cookie(request: ConnectionRequest, name: String) -> Option<String> {
    request.cookie(&name).map(str::to_owned)
}

/// Streams nothing until it is cancelled, and tells the caller then.
async fn infinite(caller: Caller, aborted: Aborted) -> impl Stream<Item = i32> {
    let told = async move {
        aborted.wait().await;
        if let Err(error) = caller.clients().caller().send("StreamCanceled", ()).await {
            tracing::warn!(%error, "the caller was not told");
        }
    };
    stream::once(told).filter_map(|()| future::ready(None))
}

async fn throw_instead_of_streaming(
    message: String,
) -> Result<stream::Empty<Result<i32, Infallible>>, HubError> {
    Err(HubError::named(EXCEPTION, message))
}
