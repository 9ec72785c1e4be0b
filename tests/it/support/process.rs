//! A real server process on a free port of loopback, with a data folder that outlives it.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take before the test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How servers of one data folder are started.
#[derive(Clone, Debug)]
pub struct Launch {
    data_dir: PathBuf,
    listen: String,
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, String)>,
}

/// A running server; killed when it is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    base: String,
}

impl Launch {
    /// Servers that keep their data in this folder, on any free port.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen: "127.0.0.1:0".to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Adds options of the command line.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(OsString::from));
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn setting(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// The data folder.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Starts a server and returns as soon as it takes connections, which is before recovery has ended.
    pub fn start(&self) -> Server {
        let mut child = self.command().stdout(Stdio::piped()).spawn().expect("the server's binary starts");
        let stdout = child.stdout.take().expect("its stdout is piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("its stdout can be read");
        let Some(base) = line.trim().strip_prefix("listening on ") else {
            let status = child.wait();
            panic!("the server did not start: it printed {line:?} and ended with {status:?}");
        };
        Server { base: base.to_owned(), child }
    }

    /// Starts a server and kills it after a while, wherever it is then: it may not have opened anything yet.
    pub fn start_and_kill(&self, after: Duration) {
        let mut child = self.command().stdout(Stdio::null()).spawn().expect("the server's binary starts");
        std::thread::sleep(after);
        child.kill().expect("it can be killed");
        child.wait().expect("it can be waited for");
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_persisting"));
        command
            .arg("serve")
            .args(["--listen", &self.listen])
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(&self.arguments)
            .env("PERSISTING_LOG", std::env::var("PERSISTING_LOG").unwrap_or_else(|_| "error".to_owned()))
            .envs(self.environment.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Starts a server and waits until it is ready.
    pub async fn start_ready(&self) -> Server {
        let server = self.start();
        server.ready().await;
        server
    }
}

impl Server {
    /// `http://ADDRESS:PORT`
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A URL on the server.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Waits until `/readyz` says so.
    pub async fn ready(&self) {
        let until = Instant::now() + PATIENCE;
        let client = reqwest::Client::new();
        loop {
            let answer = client.get(self.url("/readyz")).send().await;
            if answer.is_ok_and(|answer| answer.status().as_u16() == 200) {
                return;
            }
            assert!(Instant::now() < until, "the server did not become ready");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends it as a crash does: SIGKILL, at once.
    pub fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("the signal is sent");
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status;
            }
            assert!(Instant::now() < until, "the server did not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
