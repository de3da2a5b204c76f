//! The factory's transactions, of which sizes and fees are known before there is a node.

use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, OutPoint, Transaction, Txid};
use factory_core::fee;
use factory_core::tx::funding::{self, Coin};

use super::item::{Facts, Sides};
use super::language::Experiment;
use crate::node::snapshot::faucet;
use crate::replacement::{Case, Draft, Shape};
use crate::scenario::check::version;
use crate::testbed::Stop;

/// What a coin holds that pays for the large child.
pub(crate) const PIN_COIN: Amount = Amount::from_sat(5_000_000_000);

/// The factory's transactions of one trial, all signed.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) allocation: Transaction,
    pub(crate) closes: Vec<Transaction>,
    pub(crate) pin: Option<Transaction>,
    pub(crate) factory_close: Transaction,
    pub(crate) facts: Sides,
}

/// What the factory of an experiment is like.
///
/// # Errors
///
/// [`Stop::Fail`], if there can be no such version.
pub(crate) fn shape(experiment: &Experiment, seed: u64) -> Result<Shape, Stop> {
    let number = experiment.factory.version.0;
    let version = version(number).ok_or_else(|| Stop::Fail(format!("expected version 2 or 3, found {number}")))?;
    Ok(Shape { members: experiment.factory.members.0, feerate: experiment.factory.feerate.0, version, seed })
}

/// Signs everything that can be published; `closes` as many closes, of which the facts are those of the first.
///
/// # Errors
///
/// [`Stop::Fail`], if there can be no such transaction.
pub(crate) fn sign(
    experiment: &Experiment,
    case: &mut Case,
    closes: u32,
    pin_coin: Option<Coin>,
) -> Result<Signed, Stop> {
    let facts = |tx: &Transaction, fee| Facts { fee, weight: tx.weight() };
    let impossible = |what: &str| Stop::Fail(format!("{what} is impossible: the fee is more than there is"));
    let (allocation, allocation_fee) = case.allocation();
    let mut signed = Vec::new();
    for member in 0..closes.max(1) {
        signed.push(case.close(member)?);
    }
    let exact = case.factory_close(case.exact_fee()).ok_or_else(|| impossible("the factory close"))?;
    let premium = fee(experiment.factory.premium.0, exact.vsize() as u64);
    let close_fee = premium.map(|premium| case.exact_fee() + premium).ok_or_else(|| impossible("the premium"))?;
    let factory_close = case.factory_close(close_fee).ok_or_else(|| impossible("the premium"))?;
    let pin = match (&experiment.pin, pin_coin) {
        (Some(pin), Some(coin)) => {
            let shape = shape(experiment, 0)?;
            let fee = fee(pin.feerate.0, pin.size.0).ok_or_else(|| impossible("the pin"))?;
            let tx = case.spend(&signed[0].0, 0, pin.size.0, shape.version, fee, coin);
            Some((tx.ok_or_else(|| impossible("the pin"))?, fee))
        }
        _ => None,
    };
    let facts = Sides {
        members: experiment.factory.members.0,
        version: allocation.version.0,
        allocation: facts(&allocation, allocation_fee),
        close: facts(&signed[0].0, signed[0].1),
        pin: pin.as_ref().map(|(tx, fee)| facts(tx, *fee)),
        factory_close: facts(&factory_close, close_fee),
    };
    signed.truncate(closes as usize);
    let closes = signed.into_iter().map(|(tx, _)| tx).collect();
    Ok(Signed { allocation, closes, pin: pin.map(|(tx, _)| tx), factory_close, facts })
}

/// The facts of the factory's transactions, without a node.
///
/// # Errors
///
/// [`Stop::Fail`], if there can be no such factory.
pub(crate) fn facts(experiment: &Experiment) -> Result<Sides, Stop> {
    let draft = Draft::new(shape(experiment, experiment.seed)?)?;
    let coin = |vout, value| Coin { outpoint: OutPoint::new(Txid::all_zeros(), vout), value };
    let output = draft.output();
    let held = coin(0, output.value + PIN_COIN);
    let funding = funding::build(&faucet(), &[held], output, bitcoin::FeeRate::BROADCAST_MIN);
    let funding = funding.map_err(|error| Stop::Error(error.to_string()))?;
    let mut case = draft.funded(funding.transaction())?;
    Ok(sign(experiment, &mut case, 0, Some(coin(1, PIN_COIN)))?.facts)
}
