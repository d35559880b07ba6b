//! The raw connection: whatever comes goes back.

use backplane_signalr::{RawConnection, RawSendError};

/// Echoes text until the client has said all.
pub(crate) async fn echo(mut connection: RawConnection) {
    let mut text = Vec::new();
    while let Some(bytes) = connection.receive().await {
        text.extend_from_slice(&bytes);
        // A piece may end within a character, the rest of which comes with the next.
        let rest = text.split_off(whole(&text));
        let whole = std::mem::replace(&mut text, rest);
        if whole.is_empty() {
            continue;
        }
        match connection.send(whole).await {
            Ok(()) => {}
            Err(error @ RawSendError::NotText) => return tracing::warn!(%error, "no echo"),
            Err(error) => return tracing::debug!(%error, "no echo"),
        }
    }
}

/// How much of it is not the beginning of a character.
fn whole(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_not_split() {
        assert_eq!(whole("aü".as_bytes()), 3);
        assert_eq!(whole(&"aü".as_bytes()[..2]), 1);
        assert_eq!(whole(&[b'a', 0xff]), 2);
        assert_eq!(whole(b""), 0);
    }
}
