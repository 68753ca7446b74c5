//! Turns signals into two wishes: stop in order, and stop now.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What the person at the terminal, or the supervisor, has asked for.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Cancelled by the first SIGINT, SIGTERM or SIGHUP: finish what is under way, then stop.
    pub drain: CancellationToken,
    /// Cancelled by the second one: stop without waiting.
    pub hurry: CancellationToken,
}

impl Shutdown {
    /// Listens for the signals from now on, in a task of its own.
    ///
    /// # Errors
    /// When the system refuses a signal handler.
    pub fn on_signals() -> std::io::Result<Self> {
        let shutdown = Self::default();
        let told = shutdown.clone();
        let mut signals = Signals::listen()?;
        tokio::spawn(async move {
            let name = signals.next().await;
            told.drain.cancel();
            tracing::info!(signal = name, "stopping; a second signal stops at once");
            let name = signals.next().await;
            told.hurry.cancel();
            tracing::warn!(signal = name, "stopping at once");
        });
        Ok(shutdown)
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hang_up.recv() => "SIGHUP",
        }
    }
}
