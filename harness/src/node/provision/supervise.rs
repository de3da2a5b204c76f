//! Running a build program so that neither it nor anything it started outlives this process.
//!
//! The program runs in a process group of its own, beside a guard that holds one end of a pipe whose other end is ours.
//! However this process ends (Ctrl-C, a panic, `kill -9`), the system closes our end, the guard wakes up and kills the
//! group. `PR_SET_PDEATHSIG` would not do: it reaches the child alone, and `make` goes on when `cmake` is gone.
//!
//! The whole group also shares the lock of the tool being built, so that the lock is free only once the last compiler
//! is gone, and the next installer cannot sweep a folder that is still being written to.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// The guard: descriptor 0 is the pipe to us, 1 takes all output, 2 is the lock, to be held and not written to.
const GUARD: &str = r#"
exec 4<&0 3>&2 2>&1
(read -r _ <&4; kill -KILL 0) >/dev/null 2>&1 &
guard=$!
"$@" 4<&- </dev/null &
wait $!
code=$?
exec 2>/dev/null
kill -KILL $guard
wait $guard
exit $code
"#;

/// A program to run, with its arguments, folder and variables.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    words: Vec<OsString>,
    folder: PathBuf,
    vars: BTreeMap<OsString, OsString>,
}

impl Run {
    /// Runs `program` in `folder` with these variables and no others.
    pub(crate) fn new(program: impl AsRef<OsStr>, folder: &Path, vars: &BTreeMap<OsString, OsString>) -> Run {
        Run { words: vec![program.as_ref().to_owned()], folder: folder.to_owned(), vars: vars.clone() }
    }

    /// Adds one argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Run {
        self.words.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub(crate) fn args<S: AsRef<OsStr>>(self, args: impl IntoIterator<Item = S>) -> Run {
        args.into_iter().fold(self, Run::arg)
    }

    /// Sets a variable.
    pub(crate) fn var(mut self, name: &str, value: impl AsRef<OsStr>) -> Run {
        self.vars.insert(name.into(), value.as_ref().to_owned());
        self
    }

    /// Removes variables.
    pub(crate) fn without<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Run {
        for name in names {
            self.vars.remove(OsStr::new(name));
        }
        self
    }

    /// The command as a person would type it, for the log and for error messages.
    pub(crate) fn shown(&self) -> String {
        let words = self.words.iter().map(|word| word.to_string_lossy());
        words
            .map(|word| if word.contains(' ') { format!("'{word}'") } else { word.into_owned() })
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Runs to the end, handing over each line of output as it comes; `\r` ends a line too, for progress bars.
    pub(crate) fn supervised(&self, lock: &File, mut on_line: impl FnMut(&str)) -> io::Result<ExitStatus> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(GUARD).arg("sh").args(&self.words);
        command.current_dir(&self.folder).env_clear().envs(&self.vars).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(lock.try_clone()?);
        let mut child = command.spawn()?;
        // `wait` closes the child's input: taken out, it stays open until the child has ended.
        let mut leash = child.stdin.take();
        let read = child.stdout.take().map_or(Ok(()), |output| each_line(BufReader::new(output), &mut on_line));
        if read.is_err() {
            // Unread, the program would wait for us for ever.
            leash = None;
        }
        let status = child.wait()?;
        drop(leash);
        read.map(|()| status)
    }
}

fn each_line(input: impl BufRead, on_line: &mut impl FnMut(&str)) -> io::Result<()> {
    let mut line = Vec::new();
    for byte in input.bytes() {
        match byte? {
            b'\n' | b'\r' => {
                if !line.is_empty() {
                    on_line(&String::from_utf8_lossy(&line));
                    line.clear();
                }
            }
            byte => line.push(byte),
        }
    }
    if !line.is_empty() {
        on_line(&String::from_utf8_lossy(&line));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> (ExitStatus, Vec<String>) {
        let lock = tempfile::tempfile().unwrap();
        let vars = std::env::vars_os().collect();
        let mut lines = Vec::new();
        let run = Run::new("sh", Path::new("."), &vars).args(["-c", script]);
        let status = run.supervised(&lock, |line| lines.push(line.to_owned())).unwrap();
        (status, lines)
    }

    #[test]
    fn hands_over_both_outputs_in_order_and_the_exit_code() {
        let (status, lines) = run("echo one; echo two >&2; printf '1%%\\r2%%'; exit 3");
        assert_eq!(status.code(), Some(3));
        assert_eq!(lines, ["one", "two", "1%", "2%"]);
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_with_a_reason() {
        let lock = tempfile::tempfile().unwrap();
        let vars = std::env::vars_os().collect();
        let mut lines = Vec::new();
        let run = Run::new("no-such-program", Path::new("."), &vars);
        let status = run.supervised(&lock, |line| lines.push(line.to_owned())).unwrap();
        assert_eq!(status.code(), Some(127));
        assert!(lines[0].contains("no-such-program"), "{lines:?}");
    }
}
