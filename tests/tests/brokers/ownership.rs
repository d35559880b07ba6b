//! A server lives as long as the handle to it: no shorter, and no longer.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use backplane_tests::brokers::{Redis, RedisFlavour, RedisOptions};
use tokio::time::{sleep, timeout};

use crate::{SOON, is_gone};

/// A broker belongs to no runtime: it survives the one that started it.
#[test]
fn redis7_outlives_the_runtime_that_started_it() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let broker = runtime().block_on(async {
        let start = Redis::start(RedisFlavour::Redis7, RedisOptions::default());
        tokio::spawn(start).await.unwrap().unwrap()
    });
    runtime().block_on(async {
        broker.probe(SOON).await.unwrap();
        broker.restart().await.unwrap();
    });
}

/// Where `setpriv` is there, the kernel ends a server whose test process was killed.
#[tokio::test]
async fn redis7_dies_with_a_killed_test_process() {
    if !Command::new("setpriv")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
    {
        println!("left out: this machine has no setpriv");
        return;
    }
    let left_behind = tempfile::tempdir().unwrap();
    let mut holder = Command::new(env!("CARGO_BIN_EXE_broker"))
        .arg("redis7")
        .env("TMPDIR", left_behind.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    let mut words = lines.map_while(Result::ok);
    let pid = words
        .find_map(|line| line.strip_prefix("process ")?.split(';').next()?.parse().ok())
        .unwrap();
    assert!(!is_gone(pid));
    holder.kill().unwrap();
    holder.wait().unwrap();
    let gone = async {
        while !is_gone(pid) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, gone).await.expect("the server outlived its owner");
}
