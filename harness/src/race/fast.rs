//! The model of an experiment: the same course of events as on real nodes, among nodes of the model.

use std::convert::Infallible;
use std::ops::Range;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::course::Course;
use super::draws::Draws;
use super::model::Model;
use super::record::Trial;
use super::setup::Setup;

/// Makes one trial without nodes.
pub(crate) fn trial(setup: &Setup, model: &mut Model, seed: u64, number: u64) -> Trial {
    let mut nodes = model.begin(setup);
    let made = at_once(async {
        let course = Course::begin(setup, &mut nodes, Draws::new(seed, number)).await?;
        course.run(number).await
    });
    match made {
        Ok(trial) => trial,
    }
}

/// Makes these trials without nodes.
pub(crate) fn trials(setup: &Setup, seed: u64, numbers: Range<u64>) -> Vec<Trial> {
    on_threads(setup, numbers, |model, number| trial(setup, model, seed, number))
}

/// Asks for each of these numbers, on as many threads as the machine has cores. What comes of one does not depend on the
/// others.
fn on_threads<T: Send>(setup: &Setup, numbers: Range<u64>, ask: impl Fn(&mut Model, u64) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let share = (numbers.end - numbers.start).div_ceil(threads).max(1);
    let (model, ask) = (Model::new(setup), &ask);
    std::thread::scope(|scope| {
        let starts = (0..threads).map(|thread| numbers.start + thread * share).filter(|start| *start < numbers.end);
        let parts: Vec<_> = starts
            .map(|start| {
                let (mut model, numbers) = (model.clone(), start..(start + share).min(numbers.end));
                scope.spawn(move || numbers.map(|number| ask(&mut model, number)).collect::<Vec<_>>())
            })
            .collect();
        let joined = parts.into_iter().flat_map(|part| match part.join() {
            Ok(answers) => answers,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect()
    })
}

/// How often the factory close is to win, where it can be computed without any trial.
///
/// Blocks are a Poisson process, so at every moment each side is as likely to be confirmed next as the miners who would mine
/// it then have shares; a block that holds neither changes nothing, unless a trial is given up after it. What each of them
/// would mine changes only when something is published or relayed. With competing hazards a(t) and f(t),
/// P(FC) = ∫ f(t) · exp(−∫ (a + f)) dt, of which only the part counts that comes before a trial is given up. It is a sum here.
///
/// There is no such answer where a block changes what comes after it: with partitions or blocks on their way, which make
/// branches, and where a block of neither side changes the background.
///
/// The background is each trial's own, so every trial that is made has to be in it: chance is left with the arrivals alone.
#[derive(Debug)]
pub(crate) struct Prediction<'a> {
    setup: &'a Setup,
    seed: u64,
    /// The sum of the answers for all trials up to now; none, if one has none.
    sum: Option<f64>,
    asked: u64,
}

impl<'a> Prediction<'a> {
    /// Without any trial yet.
    pub(crate) fn new(setup: &'a Setup, seed: u64) -> Self {
        let branches = setup.nodes.iter().flat_map(|node| &node.links).any(|hop| hop.blocks > 0);
        let sum = (!branches && setup.partitions.is_empty()).then_some(0.0);
        Prediction { setup, seed, sum, asked: 0 }
    }

    /// Takes in these trials.
    pub(crate) fn add(&mut self, numbers: Range<u64>) {
        let Some(sum) = &mut self.sum else { return };
        // Without a background all trials have the same answer.
        let all = self.setup.experiment.congestion.is_some();
        let numbers = if all || self.asked == 0 { numbers } else { return };
        let numbers = if all { numbers } else { numbers.start..numbers.end.min(numbers.start + 1) };
        self.asked += numbers.end - numbers.start;
        let (setup, seed) = (self.setup, self.seed);
        let answers: Option<Vec<f64>> =
            on_threads(setup, numbers, |model, number| hazard(setup, model, seed, number)).into_iter().collect();
        match answers {
            Some(answers) => answers.into_iter().for_each(|answer| *sum += answer),
            None => self.sum = None,
        }
    }

    /// The probability, if there is an answer.
    pub(crate) fn chance(&self) -> Option<f64> {
        self.sum.filter(|_| self.asked > 0).map(|sum| sum / self.asked as f64)
    }
}

fn hazard(setup: &Setup, model: &mut Model, seed: u64, number: u64) -> Option<f64> {
    let mut nodes = model.begin(setup);
    let blocks = &setup.experiment.blocks;
    let computed: Result<Option<f64>, Infallible> = at_once(async {
        let mut course = Course::begin(setup, &mut nodes, Draws::new(seed, number)).await?;
        let mut undecided = Undecided::new(blocks.give_up.0);
        let (mut now, mut wins) = (0, 0.0);
        loop {
            course.run_until(now).await?;
            let (mut factory_close, mut either) = (0.0, 0.0);
            for (place, miner) in setup.miners.iter().enumerate() {
                for (side, chance) in course.would_mine(place).await? {
                    let share = miner.share.fraction() * chance;
                    either += if side.is_some() { share } else { 0.0 };
                    factory_close += if side == Some(super::Side::FactoryClose) { share } else { 0.0 };
                }
            }
            if setup.experiment.congestion.is_some() && either < 1.0 - 1e-9 {
                return Ok(None);
            }
            let next = course.next_time();
            let lasts = next.map_or(f64::INFINITY, |next| (next - now) as f64);
            let decided = undecided.pass(lasts / blocks.interval.0 as f64, either);
            if either > 0.0 {
                wins += decided * factory_close / either;
            }
            match next {
                Some(next) => now = next,
                None => return Ok(Some(wins)),
            }
        }
    });
    match computed {
        Ok(chance) => chance,
    }
}

/// How probable it is that nothing is decided, by how many blocks of neither side have been found.
#[derive(Clone, Debug)]
struct Undecided {
    chances: Vec<f64>,
    /// With so many of them nothing is decided any more.
    give_up: usize,
}

impl Undecided {
    fn new(give_up: u32) -> Self {
        Undecided { chances: vec![1.0], give_up: give_up as usize }
    }

    /// Lets time pass in which so many blocks come in the mean, each of which decides with a probability of `either`. How
    /// probable it is that one does.
    fn pass(&mut self, blocks: f64, either: f64) -> f64 {
        /// What is less probable than this makes no difference.
        const NOTHING: f64 = 1e-18;
        let neither = (1.0 - either).max(0.0);
        let most = self.give_up;
        // How probable it is that just so many blocks come; in endless time there is no such number.
        let mut just: Vec<f64> = Vec::new();
        let mut ln = -blocks;
        while blocks.is_finite() && just.len() < most && ((just.len() as f64) < blocks || ln.exp() > NOTHING) {
            just.push(ln.exp());
            ln += (blocks / just.len() as f64).ln();
        }
        // decides[m]: that one of the first m blocks comes in this time, and decides.
        let (mut decides, mut sum, mut more, mut still) = (vec![0.0], 0.0, 1.0, 1.0);
        for number in 0..most {
            // That more than `number` blocks come, and none of that many decides.
            more = f64::max(more - just.get(number).copied().unwrap_or(0.0), 0.0);
            let all = if blocks.is_finite() && number >= just.len() { 0.0 } else { more * still };
            if all <= NOTHING {
                break;
            }
            sum += all * either;
            decides.push(sum);
            still *= neither;
        }
        let mut decided = 0.0;
        let mut chances = vec![0.0; (self.chances.len() + just.len()).min(most)];
        for (found, chance) in self.chances.iter().enumerate().filter(|(_, chance)| **chance > NOTHING) {
            decided += chance * decides[(most - found).min(decides.len() - 1)];
            let mut still = *chance;
            for (later, just) in chances[found..].iter_mut().zip(&just) {
                *later += just * still;
                still *= neither;
            }
        }
        self.chances = chances;
        decided
    }
}

/// Completes a future that has nothing to wait for.
pub(super) fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(made) => made,
        Poll::Pending => unreachable!("the model waits for nothing"),
    }
}
