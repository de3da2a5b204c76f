//! What is shown while scenarios run. All of it goes to standard error: standard output is for results.

use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::report::{RunReport, Verdict};

/// What a run tells of itself while it goes on.
#[derive(Clone)]
pub struct Progress {
    shared: Arc<Shared>,
}

struct Shared {
    job: usize,
    display: Arc<Display>,
    step: Mutex<Option<Step>>,
    cut_short: Mutex<Option<LastWords>>,
}

type LastWords = Box<dyn FnOnce(&mut RunReport) + Send>;

/// Where a run is.
#[derive(Clone, Debug)]
struct Step {
    number: usize,
    of: usize,
    text: String,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{} {}", self.number, self.of, self.text)
    }
}

/// A thread that panicked cannot leave these half written: each is set as a whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Progress {
    pub(super) fn new(job: usize, display: Arc<Display>) -> Self {
        let shared = Shared { job, display, step: Mutex::default(), cut_short: Mutex::default() };
        Progress { shared: Arc::new(shared) }
    }

    /// Says that a step begins: which, from 1, of how many, and what it does.
    pub fn step(&self, number: usize, of: usize, text: impl Into<String>) {
        let step = Step { number, of, text: text.into() };
        self.shared.display.step(self.shared.job, &step);
        *lock(&self.shared.step) = Some(step);
    }

    /// Sets what is called if the run does not come to its end, be it for its deadline or for a panic: by then the run's
    /// future is dropped, and so are its nodes. It may add to the report what only the run knows, such as where its
    /// files are.
    pub fn if_cut_short(&self, complete: impl FnOnce(&mut RunReport) + Send + 'static) {
        *lock(&self.shared.cut_short) = Some(Box::new(complete));
    }

    /// Where the run is, in words.
    pub(super) fn place(&self) -> String {
        match &*lock(&self.shared.step) {
            Some(step) => format!("at step {step}"),
            None => "before its first step".to_owned(),
        }
    }

    pub(super) fn complete(&self, report: &mut RunReport) {
        let complete = lock(&self.shared.cut_short).take();
        if let Some(complete) = complete {
            complete(report);
        }
    }
}

/// How things are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Bars that move, rather than lines that stay.
    pub bars: bool,
    /// Colours.
    pub colours: bool,
    /// Every step and, with bars, every run that passed.
    pub verbose: bool,
}

impl Style {
    /// What suits standard error.
    pub fn of_stderr(verbose: bool) -> Self {
        let var = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        Style::of(io::stderr().is_terminal(), verbose, var)
    }

    fn of(terminal: bool, verbose: bool, var: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name| var(name).is_some_and(|value| !value.is_empty());
        let able = terminal && var("TERM").as_deref() != Some("dumb");
        Style { bars: able && !set("CI"), colours: able && !set("NO_COLOR"), verbose }
    }
}

/// Shows a person how a suite goes.
pub struct Display {
    style: Style,
    view: Mutex<View>,
}

enum View {
    Lines { out: Box<dyn Write + Send>, titles: IndexMap<usize, String> },
    Bars(Bars),
}

struct Bars {
    all: MultiProgress,
    overall: ProgressBar,
    totals: [usize; Verdict::ALL.len()],
    running: IndexMap<usize, ProgressBar>,
}

impl Display {
    /// Shows the progress of so many runs on standard error.
    pub fn to_stderr(runs: usize, style: Style) -> Self {
        if !style.bars {
            return Display::to_writer(Box::new(io::stderr()), style);
        }
        // It draws to standard error, unless told otherwise.
        let all = MultiProgress::new();
        let overall =
            all.add(ProgressBar::new(runs as u64).with_style(template("[{bar:24}] {pos}/{len} {elapsed} {msg}")));
        let bars = Bars { all, overall, totals: [0; Verdict::ALL.len()], running: IndexMap::new() };
        bars.overall.enable_steady_tick(Duration::from_millis(200));
        Display { style, view: Mutex::new(View::Bars(bars)) }
    }

    /// Writes plain lines to `out`.
    pub fn to_writer(out: Box<dyn Write + Send>, style: Style) -> Self {
        Display { style, view: Mutex::new(View::Lines { out, titles: IndexMap::new() }) }
    }

    pub(super) fn begin(&self, job: usize, title: &str) {
        match &mut *lock(&self.view) {
            View::Lines { titles, .. } => {
                titles.insert(job, title.to_owned());
            }
            View::Bars(Bars { all, overall, running, .. }) => {
                let bar =
                    ProgressBar::new_spinner().with_style(template("  {spinner} {elapsed:>4} {prefix}  {wide_msg}"));
                let bar = all.insert_before(overall, bar);
                bar.set_prefix(title.to_owned());
                bar.enable_steady_tick(Duration::from_millis(120));
                running.insert(job, bar);
            }
        }
    }

    fn step(&self, job: usize, step: &Step) {
        match &mut *lock(&self.view) {
            View::Lines { out, titles } if self.style.verbose => {
                let title = titles.get(&job).map_or("", String::as_str);
                // Progress that cannot be shown is no reason to stop; so it is below.
                let _ = writeln!(out, "{:24}{title}: {step}", "");
            }
            View::Lines { .. } => {}
            View::Bars(bars) => {
                if let Some(bar) = bars.running.get(&job) {
                    bar.set_message(step.to_string());
                }
            }
        }
    }

    pub(super) fn finish(&self, job: usize, report: &RunReport) {
        let text = self.line(report);
        match &mut *lock(&self.view) {
            View::Lines { out, titles } => {
                titles.shift_remove(&job);
                let _ = write!(out, "{text}");
            }
            View::Bars(bars) => {
                if let Some(bar) = bars.running.shift_remove(&job) {
                    bar.finish_and_clear();
                    bars.all.remove(&bar);
                }
                if report.verdict != Verdict::Pass || self.style.verbose {
                    let _ = bars.all.println(text.trim_end());
                }
                bars.totals[report.verdict as usize] += 1;
                let totals: Vec<_> = Verdict::ALL
                    .iter()
                    .zip(bars.totals)
                    .filter(|(_, count)| *count > 0)
                    .map(|(verdict, count)| format!("{count} {}", self.paint(*verdict, verdict.word())))
                    .collect();
                bars.overall.set_message(totals.join(", "));
                bars.overall.inc(1);
            }
        }
    }

    /// Takes the bars away, so that they do not stand above the results as if they still moved.
    pub(super) fn close(&self) {
        if let View::Bars(bars) = &mut *lock(&self.view) {
            for (_, bar) in bars.running.drain(..) {
                bar.finish_and_clear();
            }
            bars.overall.finish_and_clear();
        }
    }

    /// A line for a run that ended, and one for every failure.
    fn line(&self, report: &RunReport) -> String {
        let verdict = self.paint(report.verdict, &format!("{:>12}", report.verdict.word()));
        let seconds = Duration::from_millis(report.duration_ms).as_secs_f64();
        let mut text = format!("{verdict}{seconds:>8.2} s  {}\n", report.title());
        for line in report.failures.iter().flat_map(|failure| failure.lines()) {
            text.push_str(&format!("{:24}{line}\n", ""));
        }
        if let (Some(files), true) = (&report.files, report.verdict > Verdict::Pass) {
            text.push_str(&format!("{:24}files: {}\n", "", files.display()));
        }
        text
    }

    fn paint(&self, verdict: Verdict, text: &str) -> String {
        let colour = match verdict {
            Verdict::Pass => 32,
            Verdict::Skip => 33,
            Verdict::Inconclusive => 35,
            Verdict::Fail | Verdict::Error => 31,
        };
        if self.style.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.close();
    }
}

fn template(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_and_colours_are_for_terminals_with_a_person_before_them() {
        for (terminal, vars, bars, colours) in [
            (true, &[("TERM", "xterm"), ("CI", ""), ("NO_COLOR", "")][..], true, true),
            (true, &[("CI", "true")], false, true),
            (true, &[("NO_COLOR", "1")], true, false),
            (true, &[("TERM", "dumb")], false, false),
            (false, &[("TERM", "xterm")], false, false),
        ] {
            let var = |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            let style = Style { bars, colours, verbose: false };
            assert_eq!(Style::of(terminal, false, var), style, "{terminal} {vars:?}");
        }
    }
}
