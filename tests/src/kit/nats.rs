//! A nats-server of its own for a test, which can be stopped and started again.

use std::path::PathBuf;

use hub::clock::system_clock;
use hub::config::{Config, Flags};
use hub::embedded::{self, Binaries, Directory, NatsAccount, Place};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::environment::directory;

/// A server with JetStream; stopped, and its data removed, when it is dropped.
#[derive(Debug)]
pub struct Nats {
    // Fields are dropped in this order: first the server, then its files.
    server: Option<embedded::Nats>,
    program: PathBuf,
    place: Place,
    port: u16,
    account: Option<NatsAccount>,
    lock: Directory,
    _files: TempDir,
}

impl Nats {
    /// Starts one on a free port, in some 50 ms.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Self {
        Self::start_for(false).await
    }

    /// One that lets in only users of an account.
    ///
    /// # Panics
    /// As [`Nats::start`].
    pub async fn start_with_account() -> Self {
        Self::start_for(true).await
    }

    async fn start_for(users_only: bool) -> Self {
        let files = directory();
        let lock = Directory::lock(files.path()).expect("the directory is new");
        let place = Place::prepare(&lock).expect("the directory can be written");
        let program = binaries().nats;
        let account = users_only.then(|| account_of(&lock));
        let server = embedded::Nats::start_for(&place, &program, None, account.as_ref()).await;
        let server = server.expect("nats-server starts");
        let port = server.port();
        Self { server: Some(server), program, place, port, account, lock, _files: files }
    }

    /// Its URL, the same after a restart.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// A client of it.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn client(&self) -> async_nats::Client {
        let options = match &self.account {
            Some(account) => async_nats::ConnectOptions::with_credentials(account.credentials()),
            None => Ok(async_nats::ConnectOptions::new()),
        };
        options.expect("credentials are written whole").connect(self.url()).await.expect("nats-server answers")
    }

    /// The account whose users it lets in.
    ///
    /// # Panics
    /// When it lets in everybody.
    #[must_use]
    pub fn account(&self) -> &NatsAccount {
        self.account.as_ref().expect("it was started with an account")
    }

    /// A file of the account's keys.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.lock.path().join(name)
    }

    /// Starts it again with another key that signs for the account's users.
    ///
    /// # Panics
    /// When it does not start, or lets in everybody.
    pub async fn restart_with_another_signing_key(&mut self) {
        self.stop().await;
        std::fs::remove_file(self.file("nats-signing.key")).expect("there is a key");
        self.account = Some(account_of(&self.lock));
        self.restart().await;
    }

    /// Stops it in order: an outage begins.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop(&CancellationToken::new()).await;
        }
    }

    /// Holds it in the middle of whatever it does: connections stay open and nothing is answered until [`Nats::thaw`].
    ///
    /// # Panics
    /// When it does not run.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let text =
            std::fs::read_to_string(self.place.data("nats.pid")).expect("nats-server has written its process id");
        let pid = text.trim().parse().ok().and_then(Pid::from_raw).expect("it is a process id");
        kill_process(pid, signal).expect("nats-server runs");
    }

    /// Starts it again on the same port with the same data, after stopping it when it runs.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&mut self) {
        self.stop().await;
        let server =
            embedded::Nats::start_for(&self.place, &self.program, Some(self.port), self.account.as_ref()).await;
        self.server = Some(server.expect("nats-server starts again"));
    }

    /// Stops it and forgets every stream: what a carrier that lost its disk looks like after the next restart.
    ///
    /// # Panics
    /// When the files cannot be removed.
    pub async fn lose_everything(&mut self) {
        self.stop().await;
        std::fs::remove_dir_all(self.place.data("nats")).expect("the server has stopped");
    }
}

/// The account of a directory, made when it is not there.
fn account_of(directory: &Directory) -> NatsAccount {
    NatsAccount::of_directory(directory.path(), system_clock()()).expect("the directory can be written")
}

/// The programs of this machine, or those that the variables name.
pub(super) fn binaries() -> Binaries {
    let config = Config::from_sources(&Flags::default(), &|name| std::env::var(name).ok(), None)
        .expect("the variables of the tests can be read");
    Binaries::find(&config, None).expect("PostgreSQL and nats-server are installed")
}
