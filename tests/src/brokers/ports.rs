//! Loopback ports that stay ours while their server is down.

use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;

use super::BrokerError;

const TRIES: usize = 200;

/// A TCP port of 127.0.0.1 on which nothing listened when it was taken.
///
/// The UDP port of the same number is held as a token, so that no other test, in this process or in
/// another, takes the port while its server is stopped. The token ends with the process that holds it.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    _token: UdpSocket,
}

impl Port {
    /// Takes a free port.
    pub(crate) fn take() -> Result<Self, BrokerError> {
        let range = candidates();
        for _ in 0..TRIES {
            if let Ok(port) = Self::try_take(pick(&range)) {
                return Ok(port);
            }
        }
        Err(BrokerError::NoFreePort { tries: TRIES })
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    /// Port 0 stands for any port that the operating system likes.
    fn try_take(number: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, number))?;
        let number = listener.local_addr()?.port();
        let token = UdpSocket::bind((Ipv4Addr::LOCALHOST, number))?;
        Ok(Self { number, _token: token })
    }
}

/// The ports below those that the operating system hands to outgoing connections.
///
/// A port of the ephemeral range will not do: while the server is down, a client's reconnection may get
/// that very port as its own and then be connected to itself, or keep the server from returning to it.
fn candidates() -> Range<u16> {
    const LOWEST: u16 = 10_240;
    let ephemeral = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse::<u16>().ok())
        .unwrap_or(32_768);
    LOWEST..ephemeral.max(LOWEST)
}

fn pick(range: &Range<u16>) -> u16 {
    let width = u32::from(range.end - range.start);
    match (width, getrandom::u32()) {
        (0, _) | (_, Err(_)) => 0,
        (_, Ok(random)) => range.start + u16::try_from(random % width).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_not_taken_again() {
        let port = Port::take().unwrap();
        // Nothing listens on it, yet it is not to be had.
        assert!(Port::try_take(port.number()).is_err());
        let number = port.number();
        drop(port);
        assert!(Port::try_take(number).is_ok());
    }

    #[test]
    fn ports_stay_out_of_the_ephemeral_range() {
        let range = candidates();
        for _ in 0..100 {
            assert!(range.contains(&Port::take().unwrap().number()));
        }
    }
}
