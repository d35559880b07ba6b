//! Choosing a transport by URL.

use std::time::Duration;

use backplane_core::Delivery;
use backplane_hub::{ConnectError, Link, connect};

#[tokio::test]
async fn memory_is_up_at_once() {
    for url in ["memory:", "memory:shop", "MEMORY:shop", "memory:shop?name=one&outage=wait"] {
        let backplane = connect(url).await.unwrap();
        assert!(backplane.link().borrow().is_up(), "{url}");
    }
    connect("memory:").require_up(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn what_cannot_heal_is_an_error() {
    let error = connect("localhost").await.unwrap_err();
    assert!(matches!(error, ConnectError::Url { .. }), "{error}");
    for url in ["amqp://h", "redis+cluster://h", "nats+cluster://h"] {
        match connect(url).await.unwrap_err() {
            ConnectError::UnknownScheme { scheme, known } => {
                assert!(url.starts_with(&scheme));
                assert!(known.contains("memory:"), "{known}");
            }
            other => panic!("{url}: {other}"),
        }
    }
    let error = connect("redis+cluster://user:secret@h").await.unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[tokio::test]
async fn memory_takes_the_options_of_every_node() {
    let repaired = connect("memory:options?name=kitchen-1&repair=on").await.unwrap();
    let plain = connect("memory:options").await.unwrap();
    assert_eq!(repaired.semantics().delivery, Delivery::Repaired);
    assert_eq!(plain.semantics().delivery, Delivery::AtLeastOnce);
    let mut members = plain.members();
    let named = members.wait_for(|members| {
        members.nodes.iter().any(|member| member.name.as_deref() == Some("kitchen-1"))
    });
    assert!(named.await.is_ok());
}

#[tokio::test]
async fn every_transport_refuses_an_option_alike() {
    let urls = [
        "memory:",
        "redis://127.0.0.1:9",
        "redis+streams://127.0.0.1:9",
        "nats://127.0.0.1:9",
        "nats+jetstream://127.0.0.1:9",
    ];
    let (redis, nats) = (cfg!(feature = "redis"), cfg!(feature = "nats"));
    let on = [true, redis, redis, nats, nats];
    for (url, _) in urls.iter().zip(on).filter(|(_, on)| *on) {
        for (query, expected) in [
            ("reapir=on", "name, repair, outage"),
            ("repair=maybe", "use on, counted or off"),
            ("outage=drop", "use buffer, refuse or wait"),
            ("name=a&name=b", "keep one"),
            ("name=", "give it one"),
        ] {
            let error = connect(format!("{url}?{query}")).await.unwrap_err();
            assert!(matches!(error, ConnectError::Option { .. }), "{url}?{query}: {error}");
            assert!(error.to_string().contains(expected), "{url}?{query}: {error}");
        }
    }
}

#[cfg(not(feature = "redis"))]
#[tokio::test]
async fn a_feature_that_is_off_is_named() {
    for (url, needed) in [("redis://h", "redis"), ("rediss://h", "redis-tls"), ("nats://h", "nats")]
    {
        match connect(url).await.unwrap_err() {
            ConnectError::FeatureOff { feature, .. } => assert_eq!(feature, needed),
            other => panic!("{url}: {other}"),
        }
    }
}

#[cfg(all(feature = "redis", feature = "nats"))]
#[tokio::test]
async fn a_broker_that_is_away_is_an_error_only_on_demand() {
    // Nothing listens on the discard port of this host.
    for url in ["redis://127.0.0.1:9", "nats://127.0.0.1:9"] {
        let backplane = connect(url).await.unwrap();
        assert!(matches!(&*backplane.link().borrow(), Link::Down { .. }), "{url}");
        let error = connect(url).require_up(Duration::from_millis(300)).await.unwrap_err();
        assert!(matches!(error, ConnectError::NotUp { source: Some(_), .. }), "{error:?}");
        assert!(
            std::error::Error::source(&error)
                .is_some_and(|source| source.to_string().contains("127.0.0.1:9"))
        );
    }
}

#[tokio::test]
async fn a_closed_link_is_told() {
    let backplane = connect("memory:closed").await.unwrap();
    backplane.close(Duration::from_secs(5)).await.unwrap();
    assert!(matches!(&*backplane.link().borrow(), Link::Closed));
}
