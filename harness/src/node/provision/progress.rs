//! Telling a person how an installation goes.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::tool::Tool;

/// Something that happened while a tool was being installed or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Another process works on this tool; the wait for it begins. `holder` is what it wrote about itself.
    Waiting {
        /// The process and what it does: "process 4711, installing".
        holder: &'a str,
    },
    /// A step begins: "fetching", "configuring", "compiling".
    Step(&'a str),
    /// How far the step is, of a hundred, by the build tool's own count.
    Percent(u8),
    /// A line that the running program printed; it is in the log as well.
    Line(&'a str),
    /// All is done.
    Done,
}

/// Something that listens to the progress of an installation.
pub trait Progress {
    /// Called for each event, in order, from the thread that installs.
    fn event(&mut self, tool: Tool, event: Event<'_>);
}

/// Says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&mut self, _: Tool, _: Event<'_>) {}
}

/// Progress on standard error: a bar on a terminal, plain lines elsewhere.
pub fn to_stderr() -> Box<dyn Progress> {
    if io::stderr().is_terminal() { Box::new(Bar::default()) } else { Box::new(Plain::new(io::stderr())) }
}

/// One line per step, and one every so often within a step, with the time elapsed.
#[derive(Debug)]
pub struct Plain<W> {
    out: W,
    start: Instant,
    step: String,
    percent: u8,
    last: Instant,
}

impl<W: Write> Plain<W> {
    /// A log of a CI job wants a sign of life, not a line per file.
    const EVERY: Duration = Duration::from_secs(15);

    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        let now = Instant::now();
        Plain { out, start: now, step: String::new(), percent: 0, last: now }
    }

    fn line(&mut self, tool: Tool, text: &str) {
        self.last = Instant::now();
        let elapsed = self.start.elapsed().as_secs();
        // Progress that cannot be shown is no reason to stop installing.
        let _ = writeln!(self.out, "{tool}: {text} ({}:{:02})", elapsed / 60, elapsed % 60);
    }
}

impl<W: Write> Progress for Plain<W> {
    fn event(&mut self, tool: Tool, event: Event<'_>) {
        match event {
            Event::Waiting { holder } => self.line(tool, &format!("waiting for {holder}")),
            Event::Step(step) => {
                step.clone_into(&mut self.step);
                self.percent = 0;
                self.line(tool, step);
            }
            Event::Percent(percent) if percent > self.percent && self.last.elapsed() >= Self::EVERY => {
                self.percent = percent;
                let text = format!("{} {percent}%", self.step);
                self.line(tool, &text);
            }
            Event::Percent(_) | Event::Line(_) => {}
            Event::Done => self.line(tool, "done"),
        }
    }
}

/// A bar that moves, with the line last printed beside it.
#[derive(Debug, Default)]
struct Bar {
    bar: Option<ProgressBar>,
}

impl Progress for Bar {
    fn event(&mut self, tool: Tool, event: Event<'_>) {
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(100).with_style(style("{spinner} {prefix} {elapsed} {wide_msg}"));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        match event {
            Event::Waiting { holder } => {
                bar.set_prefix(format!("{tool}: waiting"));
                bar.set_message(format!("for {holder}"));
            }
            Event::Step(step) => {
                bar.set_style(style("{spinner} {prefix} {elapsed} {wide_msg}"));
                bar.set_prefix(format!("{tool}: {step}"));
                bar.set_message("");
            }
            Event::Percent(percent) => {
                bar.set_style(style("{spinner} {prefix} {percent:>3}% [{bar:24}] {elapsed} {wide_msg}"));
                bar.set_position(percent.into());
            }
            Event::Line(line) => bar.set_message(line.to_owned()),
            Event::Done => bar.finish_and_clear(),
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        // After a failure the bar would stand above the error as if it still moved.
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Kind;

    #[test]
    fn plain_progress_names_steps_and_leaves_the_lines_to_the_log() {
        let mut plain = Plain::new(Vec::new());
        let tool = Tool::Node(Kind::Knots29);
        for event in [Event::Step("fetching"), Event::Line("Get:1"), Event::Percent(3), Event::Done] {
            plain.event(tool, event);
        }
        let text = String::from_utf8(plain.out).unwrap();
        assert_eq!(text, "knots-29: fetching (0:00)\nknots-29: done (0:00)\n");
    }
}
