//! Addresses that servers tell a node.

use memchr::memmem;

/// Where all servers and all doors are.
const HOST: &[u8] = b"127.0.0.1";
/// What stands between host and port, when the port is written in digits: in a URL or a redirection, in a
/// notice of a sentinel, in a slot of a cluster, and in two answers of a sentinel.
const BETWEEN: [&[u8]; 5] = [b":", b" ", b"\r\n:", b"\r\n$5\r\n", b"\r\n$4\r\nport\r\n$5\r\n"];
/// The length of a port in digits: all ports of tests have five.
const DIGITS: usize = 5;
/// The most that follows a host in an address.
const LONGEST: usize = BETWEEN[4].len() + DIGITS;

/// Ports of servers, and of their doors in a proxy.
#[derive(Debug)]
pub(super) struct Announced {
    doors: Vec<(u16, u16)>,
}

impl Announced {
    pub(super) fn new(doors: impl IntoIterator<Item = (u16, u16)>) -> Self {
        Self { doors: doors.into_iter().collect() }
    }

    /// Puts the door in the place of the server in every address that is whole. No length changes.
    ///
    /// Returns how many of the bytes are settled: what comes after them may be the beginning of an address.
    pub(super) fn rewrite(&self, bytes: &mut [u8]) -> usize {
        let hosts: Vec<usize> = memmem::find_iter(bytes, HOST).collect();
        for at in &hosts {
            self.rewrite_port(&mut bytes[at + HOST.len()..]);
        }
        let open = hosts.last().filter(|at| bytes.len() - **at < HOST.len() + LONGEST);
        match open {
            Some(at) if self.may_go_on(&bytes[at + HOST.len()..]) => *at,
            _ => bytes.len() - begun(bytes),
        }
    }

    fn rewrite_port(&self, rest: &mut [u8]) {
        for between in BETWEEN {
            if let Some(port) = rest.strip_prefix(between).and_then(|rest| rest.get(..DIGITS))
                && let Some(door) =
                    std::str::from_utf8(port).ok().and_then(|port| self.door(port.parse().ok()?))
            {
                rest[between.len()..][..DIGITS].copy_from_slice(door.to_string().as_bytes());
                return;
            }
        }
        // Kafka: four bytes.
        if let Some(&[0, 0, high, low]) = rest.first_chunk()
            && let Some(door) = self.door(u16::from_be_bytes([high, low]))
        {
            rest[2..4].copy_from_slice(&door.to_be_bytes());
        }
    }

    fn door(&self, server: u16) -> Option<u16> {
        self.doors.iter().find(|(port, _)| *port == server).map(|(_, door)| *door)
    }

    /// Whether what follows a host is too short to be the rest of an address, and could become it.
    fn may_go_on(&self, rest: &[u8]) -> bool {
        let text = BETWEEN.iter().any(|between| match rest.strip_prefix(*between) {
            Some(digits) => digits.len() < DIGITS && digits.iter().all(u8::is_ascii_digit),
            None => between.starts_with(rest),
        });
        text || (rest.len() < 4 && rest.iter().take(2).all(|byte| *byte == 0))
    }
}

/// How many bytes at the end may be the beginning of a host.
fn begun(bytes: &[u8]) -> usize {
    (1..HOST.len()).rev().find(|length| bytes.ends_with(&HOST[..*length])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOORS: [(u16, u16); 2] = [(17_000, 18_001), (17_001, 18_002)];

    fn rewritten(text: &[u8]) -> (Vec<u8>, usize) {
        let mut bytes = text.to_vec();
        let settled = Announced::new(DOORS).rewrite(&mut bytes);
        (bytes, settled)
    }

    #[test]
    fn every_way_to_write_an_address() {
        for (server, door) in [
            (&b"-MOVED 3999 127.0.0.1:17001\r\n"[..], &b"-MOVED 3999 127.0.0.1:18002\r\n"[..]),
            (b"$9\r\n127.0.0.1\r\n:17000\r\n", b"$9\r\n127.0.0.1\r\n:18001\r\n"),
            (b"$9\r\n127.0.0.1\r\n$5\r\n17000\r\n", b"$9\r\n127.0.0.1\r\n$5\r\n18001\r\n"),
            (
                b"127.0.0.1\r\n$4\r\nport\r\n$5\r\n17001\r\n",
                b"127.0.0.1\r\n$4\r\nport\r\n$5\r\n18002\r\n",
            ),
            (
                b"main 127.0.0.1 17000 127.0.0.1 17001\r\n",
                b"main 127.0.0.1 18001 127.0.0.1 18002\r\n",
            ),
            (
                b"[\"127.0.0.1:17000\",\"127.0.0.1:17001\"]",
                b"[\"127.0.0.1:18001\",\"127.0.0.1:18002\"]",
            ),
            (b"\0\x09127.0.0.1\0\0\x42\x68..", b"\0\x09127.0.0.1\0\0\x46\x51.."),
        ] {
            assert_eq!(rewritten(server), (door.to_vec(), door.len()));
        }
    }

    #[test]
    fn what_is_no_servers_address_stays() {
        for text in [&b"127.0.0.1:17002\r\n"[..], b"127.0.0.1 and 17000", b"17000", b"\0\0\x42\x68"]
        {
            assert_eq!(rewritten(text), (text.to_vec(), text.len()));
        }
    }

    #[test]
    fn an_address_in_two_parts_is_kept_until_it_is_whole() {
        let whole = b"-MOVED 3999 127.0.0.1:17001";
        for length in 13..whole.len() {
            let part = &whole[..length];
            assert_eq!(rewritten(part), (part.to_vec(), 12), "{length} bytes");
        }
        assert_eq!(rewritten(b"$9\r\n127.0.0.1\r\n").1, 4);
        assert_eq!(rewritten(b"127.0.0.1\0\0\x42").1, 0);
        assert_eq!(rewritten(b"127.0.0.1, or").1, 13);
    }
}
