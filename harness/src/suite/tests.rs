//! Suites of jobs that start no node.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use indexmap::IndexMap;
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::report::{BlockReport, RunReport, StepReport, TransactionReport, Verdict};
use crate::scenario::{Count, FactorySpec, Sat, Scenario};

/// Longer than a test may take.
const LONG: Duration = Duration::from_secs(60);

pub(crate) fn report(name: &str, verdict: Verdict, failures: &[&str]) -> RunReport {
    let million = Sat(bitcoin::Amount::from_sat(1_000_000));
    RunReport {
        scenario: name.to_owned(),
        file: PathBuf::from("scenario.yaml"),
        seed: 7,
        verdict,
        failures: failures.iter().map(|&failure| failure.to_owned()).collect(),
        assertions: 1,
        replay: format!("shopfloor run {name}"),
        duration_ms: 410,
        ..RunReport::by_hand(&Scenario::of(FactorySpec::of(Count(3), million)))
    }
}

type Play = Box<dyn FnOnce(Progress) -> Pin<Box<dyn Future<Output = RunReport> + Send>> + Send>;

struct Fake {
    name: String,
    weight: usize,
    deadline: Duration,
    play: Play,
}

impl Job for Fake {
    fn weight(&self) -> usize {
        self.weight
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    fn blank(&self) -> RunReport {
        report(&self.name, Verdict::Error, &[])
    }

    fn run(self, progress: Progress) -> impl Future<Output = RunReport> + Send {
        (self.play)(progress)
    }
}

fn job<F>(name: impl Into<String>, weight: usize, play: impl FnOnce(Progress) -> F + Send + 'static) -> Fake
where
    F: Future<Output = RunReport> + Send + 'static,
{
    Fake { name: name.into(), weight, deadline: LONG, play: Box::new(move |progress| Box::pin(play(progress))) }
}

fn ends(name: &'static str, verdict: Verdict) -> Fake {
    job(name, 1, move |_| async move { report(name, verdict, &[]) })
}

/// What a display wrote.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn display(verbose: bool) -> (Arc<Display>, Written) {
    let written = Written::default();
    let style = Style { bars: false, colours: false, verbose };
    (Arc::new(Display::to_writer(Box::new(written.clone()), style)), written)
}

impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

const WIDE: Budget = Budget { runs: usize::MAX, processes: usize::MAX };

async fn play(jobs: Vec<Fake>, budget: Budget, fail_fast: bool) -> Outcome {
    // No test may hang, whatever is broken.
    tokio::time::timeout(LONG, run(jobs, budget, fail_fast, display(false).0, pending())).await.unwrap()
}

fn verdicts(outcome: &Outcome) -> Vec<(&str, Verdict)> {
    outcome.runs.iter().map(|run| (run.scenario.as_str(), run.verdict)).collect()
}

#[tokio::test]
async fn results_come_in_the_order_of_the_jobs_whichever_ends_first() {
    let (release, released) = oneshot::channel();
    let first = job("first", 1, |_| async {
        released.await.unwrap();
        report("first", Verdict::Pass, &[])
    });
    let second = job("second", 1, |_| async {
        release.send(()).unwrap();
        report("second", Verdict::Inconclusive, &[])
    });
    let outcome = play(vec![first, second], WIDE, false).await;
    assert_eq!(verdicts(&outcome), [("first", Verdict::Pass), ("second", Verdict::Inconclusive)]);
    assert!(!outcome.interrupted);
}

/// Runs jobs of these weights, each of which ends when no further job comes. Returns which were running together.
async fn together(weights: &[usize], budget: Budget) -> Vec<Vec<usize>> {
    let (begun, mut begins) = mpsc::unbounded_channel();
    let jobs = weights.iter().enumerate().map(|(at, &weight)| {
        let begun = begun.clone();
        job(at.to_string(), weight, move |_| async move {
            let (end, ended) = oneshot::channel();
            begun.send((at, end)).unwrap();
            ended.await.unwrap();
            report(&at.to_string(), Verdict::Pass, &[])
        })
    });
    let suite = tokio::spawn(play(jobs.collect(), budget, false));
    let mut running: VecDeque<(usize, oneshot::Sender<()>)> = VecDeque::new();
    let mut seen = Vec::new();
    for _ in weights {
        loop {
            // On a runtime with one thread, this comes back only after every task has had its turn.
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            match begins.try_recv() {
                Ok(job) => running.push_back(job),
                Err(_) => break,
            }
        }
        let now: Vec<_> = running.iter().map(|(at, _)| *at).collect();
        if seen.last() != Some(&now) {
            seen.push(now);
        }
        running.pop_front().expect("a job runs").1.send(()).unwrap();
    }
    assert_eq!(suite.await.unwrap().runs.len(), weights.len());
    seen
}

#[tokio::test]
async fn the_budget_is_used_and_never_exceeded() {
    let budget = |runs, processes| Budget { runs, processes };
    let seen = together(&[1, 1, 2, 1], budget(usize::MAX, 3)).await;
    assert_eq!(seen, [vec![0, 1], vec![1, 2], vec![2, 3], vec![3]]);
    let seen = together(&[1, 5, 1], budget(usize::MAX, 3)).await;
    assert_eq!(seen, [vec![0], vec![1], vec![2]], "a heavy job runs alone");
    let seen = together(&[1, 3, 1], budget(usize::MAX, 3)).await;
    assert_eq!(seen, [vec![0], vec![1], vec![2]], "no job overtakes another");
    let seen = together(&[1, 1, 1], budget(2, 100)).await;
    assert_eq!(seen, [vec![0, 1], vec![1, 2], vec![2]]);
    let seen = together(&[0, 0], budget(usize::MAX, 1)).await;
    assert_eq!(seen, [vec![0], vec![1]], "a job without nodes counts as one");
}

#[tokio::test]
async fn after_a_failure_no_job_is_begun_if_asked() {
    let jobs = || vec![ends("good", Verdict::Pass), ends("bad", Verdict::Fail), ends("late", Verdict::Pass)];
    let one = Budget { runs: 1, processes: 1 };
    let outcome = play(jobs(), one, true).await;
    let expected = [("good", Verdict::Pass), ("bad", Verdict::Fail), ("late", Verdict::Skip)];
    assert_eq!(verdicts(&outcome), expected);
    assert_eq!(outcome.runs[2].failures, [NOT_BEGUN]);
    let outcome = play(jobs(), one, false).await;
    assert_eq!(verdicts(&outcome)[2], ("late", Verdict::Pass));
    let mild =
        vec![ends("skipped", Verdict::Skip), ends("unclear", Verdict::Inconclusive), ends("late", Verdict::Pass)];
    assert_eq!(verdicts(&play(mild, one, true).await)[2], ("late", Verdict::Pass), "only failures stop a suite");
}

/// Counts how many of it there are.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Alive(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_job_past_its_deadline_is_dropped_and_says_where_it_was() {
    let alive = Arc::new(AtomicUsize::new(0));
    let (inside, seen) = (Arc::clone(&alive), Arc::clone(&alive));
    let mut hangs = job("hangs", 1, move |progress| async move {
        let _alive = Alive::new(&inside);
        progress.if_cut_short(move |report| report.logs = format!("{} alive", seen.load(Ordering::SeqCst)));
        progress.step(3, 9, "mine 1 block");
        pending().await
    });
    hangs.deadline = Duration::from_millis(20);
    let mut early = job("early", 1, |_| pending());
    early.deadline = Duration::from_millis(20);
    let outcome = play(vec![hangs, early, ends("good", Verdict::Pass)], WIDE, false).await;
    assert_eq!(verdicts(&outcome), [("hangs", Verdict::Error), ("early", Verdict::Error), ("good", Verdict::Pass)]);
    assert_eq!(outcome.runs[0].failures, ["it did not end within 0.02 s: it was at step 3/9 mine 1 block"]);
    assert_eq!(outcome.runs[1].failures, ["it did not end within 0.02 s: it was before its first step"]);
    assert_eq!(outcome.runs[0].logs, "0 alive", "what the run holds is gone before its report is completed");
    assert!(outcome.runs[0].duration_ms >= 20);
}

#[tokio::test]
async fn a_panic_spoils_no_other_job() {
    let panics = job("panics", 1, |progress| async move {
        progress.step(1, 2, "open");
        progress.if_cut_short(|report| report.files = Some(PathBuf::from("kept")));
        panic!("no such {}", "thing")
    });
    let outcome = play(vec![panics, ends("good", Verdict::Pass)], WIDE, false).await;
    assert_eq!(verdicts(&outcome), [("panics", Verdict::Error), ("good", Verdict::Pass)]);
    assert_eq!(outcome.runs[0].failures, ["the harness panicked at step 1/2 open: no such thing"]);
    assert_eq!(outcome.runs[0].files, Some(PathBuf::from("kept")));
}

#[tokio::test]
async fn an_interrupt_drops_what_runs_and_keeps_what_ended() {
    let alive = Arc::new(AtomicUsize::new(0));
    let (interrupt, interrupted) = oneshot::channel();
    let inside = Arc::clone(&alive);
    let hangs = job("hangs", 1, |_| async move {
        let _alive = Alive::new(&inside);
        interrupt.send(()).unwrap();
        pending().await
    });
    let jobs = vec![ends("done", Verdict::Pass), hangs, ends("late", Verdict::Pass)];
    let one = Budget { runs: 1, processes: 1 };
    let suite = run(jobs, one, false, display(false).0, async { interrupted.await.unwrap() });
    let outcome = tokio::time::timeout(LONG, suite).await.unwrap();
    assert!(outcome.interrupted);
    assert_eq!(verdicts(&outcome), [("done", Verdict::Pass)]);
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn plain_progress_is_a_line_per_run_with_its_failures() {
    let jobs = || {
        let good = job("a good one", 1, |progress| async move {
            progress.step(1, 2, "open");
            progress.step(2, 2, "close");
            RunReport { repetition: Some(2), ..report("a good one", Verdict::Pass, &[]) }
        });
        let bad = job("a bad one", 1, |_| async {
            let files = Some(PathBuf::from("some/where"));
            let failures = ["m0: 5 sat instead of 6 sat", "two\nlines"];
            RunReport { files, duration_ms: 12_345, ..report("a bad one", Verdict::Fail, &failures) }
        });
        vec![good, bad, ends("an unclear one", Verdict::Inconclusive)]
    };
    let one = Budget { runs: 1, processes: 1 };
    let (plain, written) = display(false);
    run(jobs(), one, false, plain, pending()).await;
    let expected = concat!(
        "        pass    0.41 s  a good one #2\n",
        "        fail   12.35 s  a bad one\n",
        "                        m0: 5 sat instead of 6 sat\n",
        "                        two\n",
        "                        lines\n",
        "                        files: some/where\n",
        "inconclusive    0.41 s  an unclear one\n",
    );
    assert_eq!(written.text(), expected);
    let (verbose, written) = display(true);
    run(jobs(), one, false, verbose, pending()).await;
    let steps =
        concat!("                        a good one: 1/2 open\n", "                        a good one: 2/2 close\n",);
    assert_eq!(written.text(), format!("{steps}{expected}"));
}

#[test]
fn repetitions_are_counted_only_if_there_are_several() {
    assert_eq!(repeated(vec!["a", "b"], 1), [("a", None), ("b", None)]);
    assert_eq!(repeated(vec!["a", "b"], 2), [("a", Some(1)), ("a", Some(2)), ("b", Some(1)), ("b", Some(2))]);
}

/// A report with one of everything that may differ.
fn rich(repetition: u32) -> RunReport {
    let transaction = TransactionReport {
        txid: "aa".to_owned(),
        vsize: 100,
        weight: 400,
        fee_sat: 100,
        measured: true,
        spends: Vec::new(),
        relative_lock: None,
        absolute_lock: None,
        outputs: Vec::new(),
        status: IndexMap::new(),
    };
    let block = BlockReport { node: "alice".to_owned(), height: 1, hash: "bb".to_owned(), transactions: Vec::new() };
    RunReport {
        repetition: Some(repetition),
        transactions: [("funding".to_owned(), transaction)].into_iter().collect(),
        blocks: vec![block],
        steps: vec![StepReport { step: "open".to_owned(), line: Some(3), duration_ms: repetition.into() }],
        ..report("close", Verdict::Pass, &[])
    }
}

#[test]
fn durations_and_paths_are_no_differences() {
    let other = RunReport {
        duration_ms: 9,
        files: Some(PathBuf::from("run-2")),
        logs: "12:01".to_owned(),
        replay: "again".to_owned(),
        ..rich(2)
    };
    assert_eq!(differences(&[rich(1), other]), [""; 0]);
    let at = |repetition, path: &str| RunReport {
        verdict: Verdict::Fail,
        files: Some(PathBuf::from(path)),
        failures: vec![format!("see {path}/log")],
        ..rich(repetition)
    };
    assert_eq!(differences(&[at(1, "run-1"), at(2, "run-2")]), [""; 0]);
}

#[test]
fn differences_say_where_and_what() {
    let mut other = rich(2);
    other.transactions["funding"].txid = "cc".to_owned();
    other.blocks[0].hash = "dd".to_owned();
    other.messages = 3;
    let flake = RunReport { verdict: Verdict::Fail, failures: vec!["m0 is poor".to_owned()], ..rich(3) };
    let unbegun = RunReport { verdict: Verdict::Skip, failures: vec![NOT_BEGUN.to_owned()], ..rich(4) };
    let mut longer = rich(5);
    longer.blocks.push(longer.blocks[0].clone());
    // Another seed makes it another run.
    let another = RunReport { seed: 8, messages: 99, ..rich(1) };
    assert_eq!(
        differences(&[rich(1), other, flake, unbegun, longer, another]),
        [
            r#"close #2 is not as #1: transactions.funding.txid: "cc" instead of "aa""#,
            r#"close #2 is not as #1: blocks.0.hash: "dd" instead of "bb""#,
            "close #2 is not as #1: messages: 3 instead of 0",
            "close #3 is not as #1: verdict: fail instead of pass (m0 is poor)",
            "close #5 is not as #1: blocks: 2 entries instead of 1",
        ]
    );
}
