//! The log, on Tansu.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

mod tansu {
    use backplane_core::{Backplane, Gap, LinkError, Position};
    use backplane_kafka::KafkaConfig;
    use backplane_tests::{brokers::Tansu, faults::FaultProxy, kit::Collector};

    use crate::common::{down, hear, node, publish, start, topic, up, within};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_broker_that_lost_its_log_is_noticed() {
        let broker = Tansu::start().await.unwrap();
        let (here, there) = (node(&broker.url()).await, node(&broker.url()).await);
        let tea = topic("tea");
        let (heard, _heard) = hear(&here, &tea).await;
        publish(&there, &tea, 0..20).await;
        heard.numbers(20).await.unwrap();
        let last = heard.offset(19).unwrap();
        within(broker.kill()).await.unwrap();
        down(&here).await;
        down(&there).await;
        within(broker.start()).await.unwrap();
        up(&there).await;
        up(&here).await;
        publish(&there, &tea, 20..21).await;
        assert_eq!(heard.numbers(21).await.unwrap().len(), 21);
        assert_eq!(heard.gaps(), [Gap::new(tea.clone(), None, None)]);
        // An offset of the log before says nothing about this one.
        let (read, _read) = Collector::read(&here, &tea, Position::After(last)).await.unwrap();
        assert_eq!(read.numbers(1).await.unwrap(), [20]);
        assert_eq!(read.gaps(), [Gap::new(tea, None, None)]);
    }

    /// The log is as long as before, and longer, when the node comes back to it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn another_log_is_noticed_however_long_it_is() {
        let broker = Tansu::start().await.unwrap();
        let proxy = FaultProxy::start(&[broker.address()], 0).await.unwrap();
        let there = node(&broker.url()).await;
        let here = node(&broker.url_at(proxy.addresses()[0].port())).await;
        let tea = topic("tea");
        let (heard, _heard) = hear(&here, &tea).await;
        publish(&there, &tea, 0..20).await;
        heard.numbers(20).await.unwrap();
        proxy.cut_off();
        within(broker.kill()).await.unwrap();
        down(&here).await;
        down(&there).await;
        within(broker.start()).await.unwrap();
        up(&there).await;
        publish(&there, &tea, 20..120).await;
        proxy.heal();
        up(&here).await;
        assert_eq!(heard.numbers(120).await.unwrap(), (0..120).collect::<Vec<_>>());
        assert_eq!(heard.gaps(), [Gap::new(tea, None, None)]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_nobody_wants_is_dropped_by_its_key() {
        let broker = Tansu::start().await.unwrap();
        let url = format!("{}?partitions=2", broker.url());
        let (here, there) = (node(&url).await, node(&url).await);
        let (tea, other) = (topic("tea"), topic("coffee"));
        let (heard, _heard) = hear(&here, &tea).await;
        let before = here.stats();
        publish(&there, &other, 0..50).await;
        publish(&there, &tea, 0..1).await;
        heard.numbers(1).await.unwrap();
        let after = here.stats();
        assert_eq!(
            (after.received - before.received, after.uninterested - before.uninterested),
            (1, 50)
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nodes_that_divide_topics_otherwise_hear_each_other() {
        let broker = Tansu::start().await.unwrap();
        let many = node(&format!("{}?partitions=24", broker.url())).await;
        let few = node(&format!("{}?partitions=12", broker.url())).await;
        for name in ["tea", "coffee", "milk"] {
            let (heard, _heard) = hear(&few, &topic(name)).await;
            let (other, _other) = hear(&many, &topic(name)).await;
            publish(&many, &topic(name), 0..5).await;
            publish(&few, &topic(name), 5..10).await;
            // What a node publishes itself comes to it at once.
            for read in [heard, other] {
                let mut bodies = read.numbers(10).await.unwrap();
                bodies.sort_unstable();
                assert_eq!(bodies, (0..10).collect::<Vec<_>>());
            }
        }
        let less = start(&format!("{}?partitions=48", broker.url()));
        let cause = down(&less).await;
        assert!(matches!(&*cause, LinkError::Unsuitable { .. }), "{cause}");
        assert!(cause.to_string().contains("partitions=24"), "{cause}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_broker_may_be_enough_for_a_receipt() {
        let broker = Tansu::start().await.unwrap();
        let url = format!("{}?acks=1&rdkafka.compression.type=lz4", broker.url());
        let (here, there) = (node(&url).await, node(&url).await);
        let (heard, _heard) = hear(&here, &topic("tea")).await;
        publish(&there, &topic("tea"), 0..100).await;
        assert_eq!(heard.numbers(100).await.unwrap(), (0..100).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn properties_of_the_client_library_are_checked() {
        let refusal = |option: &str| {
            let config = KafkaConfig::from_url(&format!("kafka://127.0.0.1?{option}")).unwrap();
            config.start().unwrap_err().to_string()
        };
        assert!(refusal("rdkafka.linger.mss=5").contains("no such property"));
        assert!(refusal("rdkafka.linger.ms=soon").contains("not this value"));
        assert!(refusal("rdkafka.group.id=mine").contains("sets it itself"));
        assert!(refusal("ca=/nowhere/ca.pem").contains("/nowhere/ca.pem"));
    }
}
