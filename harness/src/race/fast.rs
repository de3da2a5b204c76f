//! The model of an experiment: the same course of events as on real nodes, among nodes of the model.

use std::convert::Infallible;
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

/// Makes these trials without nodes, on as many threads as the machine has cores.
pub(crate) fn trials(setup: &Setup, seed: u64, numbers: std::ops::Range<u64>) -> Vec<Trial> {
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let share = (numbers.end - numbers.start).div_ceil(threads).max(1);
    let model = Model::new(setup);
    std::thread::scope(|scope| {
        let starts = (0..threads).map(|thread| numbers.start + thread * share).filter(|start| *start < numbers.end);
        let parts: Vec<_> = starts
            .map(|start| {
                let (mut model, numbers) = (model.clone(), start..(start + share).min(numbers.end));
                scope.spawn(move || numbers.map(|number| trial(setup, &mut model, seed, number)).collect::<Vec<_>>())
            })
            .collect();
        let joined = parts.into_iter().flat_map(|part| match part.join() {
            Ok(trials) => trials,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect()
    })
}

/// How often the factory close is to win, where it can be computed without any trial.
///
/// Blocks are a Poisson process, so at every moment each side is as likely to be confirmed next as the miners who would mine
/// it then have shares; a block that holds neither changes nothing. What each of them would mine changes only when something
/// is published or relayed. With competing hazards a(t) and f(t), P(FC) = ∫ f(t) · exp(−∫ (a + f)) dt, which is a sum here.
///
/// There is no such answer where a block changes what comes after it: with partitions or blocks on their way, which make
/// branches, and where a block of neither side changes the background.
pub(crate) fn predicted(setup: &Setup, seed: u64, samples: u64) -> Option<f64> {
    let branches = setup.nodes.iter().flat_map(|node| &node.links).any(|hop| hop.blocks > 0);
    if branches || !setup.partitions.is_empty() {
        return None;
    }
    let samples = if setup.experiment.congestion.is_some() { samples } else { 1 };
    let mut model = Model::new(setup);
    let mut sum = 0.0;
    for number in 0..samples {
        sum += hazard(setup, &mut model, seed, number)?;
    }
    Some(sum / samples as f64)
}

fn hazard(setup: &Setup, model: &mut Model, seed: u64, number: u64) -> Option<f64> {
    let mut nodes = model.begin(setup);
    let computed: Result<Option<f64>, Infallible> = at_once(async {
        let mut course = Course::begin(setup, &mut nodes, Draws::new(seed, number)).await?;
        let (mut now, mut left, mut wins) = (0, 1.0, 0.0);
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
            let stays = (-either * lasts / setup.experiment.blocks.interval.0 as f64).exp();
            if either > 0.0 {
                wins += left * (1.0 - stays) * factory_close / either;
                left *= stays;
            }
            match next {
                Some(next) => now = next,
                None if either > 0.0 => return Ok(Some(wins)),
                // Nobody ever mines a side.
                None => return Ok(None),
            }
        }
    });
    match computed {
        Ok(chance) => chance,
    }
}

/// Completes a future that has nothing to wait for.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(made) => made,
        Poll::Pending => unreachable!("the model waits for nothing"),
    }
}
