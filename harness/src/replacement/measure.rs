//! The smallest fee that a real node takes.

use std::collections::BTreeSet;

use bitcoin::{Amount, FeeRate, Txid};
use factory_core::fee;
use factory_core::replacement::{Judgement, Policy};

use super::{Answer, Case, Offer, Question, RuleRow, Shape, Stage};
use crate::node::{Acceptance, Submission};
use crate::scenario::CloseFee;
use crate::testbed::Stop;

/// What a node takes, found by asking it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// The smallest fee; `None` if it takes none.
    pub smallest: Option<Amount>,
    /// What it says at one satoshi less, or at the highest fee if it takes none.
    pub refusal: Option<String>,
}

/// Finds the smallest fee with which `stage`'s node takes the factory close of `case`, by `testmempoolaccept`.
///
/// It tries the guess and one satoshi less first: if the first is taken and the other is not, that is it. Otherwise it
/// goes on from there, so a wrong guess costs time and nothing else.
///
/// # Errors
///
/// [`Stop::Error`], if the node gives no judgement.
pub async fn smallest_fee(stage: &Stage, case: &mut Case, guess: Option<Amount>) -> Result<Measured, Stop> {
    let highest = case.highest_fee();
    let first = guess.unwrap_or(highest).min(highest);
    let mut refusal = None;
    // `low` is refused and `high` is taken, once they are known; below zero is nothing.
    let (mut low, mut high) = (None, None);
    let mut next = Some(first);
    while let Some(fee) = next {
        match ask(stage, case, fee).await? {
            None => high = Some(fee),
            Some(why) => (low, refusal) = (Some(fee), Some(why)),
        }
        next = match (low, high) {
            // From the guess down by one, and then by halves.
            (None, Some(high)) if high == Amount::ZERO => None,
            (None, Some(high)) if high == first => Some(high - Amount::ONE_SAT),
            (None, Some(high)) => Some(high / 2),
            (Some(low), None) if low >= highest => None,
            (Some(low), None) => Some((low * 2).max(Amount::ONE_SAT).min(highest)),
            (Some(low), Some(high)) if high - low <= Amount::ONE_SAT => None,
            (Some(low), Some(high)) => Some(low + (high - low) / 2),
            (None, None) => None,
        };
    }
    Ok(Measured { smallest: high, refusal })
}

/// What the node would say to the factory close at this fee: nothing, or why not.
async fn ask(stage: &Stage, case: &mut Case, fee: Amount) -> Result<Option<String>, Stop> {
    let Some(close) = case.factory_close(fee) else {
        return Err(Stop::Error(format!("there is no factory close with a fee of {fee}")));
    };
    match stage.node().rpc().test_accept(&close).await? {
        Acceptance::Accepted => Ok(None),
        Acceptance::Rejected(why) => Ok(Some(why)),
        Acceptance::AlreadyInMempool => Err(Stop::Error("the factory close is in the mempool already".to_owned())),
    }
}

/// Puts what a question says into the mempool of `stage`'s node, and finds what it takes to replace it. In the end the
/// factory close has replaced it, if any fee does that.
///
/// # Errors
///
/// [`Stop::Fail`], if there can be no such factory; [`Stop::Error`], if the node gives no judgement.
pub async fn answer(stage: &mut Stage, question: &Question) -> Result<Answer, Stop> {
    let Question { members, feerate, version, seed, .. } = *question;
    if question.closes > members {
        return Err(Stop::Fail(format!("{} closes: there are only {members} members", question.closes)));
    }
    let mut case = Case::new(stage, Shape { members, feerate, version, seed }).await?;
    let mut differences = Vec::new();
    let (allocation_refused, closes, closes_refused) =
        fill(stage, &mut case, question.closes, &mut differences).await?;

    let policy = stage.policy().await?;
    let exact = case.exact_fee();
    let judge = |case: &mut Case, fee| predict(&policy, case, fee);
    let predicted = judge(&mut case, exact)?;
    let refused = ask(stage, &mut case, exact).await?;
    compare(&mut differences, "the factory close at its exact fee", &predicted, refused.as_deref());
    let mut offers = Vec::new();
    for fee in offered(&question.close_fee, exact, vsize(&mut case, exact)?) {
        let refused = ask(stage, &mut case, fee).await?;
        compare(
            &mut differences,
            "the factory close at the fee asked for",
            &judge(&mut case, fee)?,
            refused.as_deref(),
        );
        offers.push(Offer { fee_sat: fee.to_sat(), accepted: refused.is_none(), reject_reason: refused });
    }

    let smallest = predicted.smallest_fee();
    let measured = smallest_fee(stage, &mut case, smallest).await?;
    // A fee that the factory close cannot pay cannot be measured.
    if smallest.filter(|fee| *fee <= case.highest_fee()) != measured.smallest {
        let tell = |fee: Option<Amount>| fee.map_or("none".to_owned(), |fee| fee.to_string());
        differences.push(format!(
            "the smallest fee: the model says {}, the node takes {}",
            tell(smallest),
            tell(measured.smallest)
        ));
    }
    let evicted = confirm(stage, &mut case, &measured, &mut differences).await?;
    Ok(Answer {
        kind: stage.kind().to_string(),
        version: version.to_bitcoin().0,
        members,
        feerate_sat_per_vb: feerate.to_sat_per_kwu() as f64 / 250.0,
        closes_asked: question.closes,
        closes,
        closes_refused,
        allocation_refused,
        exact_fee_sat: exact.to_sat(),
        exact_accepted: refused.is_none(),
        reject_reason: refused,
        min_fee_predicted_sat: smallest.map(Amount::to_sat),
        min_fee_measured_sat: measured.smallest.map(Amount::to_sat),
        offers,
        evicted,
        factory_close_vsize: vsize(&mut case, exact)?,
        rules: RuleRow::all(&predicted),
        differences,
    })
}

/// Offers the allocation and then closes, until one is refused: why the allocation was, how many closes were taken, and
/// why no more.
async fn fill(
    stage: &Stage,
    case: &mut Case,
    closes: u32,
    differences: &mut Vec<String>,
) -> Result<(Option<String>, u32, Option<String>), Stop> {
    let (tx, fee) = case.allocation();
    if let Some(why) = place(stage, case, "the allocation", (tx, fee), differences).await? {
        return Ok((Some(why), 0, None));
    }
    for member in 0..closes {
        let tx = case.close(member)?;
        if let Some(why) = place(stage, case, &format!("close-m{member}"), tx, differences).await? {
            return Ok((None, member, Some(why)));
        }
    }
    Ok((None, closes, None))
}

async fn place(
    stage: &Stage,
    case: &mut Case,
    what: &str,
    (tx, fee): (bitcoin::Transaction, Amount),
    differences: &mut Vec<String>,
) -> Result<Option<String>, Stop> {
    let placed = case.place(stage, tx, fee).await?;
    let refused = match placed.found {
        Submission::Accepted => None,
        Submission::Rejected(why) => Some(why),
    };
    compare(differences, what, &placed.predicted, refused.as_deref());
    Ok(refused)
}

/// Notes where the node's word is not the model's: whether it takes it, and why not.
fn compare(differences: &mut Vec<String>, what: &str, predicted: &Judgement, refused: Option<&str>) {
    let reason = predicted.first_broken().map(|finding| finding.rule.reject_reason());
    let agree = match (reason, refused) {
        (None, None) => true,
        (Some(reason), Some(refused)) => refused.contains(reason),
        _ => false,
    };
    if !agree {
        differences.push(format!(
            "{what}: the model says {}, the node {}",
            reason.unwrap_or("accepted"),
            refused.unwrap_or("accepts it")
        ));
    }
}

fn predict(policy: &Policy, case: &mut Case, fee: Amount) -> Result<Judgement, Stop> {
    // What it weighs and spends is the same at every fee.
    let close = case.factory_close(case.exact_fee()).ok_or_else(|| Stop::Error("no exact factory close".to_owned()))?;
    Ok(policy.judge(case.model(), &case.about(&close), fee))
}

fn vsize(case: &mut Case, fee: Amount) -> Result<u64, Stop> {
    let close = case.factory_close(fee).ok_or_else(|| Stop::Error("no exact factory close".to_owned()))?;
    Ok(close.weight().to_vbytes_ceil())
}

fn offered(rule: &CloseFee, exact: Amount, vsize: u64) -> Vec<Amount> {
    let at = |premium: FeeRate| exact + fee(premium, vsize).unwrap_or(Amount::MAX_MONEY);
    match rule {
        CloseFee::Exact => vec![],
        CloseFee::Premium(rate) => vec![at(rate.0)],
        CloseFee::Ladder(rungs) => rungs.iter().map(|rung| at(rung.0)).collect(),
    }
}

/// Really sends the factory close: one satoshi below the smallest fee, which must be refused, and at it. Then the mempool
/// must hold it, and nothing of what was there. Returns how many transactions it has evicted.
async fn confirm(
    stage: &Stage,
    case: &mut Case,
    measured: &Measured,
    differences: &mut Vec<String>,
) -> Result<u32, Stop> {
    let rpc = stage.node().rpc();
    let Some(smallest) = measured.smallest else { return Ok(0) };
    if let Some(below) = smallest.checked_sub(Amount::ONE_SAT).and_then(|fee| case.factory_close(fee))
        && rpc.submit(&below).await? == Submission::Accepted
    {
        differences.push(format!("the node refused one satoshi less than {smallest} only when it was asked"));
        return Ok(0);
    }
    let before: BTreeSet<Txid> = rpc.mempool().await?.into_iter().collect();
    let close = case.factory_close(smallest).ok_or_else(|| Stop::Error(format!("no factory close at {smallest}")))?;
    if let Submission::Rejected(why) = rpc.submit(&close).await? {
        differences
            .push(format!("the node took {smallest} only when it was asked, and refused it when it came: {why}"));
        return Ok(0);
    }
    let after: BTreeSet<Txid> = rpc.mempool().await?.into_iter().collect();
    let placed: BTreeSet<Txid> = case.placed().iter().map(|tx| tx.compute_txid()).collect();
    let gone: BTreeSet<Txid> = before.difference(&after).copied().collect();
    let came: Vec<Txid> = after.difference(&before).copied().collect();
    if gone != placed || came != [close.compute_txid()] {
        return Err(Stop::Error(format!(
            "the factory close replaced {} transactions, expected the {} of its factory",
            gone.len(),
            placed.len()
        )));
    }
    Ok(u32::try_from(gone.len()).unwrap_or(u32::MAX))
}
