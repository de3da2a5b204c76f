//! Makes the trials of an experiment: by the model, and beside it on real nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use indexmap::IndexMap;
use rand_core::Rng as _;

use super::course::Course;
use super::draws::Draws;
use super::fast::{self, Prediction};
use super::load::LoadedExperiment;
use super::real::{RealNodes, Rejection};
use super::record::Trial;
use super::report::{Known, NodeVersion, Point, RaceReport};
use super::setup::Setup;
use crate::node::provision::{Env, Tool};
use crate::seed;
use crate::testbed::{Stop, locate};

/// After as many trials of the model, whoever has asked for them may do something else, such as end everything.
const AT_ONCE: u64 = 256;
/// More differences between the model and the nodes than these are not shown.
const SHOWN: usize = 5;

/// How an experiment is carried out.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many trials are made of each cell; as many as the file says, if nothing is said.
    pub trials: Option<u64>,
    /// How many trials are made at once on real nodes, each on nodes of its own; with none, only the model is asked.
    pub lanes: usize,
}

/// Makes the trials of an experiment, cell by cell. `done` is called after every trial that real nodes have made, and after
/// some of the model's if it alone is asked, with how many they were.
///
/// # Errors
///
/// [`Stop::Skip`], if the program of a node is missing; [`Stop::Fail`], if there can be no such factory; [`Stop::Error`], if
/// a node does not do what it must.
pub async fn run(
    cells: &[LoadedExperiment],
    options: Options,
    env: Arc<Env>,
    done: Arc<dyn Fn(u64) + Send + Sync>,
) -> Result<RaceReport, Stop> {
    let Some(first) = cells.first() else { return Err(Stop::Error("there is no cell".to_owned())) };
    let mut points = Vec::new();
    for cell in cells {
        let experiment = &cell.experiment;
        let count = options.trials.unwrap_or(experiment.trials.0.into());
        let setup = Arc::new(Setup::new(experiment, cell.histogram.clone().unwrap_or_default())?);
        let (mut by_model, mut prediction) = (Vec::new(), Prediction::new(&setup, experiment.seed));
        for first in (0..count).step_by(AT_ONCE as usize) {
            let numbers = first..count.min(first + AT_ONCE);
            let mut trials = fast::trials(&setup, experiment.seed, numbers.clone());
            if options.lanes == 0 {
                // They are for the comparison with nodes, and most of what a trial takes.
                trials.iter_mut().for_each(|trial| trial.judgements = Vec::new());
                done(numbers.end - numbers.start);
            }
            by_model.extend(trials);
            prediction.add(numbers);
            tokio::task::yield_now().await;
        }
        let predicted = prediction.chance();
        let gaps_ms: Vec<u64> =
            (0..count).map(|number| Draws::new(experiment.seed, number).arrival(&setup).0).collect();
        let mut known = Known { gaps_ms: &gaps_ms, predicted, ..Known::default() };
        let mut failures = Vec::new();
        let trials = match options.lanes {
            0 => by_model,
            lanes => {
                let made = on_nodes(&setup, lanes, count, &env, &done).await?;
                let differ = |(model, made): (Trial, &Made)| difference(&setup, &model, made);
                let differences: Vec<String> = by_model.drain(..).zip(&made).filter_map(differ).collect();
                known.model_disagreements = Some(differences.len() as u64);
                known.nodes = nodes(&setup, &env)?;
                failures.extend(differences.into_iter().take(SHOWN));
                made.into_iter().map(|made| made.trial).collect()
            }
        };
        let mut point = Point::new(cell.cell.clone(), experiment, trials, known);
        point.failures.extend(failures);
        points.push(point);
    }
    Ok(RaceReport::new(&first.file, &first.experiment, points))
}

/// A trial that real nodes have made, and what they said to what they did not take.
struct Made {
    trial: Trial,
    rejections: Vec<Rejection>,
}

/// Makes trials on real nodes, several at once.
async fn on_nodes(
    setup: &Arc<Setup>,
    lanes: usize,
    count: u64,
    env: &Arc<Env>,
    done: &Arc<dyn Fn(u64) + Send + Sync>,
) -> Result<Vec<Made>, Stop> {
    let next = Arc::new(AtomicU64::new(0));
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..lanes.min(usize::try_from(count).unwrap_or(usize::MAX)) {
        let (setup, env, next, done) = (Arc::clone(setup), Arc::clone(env), Arc::clone(&next), Arc::clone(done));
        running.spawn(async move { lane(&setup, count, &env, &next, done.as_ref()).await });
    }
    let mut trials = Vec::new();
    while let Some(ended) = running.join_next().await {
        // The first that fails ends all the others.
        trials.extend(ended.map_err(|error| Stop::Error(error.to_string()))??);
    }
    trials.sort_by_key(|made: &Made| made.trial.number);
    Ok(trials)
}

/// Makes the trials that no other lane has begun. What comes of one does not depend on those before it on the same nodes.
async fn lane(
    setup: &Setup,
    count: u64,
    env: &Env,
    next: &AtomicU64,
    done: &(dyn Fn(u64) + Send + Sync),
) -> Result<Vec<Made>, Stop> {
    let mut nodes = RealNodes::start(env, &setup.experiment).await?;
    let mut trials = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= count {
            return Ok(trials);
        }
        let seed = setup.experiment.seed;
        nodes.begin(seed::stream(seed, &format!("race/{number}/keys")).next_u64()).await?;
        let course = Course::begin(setup, &mut nodes, Draws::new(seed, number)).await?;
        let trial = course.run(number).await?;
        trials.push(Made { trial, rejections: nodes.rejections().to_vec() });
        done(1);
    }
}

fn nodes(setup: &Setup, env: &Env) -> Result<IndexMap<String, NodeVersion>, Stop> {
    let version = |(name, node): (&String, &super::RaceNode)| {
        let program = locate(env, Tool::Node(node.kind.0))?;
        Ok((name.clone(), NodeVersion { kind: node.kind.0.to_string(), version: program.version.to_string() }))
    };
    setup.experiment.nodes.iter().map(version).collect()
}

/// In what a trial differs between the model and the nodes.
fn difference(setup: &Setup, model: &Trial, made: &Made) -> Option<String> {
    let nodes = &made.trial;
    if model == nodes {
        return None;
    }
    let judged = model.judgements.iter().zip(&nodes.judgements).find(|(model, nodes)| model != nodes);
    let what = match judged {
        Some((model, nodes)) => {
            let name = |node| setup.experiment.nodes.get_index(node).map_or("?", |(name, _)| name.as_str());
            let word = |accepted| if accepted { "takes" } else { "refuses" };
            let refused = |one: &&Rejection| (one.node, one.item) == (nodes.node, nodes.item);
            let why = made.rejections.iter().find(refused).map(|one| format!(" ({})", one.reason)).unwrap_or_default();
            format!(
                "{} {} {}{why} at {} s, and by the model {} {} {} at {} s",
                name(nodes.node),
                word(nodes.accepted),
                nodes.item,
                nodes.time_ms as f64 / 1_000.0,
                name(model.node),
                word(model.accepted),
                model.item,
                model.time_ms as f64 / 1_000.0,
            )
        }
        None => {
            let told = |trial: &Trial| format!("{:?}", Trial { judgements: Vec::new(), ..trial.clone() });
            format!("on nodes {}, by the model {}", told(nodes), told(model))
        }
    };
    Some(format!("trial {}: the model and the nodes differ: {what}", model.number))
}
