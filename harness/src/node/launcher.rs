//! What stands between the crate `bitcoind` and the node program.
//!
//! The crate starts a program, then looks every 200 ms whether it is ready, trusts that a port which was free is
//! still free, throws the program's error output away, and leaves the program running when the harness is killed. The
//! launcher, a shell script that becomes the node, mends each of these from the inside:
//!
//! - The cookie file that the crate reads is a named pipe, which the node itself fills when it has started
//!   (`-startupnotify`). So the crate's first look waits just as long as the node takes.
//! - The port is locked by a file for as long as the node lives.
//! - The error output goes to a file.
//! - The kernel kills the node when the thread that started it ends (`PR_SET_PDEATHSIG`, through `setpriv`).
//! - A second named pipe is held open by the node, so that its end is seen at once.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::stat::Mode;

/// The name of the network folder in which the crate looks for the cookie. It is none of the node's own.
pub(super) const COOKIE_NETWORK: &str = "harness";

/// The launcher of one start of one node, and the files through which it speaks.
#[derive(Clone, Debug)]
pub(super) struct Launcher {
    dir: PathBuf,
    cookie: PathBuf,
}

impl Launcher {
    /// Writes the launcher of `program` into `dir`. The node's data directory is `datadir`; ports are locked in `ports`.
    pub(super) fn new(program: &Path, dir: &Path, datadir: &Path, ports: &Path) -> io::Result<Self> {
        let launcher = Launcher { dir: dir.to_owned(), cookie: datadir.join(COOKIE_NETWORK).join(".cookie") };
        fs::create_dir_all(datadir.join(COOKIE_NETWORK))?;
        fs::create_dir_all(ports)?;
        for stale in [launcher.alive(), launcher.cookie.clone(), launcher.pid_file(), launcher.port_taken_file()] {
            match fs::remove_file(&stale) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        for pipe in [launcher.alive(), launcher.cookie.clone()] {
            nix::unistd::mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR)?;
        }
        let script = include_str!("launcher.sh")
            .replace("@HARNESS@", &std::process::id().to_string())
            .replace("@ALIVE@", &quoted(launcher.alive()))
            .replace("@STDERR@", &quoted(Launcher::stderr_in(dir)))
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
    pub(super) fn script(&self) -> PathBuf {
        self.dir.join("launch")
    }

    /// What the program of the node in `dir` wrote to its standard error.
    pub(super) fn stderr_in(dir: &Path) -> PathBuf {
        dir.join("stderr.log")
    }

    /// The argument by which the node hands its own cookie to the crate once it has started.
    pub(super) fn startup_argument(&self, node_cookie: &Path) -> String {
        format!("-startupnotify=cat {} > {}", quoted(node_cookie), quoted(&self.cookie))
    }

    /// The node's process id.
    pub(super) fn pid(&self) -> io::Result<i32> {
        let text = fs::read_to_string(self.pid_file())?;
        text.trim().parse().map_err(|_| io::Error::other(format!("{}: `{text}`", self.pid_file().display())))
    }

    /// Whether the start failed because another harness holds the port.
    pub(super) fn port_taken(&self) -> bool {
        self.port_taken_file().exists()
    }

    /// Waits for the end of the node's process.
    pub(super) fn wait_for_end(&self) -> io::Result<()> {
        let mut nothing = [0];
        match fs::File::open(self.alive())?.read(&mut nothing)? {
            0 => Ok(()),
            _ => Err(io::Error::other("the node wrote into the pipe that only shows that it lives")),
        }
    }

    /// Lets go of everybody who waits for a node that will not come: the crate for a cookie, a thread for the end.
    pub(super) fn give_up(&self) -> io::Result<()> {
        // A pipe that is open both ways never blocks, and ends the wait of whoever opens it one way. The cookie goes
        // first, so that the crate finds none when it looks again, and contacts no port.
        let cookie = open_both_ways(&self.cookie)?;
        fs::remove_file(&self.cookie)?;
        let alive = open_both_ways(&self.alive())?;
        drop((cookie, alive));
        Ok(())
    }

    fn alive(&self) -> PathBuf {
        self.dir.join("alive")
    }

    fn pid_file(&self) -> PathBuf {
        self.dir.join("pid")
    }

    fn port_taken_file(&self) -> PathBuf {
        self.dir.join("port-taken")
    }
}

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

    #[test]
    fn quoted_paths_are_one_word_of_the_shell() {
        for path in ["/a b", "/it's", "/$HOME/`x`", "/\"q\""] {
            let out = std::process::Command::new("sh").arg("-c").arg(format!("printf %s {}", quoted(path))).output();
            assert_eq!(String::from_utf8(out.unwrap().stdout).unwrap(), path);
        }
    }
}
