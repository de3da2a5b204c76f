//! What stands between the crates that start programs, `bitcoind` and `electrsd`, and the programs.
//!
//! The crate `bitcoind` starts a program, then looks every 200 ms whether it is ready, trusts that a port which was free is
//! still free, throws the program's error output away, and leaves the program running when the harness is killed. The
//! launcher, a shell script that becomes the node, mends each of these from the inside:
//!
//! - The cookie file that the crate reads is a named pipe, which the node itself fills when it has started
//!   (`-startupnotify`). So the crate's first look waits just as long as the node takes.
//! - The ports are locked by files for as long as the node lives.
//! - The output goes to a file.
//! - The kernel kills the node when the thread that started it ends (`PR_SET_PDEATHSIG`, through `setpriv`).
//! - A second named pipe is held open by the node, so that its end is seen at once.
//!
//! The crate `electrsd` does the same with its program, and gets the same launcher, without the first of these.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use tokio::sync::watch;

/// How many cookie pipes this process has made.
static COOKIE_PIPES: AtomicU64 = AtomicU64::new(0);

/// The launcher of one start of one program, and the files through which it speaks.
#[derive(Clone, Debug)]
pub(crate) struct Launcher {
    dir: PathBuf,
}

impl Launcher {
    /// Writes the launcher of `program` into `dir`. Ports are locked in `ports`.
    pub(crate) fn new(program: &Path, dir: &Path, ports: &Path) -> io::Result<Self> {
        let launcher = Launcher { dir: dir.to_owned() };
        fs::create_dir_all(dir)?;
        fs::create_dir_all(ports)?;
        let alive = launcher.alive();
        for stale in [&alive, &launcher.pid_file(), &launcher.port_taken_file(), &launcher.started_file()] {
            remove_if_there(stale)?;
        }
        make_pipe(&alive)?;
        let script = include_str!("launcher.sh")
            .replace("@HARNESS@", &std::process::id().to_string())
            .replace("@STARTED@", &quoted(launcher.started_file()))
            .replace("@ALIVE@", &quoted(alive))
            .replace("@OUTPUT@", &quoted(Launcher::output_in(dir)))
            .replace("@PORTS@", &quoted(ports))
            .replace("@PORT_TAKEN@", &quoted(launcher.port_taken_file()))
            .replace("@PID@", &quoted(launcher.pid_file()))
            .replace("@PROGRAM@", &quoted(program));
        // The file that is to be run is written by another process: one that this process wrote would be busy for as
        // long as a child has it open that another thread forks meanwhile.
        let draft = dir.join("launch.sh");
        fs::write(&draft, script)?;
        let install = Command::new("install").args(["-m", "700"]).args([&draft, &launcher.script()]).status()?;
        if !install.success() {
            return Err(io::Error::other(format!("install of {}: {install}", draft.display())));
        }
        Ok(launcher)
    }

    /// What the crate is to run.
    pub(crate) fn script(&self) -> PathBuf {
        self.dir.join("launch")
    }

    /// What the program in `dir` wrote to its standard output and error.
    pub(crate) fn output_in(dir: &Path) -> PathBuf {
        dir.join("output.log")
    }

    /// The program's process id.
    pub(crate) fn pid(&self) -> io::Result<i32> {
        let text = fs::read_to_string(self.pid_file())?;
        text.trim().parse().map_err(|_| io::Error::other(format!("{}: `{text}`", self.pid_file().display())))
    }

    /// Whether the start failed because another harness holds a port.
    pub(crate) fn port_taken(&self) -> bool {
        self.port_taken_file().exists()
    }

    /// Waits for the end of the program's process.
    pub(crate) fn wait_for_end(&self) -> io::Result<()> {
        let mut nothing = [0];
        match fs::File::open(self.alive())?.read(&mut nothing)? {
            0 => Ok(()),
            _ => Err(io::Error::other("a program wrote into the pipe that only shows that it lives")),
        }
    }

    /// Kills the program, if it still runs.
    ///
    /// To be called only while the process is reaped by nobody but a thread that still waits for its turn: so its number
    /// is not yet anybody else's.
    pub(crate) fn kill(&self) -> io::Result<()> {
        // Without the file there is no process. It may have ended by itself: then there is nothing to kill.
        match self.pid().map(|pid| kill(Pid::from_raw(pid), Signal::SIGKILL)) {
            Ok(Ok(()) | Err(Errno::ESRCH)) => Ok(()),
            Ok(Err(error)) => Err(error.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Lets go of the thread that waits for the end of a program that will not come.
    pub(crate) fn give_up(&self) -> io::Result<()> {
        open_both_ways(&self.alive()).map(drop)
    }

    fn alive(&self) -> PathBuf {
        self.dir.join("alive")
    }

    fn pid_file(&self) -> PathBuf {
        self.dir.join("pid")
    }

    fn started_file(&self) -> PathBuf {
        self.dir.join("started")
    }

    fn port_taken_file(&self) -> PathBuf {
        self.dir.join("port-taken")
    }
}

/// Where the crate `bitcoind` looks for the node's cookie.
#[derive(Clone, Debug)]
pub(super) struct CookiePipe {
    network: String,
    path: PathBuf,
    node_cookie: PathBuf,
}

impl CookiePipe {
    /// Makes the pipe for the node whose data directory is `datadir`.
    pub(super) fn new(datadir: &Path) -> io::Result<Self> {
        // The thread of a start that failed may still look for its own, and would take the cookie from the next one.
        let network = format!("harness-{}", COOKIE_PIPES.fetch_add(1, Ordering::Relaxed));
        let folder = datadir.join(&network);
        fs::create_dir_all(&folder)?;
        let path = folder.join(".cookie");
        remove_if_there(&path)?;
        make_pipe(&path)?;
        Ok(CookiePipe { network, path, node_cookie: datadir.join("regtest").join(".cookie") })
    }

    /// The name of the network folder in which the crate looks for the cookie. It is none of the node's own, nor that of
    /// another start.
    pub(super) fn network(&self) -> &str {
        &self.network
    }

    /// The node's own cookie.
    pub(super) fn node_cookie(&self) -> &Path {
        &self.node_cookie
    }

    /// The argument by which the node, which `launcher` has started, hands its own cookie to the crate once it has started.
    pub(super) fn startup_argument(&self, launcher: &Launcher) -> String {
        // Where nobody reads the pipe any more, writing blocks: it ends with the node. If the node ended before the kernel
        // was told to see to that, its number is not the parent's any more.
        let hand_over = format!(
            "read -r node < {} && [ $PPID = $node ] && exec cat {} > {}",
            quoted(launcher.pid_file()),
            quoted(&self.node_cookie),
            quoted(&self.path)
        );
        format!("-startupnotify=exec setpriv --pdeathsig KILL sh -c {}", quoted(hand_over))
    }

    /// Puts the node's own cookie in the place of the pipe, which has served: others read it there, too.
    pub(super) fn replace(&self) -> io::Result<()> {
        fs::remove_file(&self.path)?;
        std::os::unix::fs::symlink(&self.node_cookie, &self.path)
    }

    /// Lets go of the crate, if it waits for a node that will not come. It finds no cookie when it looks again, and
    /// contacts no port.
    pub(super) fn give_up(&self) -> io::Result<()> {
        let pipe = open_both_ways(&self.path)?;
        fs::remove_file(&self.path)?;
        drop(pipe);
        Ok(())
    }
}

/// Tells when the program of `launcher` has ended.
pub(crate) fn watch_end(name: &str, launcher: Launcher) -> io::Result<watch::Receiver<bool>> {
    let (tell, ended) = watch::channel(false);
    let name = name.to_owned();
    thread::Builder::new().name(format!("end of {name}")).spawn(move || {
        if let Err(error) = launcher.wait_for_end() {
            eprintln!("shopfloor: cannot watch {name}: {error}");
        }
        // Without a receiver nobody wants to know.
        let _ = tell.send(true);
    })?;
    Ok(ended)
}

/// The length of a log; 0 if it is not there.
pub(crate) fn length(log: &Path) -> io::Result<u64> {
    match fs::metadata(log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        metadata => Ok(metadata?.len()),
    }
}

/// What a log holds from byte `start` on. A log that is not there holds nothing.
pub(crate) fn text_from(log: &Path, start: u64) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(bytes.get(start as usize..).unwrap_or_default()).into_owned()
}

fn make_pipe(path: &Path) -> io::Result<()> {
    nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR).map_err(io::Error::from)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A pipe that is open both ways never blocks, and ends the wait of whoever opens it one way.
fn open_both_ways(pipe: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().read(true).write(true).custom_flags(nix::libc::O_NONBLOCK).open(pipe)
}

/// `text` as one word of the shell.
fn quoted(text: impl AsRef<OsStr>) -> String {
    format!("'{}'", text.as_ref().to_string_lossy().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The port was taken, so the node starts again while the crate still waits for the first one's cookie.
    #[test]
    fn who_looks_for_the_cookie_of_a_failed_start_does_not_find_the_next_one_s() {
        let datadir = tempfile::tempdir().unwrap();
        let first = CookiePipe::new(datadir.path()).unwrap();
        first.give_up().unwrap();
        let second = CookiePipe::new(datadir.path()).unwrap();
        assert!(!first.path.exists() && second.path.exists());
        assert_eq!(second.path, datadir.path().join(second.network()).join(".cookie"));
    }

    #[test]
    fn quoted_paths_are_one_word_of_the_shell() {
        for path in ["/a b", "/it's", "/$HOME/`x`", "/\"q\""] {
            let out = std::process::Command::new("sh").arg("-c").arg(format!("printf %s {}", quoted(path))).output();
            assert_eq!(String::from_utf8(out.unwrap().stdout).unwrap(), path);
        }
    }
}
