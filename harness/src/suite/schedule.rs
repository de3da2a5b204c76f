//! Several runs at once, as many as the machine bears, none of which spoils another.

use std::any::Any;
use std::collections::HashMap;
use std::fs;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{Id, JoinError, JoinSet};

use super::progress::{Display, Progress};
use crate::report::{RunReport, Verdict};

/// Why a run is skipped after another one failed.
pub const NOT_BEGUN: &str = "not begun, since a run before it failed: --fail-fast";

/// One run that is to be.
pub trait Job: Send + 'static {
    /// How many node and electrs processes it starts.
    fn weight(&self) -> usize;

    /// How long it may take.
    fn deadline(&self) -> Duration;

    /// What is known of the run before it begins. The verdict and the failures are set by whoever knows why there is no
    /// better report.
    fn blank(&self) -> RunReport;

    /// Runs it. Dropped before its end, the future has to leave no process behind.
    fn run(self, progress: Progress) -> impl Future<Output = RunReport> + Send;
}

/// How much may go on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// How many runs.
    pub runs: usize,
    /// How many node and electrs processes, in all runs together.
    pub processes: usize,
}

/// What one process takes at the most, in MB.
const PROCESS_MB: u64 = 150;

impl Budget {
    /// What this machine bears: `jobs` runs if it is given, and otherwise as many as its processors have work for; in
    /// both cases no more than its free memory holds.
    pub fn of_machine(jobs: Option<usize>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        Budget::new(cores, free_mb(), jobs)
    }

    fn new(cores: usize, free_mb: Option<u64>, jobs: Option<usize>) -> Self {
        let in_memory = free_mb.map_or(usize::MAX, |free| usize::try_from(free / PROCESS_MB).unwrap_or(usize::MAX));
        // A run waits for its nodes for a good part of its time, and its nodes for it.
        let wanted = if jobs.is_some() { usize::MAX } else { (cores * 3).div_ceil(2) };
        Budget { runs: jobs.unwrap_or(usize::MAX).max(1), processes: wanted.min(in_memory).max(1) }
    }
}

/// The memory that is free on the machine or left to the container, whichever is less; none if neither can be told.
fn free_mb() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok();
    let machine = meminfo.as_deref().and_then(available_mb);
    let bytes = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?.trim().parse::<u64>().ok();
    // Where there is no limit, `memory.max` is missing or no number.
    let left = bytes("memory.max").zip(bytes("memory.current")).map(|(max, now)| max.saturating_sub(now) >> 20);
    machine.into_iter().chain(left).min()
}

fn available_mb(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? / 1024)
}

/// How a suite ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The runs that ended, in the order of the jobs. Without an interrupt that is one for each job.
    pub runs: Vec<RunReport>,
    /// Whether it was interrupted: then the runs that had not ended are missing.
    pub interrupted: bool,
}

/// Runs the jobs, beginning them in their order. A job that is heavier than the whole budget runs alone. When
/// `interrupt` completes, what runs is dropped; this returns once it is gone.
pub async fn run<J: Job>(
    jobs: Vec<J>,
    budget: Budget,
    fail_fast: bool,
    display: Arc<Display>,
    interrupt: impl Future<Output = ()>,
) -> Outcome {
    let mut suite = Suite {
        reports: jobs.iter().map(|_| None).collect(),
        running: HashMap::new(),
        tasks: JoinSet::new(),
        display: Arc::clone(&display),
    };
    let mut waiting = jobs.into_iter().enumerate().peekable();
    let mut interrupt = std::pin::pin!(interrupt);
    let mut failed = false;
    let interrupted = loop {
        if failed && fail_fast {
            for (at, job) in waiting.by_ref() {
                suite.end(at, cut_short(job.blank(), Verdict::Skip, NOT_BEGUN.to_owned()));
            }
        }
        while let Some((at, job)) = waiting.next_if(|(_, job)| suite.has_room(budget, job.weight())) {
            suite.begin(at, job);
        }
        tokio::select! {
            // If both are there, an interrupt may not be put off by runs that end one after the other.
            biased;
            () = &mut interrupt => break true,
            ended = suite.tasks.join_next_with_id() => match ended {
                Some(ended) => failed |= suite.ended(ended) >= Some(Verdict::Fail),
                None => break false,
            },
        }
    };
    if interrupted {
        suite.tasks.abort_all();
        while let Some(ended) = suite.tasks.join_next_with_id().await {
            suite.ended(ended);
        }
    }
    display.close();
    Outcome { runs: suite.reports.into_iter().flatten().collect(), interrupted }
}

struct Suite {
    reports: Vec<Option<RunReport>>,
    running: HashMap<Id, Running>,
    tasks: JoinSet<Option<RunReport>>,
    display: Arc<Display>,
}

/// What is known of a job that runs.
struct Running {
    at: usize,
    weight: usize,
    deadline: Duration,
    begun: Instant,
    blank: RunReport,
    progress: Progress,
}

impl Suite {
    fn has_room(&self, budget: Budget, weight: usize) -> bool {
        let taken: usize = self.running.values().map(|running| running.weight).sum();
        self.running.is_empty()
            || self.running.len() < budget.runs && taken.saturating_add(weight.max(1)) <= budget.processes
    }

    fn begin<J: Job>(&mut self, at: usize, job: J) {
        let (weight, deadline, blank) = (job.weight().max(1), job.deadline(), job.blank());
        let progress = Progress::new(at, Arc::clone(&self.display));
        self.display.begin(at, &blank.title());
        let running = Running { at, weight, deadline, begun: Instant::now(), blank, progress: progress.clone() };
        // The future is gone, with what it holds, before the task has ended: be it for the deadline, a panic or an abort.
        let task = self.tasks.spawn(async move { tokio::time::timeout(deadline, job.run(progress)).await.ok() });
        self.running.insert(task.id(), running);
    }

    /// Takes what a task ended with; none if it was aborted.
    fn ended(&mut self, ended: Result<(Id, Option<RunReport>), JoinError>) -> Option<Verdict> {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Running { at, deadline, begun, blank, progress, .. } =
            self.running.remove(&id).expect("every task is entered when it begins");
        let report = match ended {
            Ok((_, Some(report))) => report,
            Ok((_, None)) => {
                let seconds = deadline.as_secs_f64();
                let why = format!("it did not end within {seconds} s: it was {}", progress.place());
                completed(blank, begun, why, &progress)
            }
            Err(error) if error.is_panic() => {
                let why = format!("the harness panicked {}: {}", progress.place(), message(&*error.into_panic()));
                completed(blank, begun, why, &progress)
            }
            Err(_aborted) => return None,
        };
        let verdict = report.verdict;
        self.end(at, report);
        Some(verdict)
    }

    fn end(&mut self, at: usize, report: RunReport) {
        self.display.finish(at, &report);
        self.reports[at] = Some(report);
    }
}

fn cut_short(mut report: RunReport, verdict: Verdict, why: String) -> RunReport {
    report.verdict = verdict;
    report.failures.push(why);
    report
}

fn completed(blank: RunReport, begun: Instant, why: String, progress: &Progress) -> RunReport {
    let mut report = cut_short(blank, Verdict::Error, why);
    report.duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    progress.complete(&mut report);
    report
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("it gave no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_fits_the_machine() {
        let all = usize::MAX;
        for (cores, free, jobs, runs, processes) in [
            (2, Some(8000), None, all, 3),
            (3, None, None, all, 5),
            (64, Some(1000), None, all, 6),
            (2, Some(0), None, all, 1),
            (2, Some(3000), Some(8), 8, 20),
            (2, None, Some(1), 1, all),
        ] {
            let budget = Budget { runs, processes };
            assert_eq!(Budget::new(cores, free, jobs), budget, "{cores} cores, {free:?} MB, {jobs:?}");
        }
        assert_eq!(available_mb("MemTotal: 9 kB\nMemAvailable:   2097152 kB\n"), Some(2048));
        assert_eq!(available_mb("MemTotal: 9 kB\n"), None);
    }
}
