//! A proxy on loopback between NATS clients and their server that loses, repeats and reorders messages and cuts connections.
//!
//! It reads the protocol of NATS, so that it does its mischief to whole messages: `PUB` and `HPUB` on the way there, `MSG` and `HMSG`
//! on the way back. Everything else passes. Without mischief it is a plain proxy.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A message that waits to be overtaken goes on after so long when no other comes.
const HELD_FOR: Duration = Duration::from_millis(30);

/// Of so many messages one has something done to it, as long as there is mischief left.
const ONE_IN: u64 = 6;

/// No message of the platform is as large as this; the line before it is much shorter.
const FRAME_SIZE_MAX: usize = 16 * 1024 * 1024;

/// To how many messages something is still to be done, or has been done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mischief {
    /// Messages that never arrive.
    pub dropped: u32,
    /// Messages that arrive twice.
    pub doubled: u32,
    /// Messages that are overtaken by the next one.
    pub swapped: u32,
}

/// A running proxy; its connections end when it is dropped.
#[derive(Debug)]
pub struct NatsProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    state: Mutex<State>,
    cuts: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    left: Mischief,
    done: Mischief,
    random: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pass,
    Drop,
    Double,
    Hold,
}

impl NatsProxy {
    /// Starts one on a free port, in front of the server at `upstream`, such as `nats://127.0.0.1:4222`; `seed` chooses its victims.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(upstream: &str, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            upstream: upstream.trim_start_matches("nats://").to_owned(),
            state: Mutex::new(State { left: Mischief::default(), done: Mischief::default(), random: seed | 1 }),
            cuts: watch::Sender::new(0),
        });
        let task = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self { address, shared, task }
    }

    /// Its URL for clients.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// From now on does something to so many messages more.
    pub fn harm(&self, more: Mischief) {
        let mut state = self.shared.state();
        state.left.dropped += more.dropped;
        state.left.doubled += more.doubled;
        state.left.swapped += more.swapped;
    }

    /// To how many messages something was done so far.
    #[must_use]
    pub fn done(&self) -> Mischief {
        self.shared.state().done
    }

    /// Cuts every connection that there is, wherever in a message it may be.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for NatsProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happens to the next message; a message that is held is counted when it has been overtaken.
    fn fate(&self) -> Fate {
        let mut state = self.state();
        let Mischief { dropped, doubled, swapped } = state.left;
        let all = u64::from(dropped) + u64::from(doubled) + u64::from(swapped);
        if all == 0 || !state.draw().is_multiple_of(ONE_IN) {
            return Fate::Pass;
        }
        let chosen = state.draw() % all;
        if chosen < u64::from(dropped) {
            state.left.dropped -= 1;
            state.done.dropped += 1;
            Fate::Drop
        } else if chosen < u64::from(dropped) + u64::from(doubled) {
            state.left.doubled -= 1;
            state.done.doubled += 1;
            Fate::Double
        } else {
            Fate::Hold
        }
    }

    fn overtaken(&self) {
        let mut state = self.state();
        state.left.swapped = state.left.swapped.saturating_sub(1);
        state.done.swapped += 1;
    }
}

impl State {
    /// Xorshift: enough to choose victims.
    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 16
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(connect(client, Arc::clone(&shared)));
    }
}

/// One connection, until either side ends it or it is cut.
async fn connect(client: TcpStream, shared: Arc<Shared>) {
    let mut cuts = shared.cuts.subscribe();
    // A server that is gone is a connection that ends at once.
    let Ok(server) = TcpStream::connect(&shared.upstream).await else { return };
    // Latency is not what is being tried; without success everything is only slower.
    client.set_nodelay(true).and(server.set_nodelay(true)).ok();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        _ = pump(from_client, to_server, &shared) => {}
        _ = pump(from_server, to_client, &shared) => {}
        _ = cuts.changed() => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    shared: &Shared,
) -> Result<(), io::Error> {
    let mut buffer = Vec::new();
    let mut held: Option<Vec<u8>> = None;
    loop {
        let mut out = Vec::new();
        let mut begin = 0;
        while let Some((length, message)) = frame(&buffer[begin..])? {
            let bytes = &buffer[begin..begin + length];
            begin += length;
            match if message { shared.fate() } else { Fate::Pass } {
                Fate::Hold if held.is_none() => {
                    held = Some(bytes.to_vec());
                    continue;
                }
                Fate::Drop => {}
                Fate::Double => out.extend([bytes, bytes].concat()),
                Fate::Pass | Fate::Hold => out.extend_from_slice(bytes),
            }
            if message && let Some(late) = held.take() {
                shared.overtaken();
                out.extend(late);
            }
        }
        buffer.drain(..begin);
        to.write_all(&out).await?;
        if held.is_none() {
            if from.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        }
        match tokio::time::timeout(HELD_FOR, from.read_buf(&mut buffer)).await {
            Ok(Ok(0)) => return Ok(()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => to.write_all(&held.take().unwrap_or_default()).await?,
        }
    }
}

/// The length of the first frame and whether it is a message, once all of it is there.
fn frame(buffer: &[u8]) -> Result<Option<(usize, bool)>, io::Error> {
    let Some(end) = buffer.windows(2).position(|pair| pair == b"\r\n") else {
        return if buffer.len() > FRAME_SIZE_MAX { Err(io::ErrorKind::InvalidData.into()) } else { Ok(None) };
    };
    let line = String::from_utf8_lossy(&buffer[..end]);
    let mut words = line.split_ascii_whitespace();
    let verb = words.next().unwrap_or_default().to_ascii_uppercase();
    if !["PUB", "HPUB", "MSG", "HMSG"].contains(&verb.as_str()) {
        return Ok(Some((end + 2, false)));
    }
    // The last word is the length of headers and payload together.
    let payload: usize = words.last().and_then(|word| word.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    if payload > FRAME_SIZE_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let length = end + 2 + payload + 2;
    Ok((buffer.len() >= length).then_some((length, true)))
}
