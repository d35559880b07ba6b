//! The client library, set up so that it is one connection and hides nothing.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::{Client, ConnectErrorKind, ConnectOptions, ReconnectToServer, ServerAddr, rustls};
use backplane_core::{LinkError, Server};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    config::{Login, NatsConfig, Tls},
    error, files,
    notices::Notices,
    thread::Thread,
};

/// The client library's queue of commands. It holds all that a node has under way (two batches, a
/// probe and a step of topics), and the subscriptions of a large node that it gives up at once,
/// which would take a task each otherwise. Memory is taken as it fills.
const COMMANDS: usize = 65_536;

/// The most messages that wait in one subscription; what comes on top is dropped. Above what a
/// socket brings while the reader waits for its turn on a busy machine. Memory is taken as it
/// fills, and bounded for all subscriptions together by the reader.
const MESSAGES: usize = 65_536;

/// How often the client library asks the server for a sign of life. The node's own probe is
/// quicker.
const PING_EVERY: Duration = Duration::from_secs(10);

/// How long a server that says nothing is asked what it is.
const DIAGNOSIS: Duration = Duration::from_millis(500);

/// Where nobody can listen.
const NOWHERE: &str = "nats://127.0.0.1:0";

/// Connects, on a thread of its own. The client makes inboxes under `inbox`, and reports all that
/// happens to `notices`.
///
/// The library reconnects by itself and can't be told not to. So it is asked where to connect to
/// each time, and after the first time the answer leads nowhere: it gives up, its tasks end, and so
/// do all subscriptions.
pub(crate) async fn connect(
    config: &NatsConfig,
    server: &Server,
    inbox: &str,
    notices: Arc<Notices>,
) -> Result<(Client, Thread), LinkError> {
    provide_crypto();
    let patience = config.node.connect_deadline * 3 / 5;
    let address = server.to_string();
    let unreachable = |error: io::Error| LinkError::Unreachable {
        address: address.clone(),
        source: error.into(),
    };
    let there: ServerAddr = format!("nats://{server}").parse().map_err(unreachable)?;
    let nowhere: ServerAddr = NOWHERE.parse().map_err(unreachable)?;
    let pool = [there.clone(), nowhere.clone()];
    let is_first = AtomicBool::new(true);
    let options = ConnectOptions::new()
        .name(format!("backplane {}", config.prefix))
        .custom_inbox_prefix(inbox)
        .connection_timeout(patience)
        .ping_interval(PING_EVERY)
        .client_capacity(COMMANDS)
        .subscription_capacity(MESSAGES)
        .ignore_discovered_servers()
        .max_reconnects(1)
        .reconnect_to_server_callback(move |_, _| {
            let is_first = is_first.swap(false, Ordering::Relaxed);
            let addr = if is_first { there.clone() } else { nowhere.clone() };
            std::future::ready(Some(ReconnectToServer { addr, delay: Some(Duration::ZERO) }))
        })
        .event_callback(move |event| {
            notices.take(event);
            std::future::ready(())
        });
    let options = encrypted(options, config);
    let options = logged_in(options, &config.login, &address).await?;
    let thread = Thread::start().map_err(unreachable)?;
    let connected = thread.spawn(async move { options.connect(pool.as_slice()).await }).await;
    match connected.map_err(|error| unreachable(error.into()))? {
        Ok(client) => Ok((client, thread)),
        Err(error) if error.kind() == ConnectErrorKind::TimedOut => Err(diagnose(&address)
            .await
            .unwrap_or_else(|| error::connecting(error, &address, patience))),
        Err(error) => Err(error::connecting(error, &address, patience)),
    }
}

fn encrypted(options: ConnectOptions, config: &NatsConfig) -> ConnectOptions {
    let mut options = match config.tls {
        Tls::IfServerRequires => options,
        Tls::Required => options.require_tls(true),
        Tls::First => options.tls_first(),
    };
    if let Some(path) = &config.ca {
        options = options.add_root_certificates(path.clone());
    }
    if let Some((certificate, key)) = &config.certificate {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    options
}

async fn logged_in(
    options: ConnectOptions,
    login: &Login,
    address: &str,
) -> Result<ConnectOptions, LinkError> {
    let unreadable = |error: io::Error| LinkError::Authentication {
        address: address.to_owned(),
        reason: error.to_string(),
    };
    Ok(match login {
        Login::Open => options,
        Login::User { name, password } => options.user_and_password(name.clone(), password.clone()),
        Login::Token(token) => options.token(token.clone()),
        Login::Credentials(path) => options.credentials_file(path).await.map_err(unreadable)?,
        Login::Nkey(path) => {
            let text = tokio::fs::read_to_string(path).await.map_err(unreadable)?;
            options.nkey(files::seed(&text).to_owned())
        }
    })
}

/// TLS panics where a process has no default provider of cryptography and several to choose from.
fn provide_crypto() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may just have been quicker.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
}

/// What listens at an address where no NATS server greeted, if it says anything when spoken to. A
/// NATS server that is frozen says nothing.
async fn diagnose(address: &str) -> Option<LinkError> {
    let protocol = |reason: String| LinkError::Protocol {
        address: address.to_owned(),
        expected: error::EXPECTED,
        reason,
    };
    let conversation = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(b"PING\r\n\r\n").await.ok()?;
        let mut said = [0; 64];
        let length = stream.read(&mut said).await.ok()?;
        Some(said[..length].to_vec())
    };
    let said = tokio::time::timeout(DIAGNOSIS, conversation).await.ok()??;
    match &*said {
        [b'I', b'N', b'F', b'O', b' ', ..] => None,
        [] => Some(protocol("it closes the connection without a word".to_owned())),
        // The first byte of a TLS alert.
        [0x15, ..] => Some(protocol("it speaks TLS from the first byte: try tls=first".to_owned())),
        said => {
            let said = String::from_utf8_lossy(said);
            Some(protocol(format!("it answers {:?}", said.lines().next().unwrap_or_default())))
        }
    }
}
