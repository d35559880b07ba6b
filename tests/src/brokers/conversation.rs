//! A conversation in lines with a server: enough of a client to know that it is there.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::ProbeError;
use super::tls::Certificates;

/// No line that a probe expects is longer.
const LONGEST_LINE: u64 = 64 * 1024;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

pub(super) struct Conversation {
    stream: BufReader<Box<dyn Stream>>,
}

impl Conversation {
    pub(super) async fn connect(address: SocketAddr) -> Result<Self, ProbeError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(Box::new(stream)) })
    }

    /// Goes on in TLS; what was received and not read is lost.
    pub(super) async fn encrypt(self, certificates: &Certificates) -> Result<Self, ProbeError> {
        let stream = certificates.connect(self.stream.into_inner()).await?;
        Ok(Self { stream: BufReader::new(Box::new(stream)) })
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), ProbeError> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await?;
        Ok(())
    }

    /// The next line, without its end.
    pub(super) async fn line(&mut self) -> Result<String, ProbeError> {
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(LONGEST_LINE);
        limited.read_until(b'\n', &mut line).await?;
        if line.last() != Some(&b'\n') {
            return Err(ProbeError::Closed);
        }
        let text = String::from_utf8_lossy(&line);
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Exactly so many bytes, as text.
    pub(super) async fn text(&mut self, length: usize) -> Result<String, ProbeError> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
