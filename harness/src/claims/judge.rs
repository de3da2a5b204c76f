//! Runs the scenarios of all claims on nodes of every kind, and draws the verdicts.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;

use bitcoin::FeeRate;
use factory_core::TxVersion;
use indexmap::IndexMap;
use serde::Serialize;

use super::file::{Claim, Claims, Shows};
use crate::node::Kind;
use crate::node::provision::{Env, Tool};
use crate::race::{self, LoadedExperiment};
use crate::replacement::{self, Answer, Closes, Question, Stage};
use crate::report::{self, RunReport};
use crate::scenario::{self, CloseFee, FileKind, Invalid, Loaded, Override};
use crate::suite::{self, Budget, Display, ScenarioJob, Style};
use crate::testbed::{Stop, locate};

/// How often an experiment that a claim rests on is tried on nodes of each kind.
const RACE_TRIALS: u64 = 60;
/// How many of its trials are made at once.
const RACE_LANES: usize = 2;

/// What came of all claims.
#[derive(Clone, Debug, Serialize)]
pub struct ClaimsReport {
    /// The nodes that were asked: their kinds, and the versions that their programs tell.
    pub nodes: IndexMap<String, String>,
    /// Each claim.
    pub claims: Vec<ClaimReport>,
}

/// What came of one claim.
#[derive(Clone, Debug, Serialize)]
pub struct ClaimReport {
    /// What it is called.
    pub id: String,
    /// What it says.
    pub claim: String,
    /// Who made it.
    pub by: String,
    /// The scenarios that show whether it is so.
    pub scenarios: Vec<PathBuf>,
    /// The verdict for each kind of node.
    pub verdicts: IndexMap<String, Verdict>,
}

/// What one kind of node says to one claim.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It holds under these conditions.
    HoldsIf {
        /// When it does.
        holds: Vec<String>,
        /// When it does not.
        fails: Vec<String>,
    },
    /// It does not hold.
    Fails {
        /// When that shows.
        fails: Vec<String>,
    },
    /// There is none.
    None {
        /// Why not.
        why: String,
    },
}

/// Why a scenario shows nothing on a kind of node; `None` if it passed.
type Outcomes = BTreeMap<(Kind, PathBuf), Option<String>>;

/// Runs everything that the claims need on nodes of these kinds, of which the scenarios are in `folder`. When `interrupt`
/// completes, everything ends, and there is no report.
///
/// # Errors
///
/// [`Stop::Fail`], if a scenario is not sound; [`Stop::Error`], if a node fails; [`Stop::Skip`], if a kind is missing.
pub async fn run(
    claims: &Claims,
    kinds: &[Kind],
    folder: &Path,
    env: Arc<Env>,
    style: Style,
    interrupt: impl Future<Output = ()>,
) -> Result<Option<ClaimsReport>, Stop> {
    let mut nodes = IndexMap::new();
    for &kind in kinds {
        let program = locate(&env, Tool::Node(kind))?;
        nodes.insert(kind.to_string(), program.version.to_string());
    }
    let mut jobs = Vec::new();
    let (mut places, mut races) = (Vec::new(), Vec::new());
    for &kind in kinds {
        for scenario in needed(claims, kind) {
            if is_experiment(&folder.join(&scenario)).map_err(|invalid| Stop::Fail(invalid.to_string()))? {
                races.push((kind, scenario));
                continue;
            }
            let cells = cells(&folder.join(&scenario), kind).map_err(|invalid| Stop::Fail(invalid.to_string()))?;
            for loaded in cells {
                places.push((kind, scenario.clone()));
                jobs.push(ScenarioJob { loaded, repetition: None, env: Arc::clone(&env), keep: false });
            }
        }
    }
    let display = Arc::new(Display::to_stderr(jobs.len(), style));
    let mut interrupt = pin!(interrupt);
    let outcome = suite::run(jobs, Budget::of_machine(None), false, display, interrupt.as_mut()).await;
    if outcome.interrupted {
        return Ok(None);
    }
    let mut outcomes = Outcomes::new();
    for (place, run) in places.into_iter().zip(&outcome.runs) {
        let entry = outcomes.entry(place).or_default();
        *entry = entry.take().or_else(|| failure(run));
    }
    for (kind, experiment) in races {
        let cells = race_cells(&folder.join(&experiment), kind).map_err(|invalid| Stop::Fail(invalid.to_string()))?;
        let options = race::Options { trials: Some(RACE_TRIALS), lanes: RACE_LANES };
        let report = tokio::select! {
            report = race::run(&cells, options, Arc::clone(&env), Arc::new(|_| {})) => report?,
            () = interrupt.as_mut() => return Ok(None),
        };
        let failure = report.failures.first().map(|why| format!("{} did not pass: {why}", report.name));
        outcomes.insert((kind, experiment), failure);
    }
    let mut reports = Vec::new();
    for claim in &claims.claims {
        let mut verdicts = IndexMap::new();
        for &kind in kinds {
            let measured = match claim.measure {
                Some(measure) => Some(Figures::measure(&env, kind, measure.members).await?),
                None => None,
            };
            verdicts.insert(kind.to_string(), claim.verdict(kind, &outcomes, measured.as_ref()));
        }
        let all = claim.evidence.iter().flat_map(|evidence| &evidence.scenarios);
        let scenarios = all.cloned().collect::<indexmap::IndexSet<_>>().into_iter().collect();
        let Claim { id, claim, by, .. } = claim.clone();
        reports.push(ClaimReport { id, claim, by, scenarios, verdicts });
    }
    Ok(Some(ClaimsReport { nodes, claims: reports }))
}

/// The scenarios that nodes of this kind have to run.
fn needed(claims: &Claims, kind: Kind) -> BTreeSet<PathBuf> {
    let evidence = claims.claims.iter().flat_map(|claim| &claim.evidence);
    evidence.filter(|evidence| evidence.is_for(kind)).flat_map(|evidence| evidence.scenarios.iter().cloned()).collect()
}

/// The cells of a scenario in which every node is of this kind.
fn cells(file: &Path, kind: Kind) -> Result<Vec<Loaded>, Invalid> {
    let first = scenario::load(file, &[])?;
    let names: BTreeSet<&String> = first.iter().flat_map(|loaded| loaded.scenario.nodes.keys()).collect();
    let everywhere: Vec<Override> = names.into_iter().map(|name| Override::kind(name, kind)).collect();
    scenario::load(file, &everywhere)
}

fn is_experiment(file: &Path) -> Result<bool, Invalid> {
    Ok(FileKind::of(&scenario::read_text(file)?) == FileKind::Experiment)
}

/// The cells of an experiment in which every node is of this kind.
fn race_cells(file: &Path, kind: Kind) -> Result<Vec<LoadedExperiment>, Invalid> {
    let first = race::load(file, &[])?;
    let names: BTreeSet<&String> = first.iter().flat_map(|cell| cell.experiment.nodes.keys()).collect();
    let everywhere: Vec<Override> = names.into_iter().map(|name| Override::kind(name, kind)).collect();
    race::load(file, &everywhere)
}

fn failure(run: &RunReport) -> Option<String> {
    let why = || run.failures.first().cloned().unwrap_or_default();
    (run.verdict != report::Verdict::Pass).then(|| format!("{} did not pass: {}", run.title(), why()))
}

impl Claim {
    fn verdict(&self, kind: Kind, outcomes: &Outcomes, measured: Option<&Figures>) -> Verdict {
        let (mut holds, mut fails, mut unconditional) = (Vec::new(), Vec::new(), true);
        for evidence in self.evidence.iter().filter(|evidence| evidence.is_for(kind)) {
            for scenario in &evidence.scenarios {
                match outcomes.get(&(kind, scenario.clone())) {
                    Some(None) => {}
                    Some(Some(why)) => return Verdict::None { why: why.clone() },
                    None => return Verdict::None { why: format!("{} did not run", scenario.display()) },
                }
            }
            let when = evidence.when.clone().map(|when| match measured {
                Some(figures) => figures.enter(&when),
                None => when,
            });
            unconditional &= when.is_none();
            match evidence.shows {
                Shows::Holds => holds.push(when),
                Shows::Fails => fails.push(when),
            }
        }
        let any = |all: &[Option<String>]| !all.is_empty();
        let told = |all: Vec<Option<String>>| all.into_iter().flatten().collect();
        match (any(&holds), any(&fails)) {
            (false, false) => Verdict::None { why: "no scenario is for this kind".to_owned() },
            (true, false) if unconditional => Verdict::Holds,
            (true, _) => Verdict::HoldsIf { holds: told(holds), fails: told(fails) },
            (false, true) => Verdict::Fails { fails: told(fails) },
        }
    }
}

/// What was measured on one kind of node.
#[derive(Clone, Copy, Debug)]
struct Figures {
    last: u32,
    premium: u64,
}

impl Figures {
    async fn measure(env: &Env, kind: Kind, members: u32) -> Result<Figures, Stop> {
        let mut stage = Stage::start(env, kind, &[]).await?;
        let (feerate, version) = (FeeRate::BROADCAST_MIN, TxVersion::Two);
        let policy = stage.policy().await?;
        let mut numbers = Closes::Boundary.numbers(&policy, members, feerate, version);
        numbers.push(members);
        let mut answers: Vec<Answer> = Vec::new();
        for closes in numbers {
            let question = Question { members, closes, feerate, version, close_fee: CloseFee::Exact, seed: 1 };
            answers.push(replacement::answer(&mut stage, &question).await?);
        }
        if let Some(difference) = answers.iter().flat_map(|answer| &answer.differences).next() {
            return Err(Stop::Error(format!("{kind}: the model and the node differ: {difference}")));
        }
        let last = answers.iter().filter(|answer| answer.exact_accepted).map(|answer| answer.closes).max();
        let all = answers.last().and_then(|answer| Some((answer.exact_fee_sat, answer.min_fee_measured_sat?)));
        match (last, all) {
            (Some(last), Some((exact, smallest))) => Ok(Figures { last, premium: smallest.saturating_sub(exact) }),
            _ => Err(Stop::Error(format!("{kind}: no factory close of {members} members gets in"))),
        }
    }

    fn enter(self, text: &str) -> String {
        text.replace("{last}", &self.last.to_string()).replace("{premium}", &report::grouped(self.premium))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(evidence: &str) -> Claim {
        let text = format!("{{ id: a, claim: b, by: c, measure: {{ members: 3 }}, evidence: [{evidence}] }}");
        serde_yaml::from_str(&text).unwrap()
    }

    fn verdict(evidence: &str, outcomes: &[(&str, Option<&str>)]) -> Verdict {
        let entry = |&(file, why): &(&str, Option<&str>)| ((Kind::Core31, PathBuf::from(file)), why.map(str::to_owned));
        let outcomes = outcomes.iter().map(entry).collect();
        claim(evidence).verdict(Kind::Core31, &outcomes, Some(&Figures { last: 2, premium: 1_024 }))
    }

    #[test]
    fn a_verdict_is_what_the_scenarios_show_together() {
        let passed = [("x", None), ("y", None)];
        let holds = "{ shows: holds, scenarios: [x, y] }";
        assert_eq!(verdict(holds, &passed), Verdict::Holds);
        let fails = "{ shows: fails, when: always, scenarios: [x] }";
        assert_eq!(verdict(fails, &passed), Verdict::Fails { fails: vec!["always".to_owned()] });
        let both = "{ shows: holds, when: '{last} there', scenarios: [x] }, \
                    { shows: fails, when: 'without {premium} sat', scenarios: [y] }";
        let (holds_when, fails_when) = (vec!["2 there".to_owned()], vec!["without 1,024 sat".to_owned()]);
        assert_eq!(verdict(both, &passed), Verdict::HoldsIf { holds: holds_when, fails: fails_when });
    }

    #[test]
    fn without_a_scenario_that_ran_and_passed_there_is_no_verdict() {
        let holds = "{ shows: holds, scenarios: [x, y] }";
        assert_eq!(verdict(holds, &[("x", None)]), Verdict::None { why: "y did not run".to_owned() });
        let failed = verdict(holds, &[("x", None), ("y", Some("y: no"))]);
        assert_eq!(failed, Verdict::None { why: "y: no".to_owned() });
        let other = "{ shows: holds, kinds: [knots-29], scenarios: [x] }";
        assert!(matches!(verdict(other, &[("x", None)]), Verdict::None { .. }));
    }
}
