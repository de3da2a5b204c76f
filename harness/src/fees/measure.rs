//! Sizes and fees of what was signed.

use bitcoin::Weight;
use factory_core::fee;
use factory_core::tx::{Complete, size};

use super::report::{CloseFee, FactoryReport, Shape, Tx, TxReport, Way, WayReport};
use super::sign::{Cast, Unsound, refs};

/// Signs everything of one factory, and measures it.
pub(super) fn factory(cast: &Cast) -> Result<FactoryReport, Unsound> {
    let (with, without) = (cast.factory()?, cast.without_factory()?);
    let shape = cast.shape;
    let signed = |tx: Tx| -> Vec<&Complete> {
        match tx {
            Tx::Funding => vec![&with.funding],
            Tx::Allocation => vec![&with.allocation],
            Tx::ChannelClose => refs(&with.closes),
            Tx::Refund => refs(&with.refunds),
            Tx::FactoryClose => vec![&with.factory_close],
            Tx::SeparateOpen => refs(&without.opens),
            Tx::SeparateClose => refs(&without.closes),
            Tx::BatchedOpen => vec![&without.batched_open],
            Tx::BatchedClose => refs(&without.batched_closes),
        }
    };
    let transactions = Tx::ALL.map(|name| measured(name, &signed(name), formula(name, shape))).to_vec();
    let by_size = fee(shape.feerate, with.factory_close.transaction().vsize() as u64);
    let by_size = by_size.ok_or_else(|| Unsound::Defect("the factory close has no fee by its size".to_owned()))?;
    let exact = with.factory_close.fee();
    let left = exact
        .checked_sub(by_size)
        .ok_or_else(|| Unsound::Defect(format!("the factory close pays {exact}, less than {by_size} by its size")))?;
    let factory_close = CloseFee {
        exact_sat: exact.to_sat(),
        by_size_sat: by_size.to_sat(),
        left_sat: left.to_sat(),
        left_sat_per_member: per(left.to_sat(), shape),
        feerate_sat_per_vb: exact.to_sat() as f64 / with.factory_close.transaction().vsize() as f64,
    };
    let ways = ways(shape, &transactions);
    Ok(FactoryReport { shape, capacity_sat: cast.capacity.to_sat(), transactions, ways, factory_close })
}

/// What transactions of one kind have in common.
fn measured(name: Tx, all: &[&Complete], formula: Weight) -> TxReport {
    let sizes = || all.iter().map(|tx| tx.transaction().vsize() as u64);
    let witness = |tx: &&Complete| tx.transaction().input.iter().map(|input| input.witness.size()).max().unwrap_or(0);
    TxReport {
        name,
        count: all.len() as u32,
        vb: sizes().sum(),
        least_vb: sizes().min().unwrap_or(0),
        most_vb: sizes().max().unwrap_or(0),
        formula_vb: formula.to_vbytes_ceil(),
        witness_wu: all.iter().map(witness).max().unwrap_or(0) as u64,
        fee_sat: all.iter().map(|tx| tx.fee().to_sat()).sum(),
    }
}

/// The weight of one transaction by the formulas of the protocol.
fn formula(tx: Tx, Shape { members, lock, .. }: Shape) -> Weight {
    let members = members as usize;
    match tx {
        Tx::Funding | Tx::SeparateOpen => size::funding(1, 2),
        Tx::BatchedOpen => size::funding(1, members + 1),
        Tx::Allocation => size::allocation(lock, members),
        Tx::FactoryClose => size::factory_close(lock, members),
        Tx::ChannelClose | Tx::Refund | Tx::SeparateClose | Tx::BatchedClose => size::channel_spend(lock, 2),
    }
}

fn ways(shape: Shape, transactions: &[TxReport]) -> Vec<WayReport> {
    let sums = Way::ALL.map(|way| {
        let parts = || transactions.iter().filter(|tx| way.of().contains(&tx.name));
        let count: u32 = parts().map(|tx| tx.count).sum();
        let (vb, fee): (u64, u64) = (parts().map(|tx| tx.vb).sum(), parts().map(|tx| tx.fee_sat).sum());
        (way, count, vb, fee)
    });
    let [.., (_, _, batched_vb, batched_fee), (_, _, separate_vb, separate_fee)] = sums;
    let report = |(way, transactions, vb, fee_sat)| WayReport {
        way,
        transactions,
        vb,
        vb_per_member: per(vb, shape),
        vb_saved_of_separate: saved(vb, separate_vb),
        vb_saved_of_batched: saved(vb, batched_vb),
        fee_sat,
        fee_sat_per_member: per(fee_sat, shape),
        fee_saved_of_separate: saved(fee_sat, separate_fee),
        fee_saved_of_batched: saved(fee_sat, batched_fee),
    };
    sums.map(report).to_vec()
}

/// The part of `without` that is not needed.
pub(super) fn saved(with: u64, without: u64) -> f64 {
    1.0 - with as f64 / without as f64
}

fn per(sum: u64, shape: Shape) -> f64 {
    sum as f64 / f64::from(shape.members)
}
