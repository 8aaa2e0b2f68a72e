//! The control socket: commands ask the process that owns a state folder (decisions.md 17).
//!
//! `<state>/control.sock`, mode 0600. A connection carries one request, one JSON line; the answer is
//! one line for each item and a last one that says `done` or `error`. The process that holds the
//! folder's lock is the only one that listens, so a socket found at start is a dead one's and is replaced.

use std::fs::Permissions;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::desk::{Answer, Desk, DeskError, Request};
use crate::app::view::told;
use crate::app::wiring::Engine;
use crate::clock::sleep;
use crate::domain::time::Span;
use crate::replay::manifest;

/// Name of the socket in the state folder.
pub const SOCKET: &str = "control.sock";
/// Longest request: a whole manifest fits.
const REQUEST_BYTES_MAX: u64 = manifest::BYTES_MAX as u64 + (64 << 10);
/// Longest line of an answer.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// Most lines of an answer.
const LINES_MAX: usize = 200_000;
/// Connections served at once; more wait in the socket's own queue.
const CONNECTIONS_MAX: usize = 8;
/// A client that says nothing is hung up on.
const REQUEST_WITHIN: Span = Span::from_secs(30);
/// Paths longer than this do not fit a socket's address (108 bytes on Linux).
const ADDRESS_BYTES_MAX: usize = 100;

/// One line of an answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Item(Value),
    Done { about: Value, more: u64, unreadable: u64 },
    Error { refused: bool, detail: String },
}

/// A running process could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no lakegate process runs on {}", state.display())]
    NobodyThere { state: PathBuf },
    #[error("the lakegate process on {} does not answer", state.display())]
    Broken {
        state: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{detail}")]
    Refused { detail: String },
    #[error("{detail}")]
    Failed { detail: String },
}

/// A path short enough for a socket's address, and the folder it rests on.
struct Address {
    path: PathBuf,
    /// Keeps `/proc/self/fd/N` alive.
    _folder: Option<std::fs::File>,
}

impl Address {
    fn of(folder: &Path, name: &str) -> io::Result<Self> {
        let path = folder.join(name);
        if path.as_os_str().len() <= ADDRESS_BYTES_MAX {
            return Ok(Self { path, _folder: None });
        }
        let open = std::fs::File::open(folder)?;
        Ok(Self { path: PathBuf::from(format!("/proc/self/fd/{}/{name}", open.as_raw_fd())), _folder: Some(open) })
    }
}

/// Lets commands ask a started process, until it is told to stop.
///
/// # Errors
/// Those of [`Server::bind`]; the process runs as well without its socket.
pub fn attach(engine: &mut Engine, state: &Path) -> io::Result<()> {
    let server = Server::bind(state)?;
    let (desk, stop) = (Arc::new(Desk::of(engine)), engine.stop.clone());
    engine.stages.spawn(async move {
        server.serve(desk, stop).await;
        Ok(())
    });
    Ok(())
}

/// A socket that listens.
pub struct Server {
    listener: UnixListener,
    socket: PathBuf,
}

impl Server {
    /// Listens in a state folder whose lock this process holds.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn bind(state: &Path) -> io::Result<Self> {
        // Bound under another name and renamed when its mode is right: nobody else ever sees it open.
        let fresh = format!("{SOCKET}.new");
        match std::fs::remove_file(state.join(&fresh)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let address = Address::of(state, &fresh)?;
        let listener = UnixListener::bind(&address.path)?;
        std::fs::set_permissions(state.join(&fresh), Permissions::from_mode(0o600))?;
        let socket = state.join(SOCKET);
        std::fs::rename(state.join(&fresh), &socket)?;
        Ok(Self { listener, socket })
    }

    /// Answers until `stop`; then removes the socket. A client that fails harms nobody else.
    pub async fn serve(self, desk: Arc<Desk>, stop: CancellationToken) {
        let mut connections: JoinSet<()> = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                    Ok((stream, _)) => {
                        let desk = Arc::clone(&desk);
                        connections.spawn(async move {
                            if let Err(e) = converse(stream, &desk).await {
                                tracing::debug!(error = %e, "a client of the control socket went away");
                            }
                        });
                    }
                    // Out of descriptors, most likely: wait for a connection to end.
                    Err(e) => {
                        tracing::warn!(error = %e, "the control socket cannot accept");
                        sleep(desk.clock.as_ref(), Span::from_secs(1)).await;
                    }
                },
            }
        }
        connections.shutdown().await;
        drop(std::fs::remove_file(&self.socket));
    }
}

async fn converse(stream: UnixStream, desk: &Desk) -> io::Result<()> {
    let (reading, writing) = stream.into_split();
    let mut request = Vec::new();
    let mut reading = BufReader::new(reading.take(REQUEST_BYTES_MAX + 1));
    tokio::select! {
        biased;
        read = reading.read_until(b'\n', &mut request) => { read?; }
        () = sleep(desk.clock.as_ref(), REQUEST_WITHIN) => return Err(io::ErrorKind::TimedOut.into()),
    }
    let mut out = BufWriter::new(writing);
    let answered = if request.len() as u64 > REQUEST_BYTES_MAX {
        Err((true, format!("the request is longer than {REQUEST_BYTES_MAX} bytes")))
    } else {
        match serde_json::from_slice::<Request>(&request) {
            Err(e) => Err((true, format!("the request is not understood: {e}; are both of one version?"))),
            Ok(request) => desk.answer(request).await.map_err(|e| (matches!(e, DeskError::Refused { .. }), told(&e))),
        }
    };
    match answered {
        Err((refused, detail)) => write(&mut out, &Line::Error { refused, detail }).await?,
        Ok(Answer { items, about, more, unreadable }) => {
            for item in items {
                write(&mut out, &Line::Item(item)).await?;
            }
            write(&mut out, &Line::Done { about, more, unreadable }).await?;
        }
    }
    out.flush().await
}

async fn write(out: &mut (impl AsyncWriteExt + Unpin), line: &Line) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    out.write_all(&bytes).await
}

/// Asks the process that runs on a state folder.
///
/// # Errors
/// `NobodyThere` when none does; `Refused` when the request is at fault; `Failed` when the process could not answer.
pub async fn ask(state: &Path, request: &Request) -> Result<Answer, ClientError> {
    let broken = |source: io::Error| ClientError::Broken { state: state.to_owned(), source };
    let stream = match Address::of(state, SOCKET) {
        Ok(address) => UnixStream::connect(&address.path).await,
        Err(e) => Err(e),
    };
    let stream = match stream {
        Ok(stream) => stream,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Err(ClientError::NobodyThere { state: state.to_owned() });
        }
        Err(e) => return Err(broken(e)),
    };
    let (reading, mut writing) = stream.into_split();
    let mut line = serde_json::to_vec(request).map_err(|e| broken(e.into()))?;
    line.push(b'\n');
    writing.write_all(&line).await.map_err(broken)?;
    let mut reading = BufReader::new(reading);
    let mut answer = Answer::default();
    loop {
        line.clear();
        (&mut reading).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await.map_err(broken)?;
        if line.last() != Some(&b'\n') || answer.items.len() > LINES_MAX {
            return Err(broken(io::ErrorKind::UnexpectedEof.into()));
        }
        match serde_json::from_slice(&line).map_err(|e| broken(e.into()))? {
            Line::Item(item) => answer.items.push(item),
            Line::Done { about, more, unreadable } => return Ok(Answer { about, more, unreadable, ..answer }),
            Line::Error { refused: true, detail } => return Err(ClientError::Refused { detail }),
            Line::Error { refused: false, detail } => return Err(ClientError::Failed { detail }),
        }
    }
}
