//! What is asked.

use bitcoin::FeeRate;
use factory_core::{LockKind, TxVersion};

use super::measure;
use super::published;
use super::report::{FORMAT, FactoryReport, FeesReport, LeftOut, Shape};
use super::sign::{Cast, Unsound};

/// Which factories are asked about: every combination of these.
#[derive(Clone, Debug)]
pub struct Question {
    /// Numbers of members.
    pub members: Vec<u32>,
    /// How the n-of-n and the channels are built.
    pub locks: Vec<LockKind>,
    /// Versions of the factory's transactions.
    pub versions: Vec<TxVersion>,
    /// What every transaction pays by its size.
    pub feerates: Vec<FeeRate>,
    /// What decides every key and nonce.
    pub seed: u64,
}

/// Returned when there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeesError {
    /// Returned when nothing of what was asked for can be.
    #[error("{}", .0.join("\n"))]
    Nothing(Vec<String>),
    /// Returned when a transaction is not valid that was signed by everybody: a defect.
    #[error("{0}")]
    Defect(String),
}

impl Question {
    /// Signs every transaction of every factory, confirms each way on a chain in memory, and measures what was confirmed.
    /// Beside that stand the published figures.
    ///
    /// # Errors
    ///
    /// As for [`Question::factories`].
    pub fn answer(&self) -> Result<FeesReport, FeesError> {
        let (factories, left_out) = self.factories()?;
        let published = published::all(self.seed).map_err(|why| FeesError::Defect(why.to_string()))?;
        let shopfloor = env!("CARGO_PKG_VERSION").to_owned();
        Ok(FeesReport { format: FORMAT, shopfloor, seed: self.seed, factories, left_out, published })
    }

    /// The factories that can be, and the others with their reasons.
    ///
    /// # Errors
    ///
    /// [`FeesError::Nothing`], if none of them can be; [`FeesError::Defect`], if something was signed that is not valid.
    pub fn factories(&self) -> Result<(Vec<FactoryReport>, Vec<LeftOut>), FeesError> {
        let (mut factories, mut left_out) = (Vec::new(), Vec::new());
        for shape in self.shapes() {
            match Cast::new(shape, self.seed).and_then(|cast| measure::factory(&cast)) {
                Ok(factory) => factories.push(factory),
                Err(Unsound::Terms(why)) => left_out.push(LeftOut { shape, why: why.to_string() }),
                Err(Unsound::Defect(why)) => return Err(FeesError::Defect(format!("{}: {why}", shape.title()))),
            }
        }
        match factories.is_empty() {
            true => Err(FeesError::Nothing(left_out.iter().map(LeftOut::to_string).collect())),
            false => Ok((factories, left_out)),
        }
    }

    fn shapes(&self) -> impl Iterator<Item = Shape> {
        self.locks.iter().flat_map(move |&lock| {
            self.versions.iter().flat_map(move |&version| {
                self.feerates.iter().flat_map(move |&feerate| {
                    self.members.iter().map(move |&members| Shape { members, lock, version, feerate })
                })
            })
        })
    }
}
