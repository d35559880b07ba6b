//! Bodies are opaque, and limited in nothing but size.

use backplane_core::{ByteSize, Envelope, PublishError, Topic};

use super::HUB;
use crate::kit::{Collector, Doing, Outcome, Stage, Stop, ensure, publish};

/// Random bodies of 0 bytes up to the largest that is promised arrive as they were sent.
///
/// # Errors
///
/// One does not.
pub async fn every_size_up_to_the_largest_arrives_untouched(stage: &Stage) -> Outcome {
    let [here, there] = stage.nodes().await?;
    let topic = Topic::group(HUB, "sizes");
    let (local, _local) = Collector::listen(&*there, std::slice::from_ref(&topic)).await?;
    let (remote, _remote) = Collector::listen(&*here, std::slice::from_ref(&topic)).await?;
    let largest = there.semantics().largest_body.as_u64() as usize;
    let around = |size: usize| [size.saturating_sub(1), size, size + 1];
    let mut sizes = vec![0, 1, 2, 3, 7, 64];
    for size in [128, 256, 4096, 32_768, 65_536, 131_072, 1_048_576] {
        sizes.extend(around(size));
    }
    sizes.extend([largest / 2, largest - 1, largest]);
    sizes.retain(|size| *size <= largest);
    let mut random = stage.random();
    for (number, size) in sizes.into_iter().enumerate() {
        let body = bytes::Bytes::from(random.bytes(size));
        publish(&*there, Envelope::new(topic.clone(), body.clone()))
            .await
            .doing(format!("{size} bytes"))?;
        remote.has(number + 1, format!("a body of {size} bytes")).await?;
        for (ear, place) in [(&local, "here"), (&remote, "elsewhere")] {
            let heard = ear.bodies();
            let same = heard.len() == number + 1 && heard.last() == Some(&body);
            let length = heard.last().map_or(0, bytes::Bytes::len);
            ensure!(same, "{size} bytes became {length} others {place}");
        }
    }
    stage.note(format_args!("largest body {}", ByteSize::b(largest as u64)));
    Ok(())
}

/// One byte above the largest body is an error, and no sink has heard of it; the next envelope
/// arrives.
///
/// # Errors
///
/// It is otherwise.
pub async fn one_byte_too_many_is_refused_before_anything_happens(stage: &Stage) -> Outcome {
    let [here, there] = stage.nodes().await?;
    let topic = Topic::group(HUB, "too large");
    let (local, _local) = Collector::listen(&*there, std::slice::from_ref(&topic)).await?;
    let (remote, _remote) = Collector::listen(&*here, std::slice::from_ref(&topic)).await?;
    let largest = there.semantics().largest_body;
    let body = vec![0; largest.as_u64() as usize + 1];
    match there.try_publish(Envelope::new(topic.clone(), body)) {
        Err(PublishError::TooLarge { size, limit }) => {
            let right = limit == largest && size == ByteSize::b(largest.as_u64() + 1);
            ensure!(right, "the error speaks of {size:?} and {limit:?}, not of {largest:?}");
        }
        other => return Err(Stop::Broken(format!("one byte above {largest}: {other:?}"))),
    }
    publish(&*there, Envelope::new(topic, "small")).await?;
    remote.has(1, "a small body after one that was too large").await?;
    let (local, remote) = (local.bodies(), remote.bodies());
    ensure!(local == ["small"] && remote == ["small"], "heard {local:.20?} and {remote:.20?}");
    let accepted = there.stats().accepted;
    ensure!(accepted == 1, "{accepted} envelopes were counted as accepted");
    Ok(())
}

/// Bodies that look like something else (to this project, to a broker, to a terminal) arrive as
/// they are.
///
/// # Errors
///
/// One does not.
pub async fn any_bytes_are_a_body(stage: &Stage) -> Outcome {
    let [here, there] = stage.nodes().await?;
    let topic = Topic::group(HUB, "bytes");
    let (ear, _subscription) = Collector::listen(&*here, std::slice::from_ref(&topic)).await?;
    let every: Vec<u8> = (0..=u8::MAX).collect();
    let bodies: Vec<Vec<u8>> = vec![
        every.clone(),
        every.repeat(300),
        vec![0; 1000],
        vec![0xFF; 1000],
        b"\r\n".to_vec(),
        b"*3\r\n$7\r\nmessage\r\n".to_vec(),
        b"-ERR no\r\n".to_vec(),
        b"PING\r\nMSG a 1 1\r\nx\r\n".to_vec(),
        vec![0xB5, 0x01, 0, 0, 0, 0],
        vec![0xB5, 0x81, 0xFF, 0xFF, 0xFF, 0xFF],
        b"{\"type\":1}\x1e".to_vec(),
        "\u{feff}\u{202e}🦀".as_bytes().to_vec(),
        vec![0xC3, 0x28, 0xED, 0xA0, 0x80],
    ];
    for body in &bodies {
        publish(&*there, Envelope::new(topic.clone(), body.clone())).await?;
    }
    ear.has(bodies.len(), "bodies of all kinds").await?;
    let heard = ear.bodies();
    for (sent, heard) in bodies.iter().zip(&heard) {
        ensure!(*sent == *heard, "{sent:.20?} became {heard:.20?}");
    }
    Ok(())
}
