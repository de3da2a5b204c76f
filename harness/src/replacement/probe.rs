//! What a node's mempool asks for, found by asking it: nothing is looked up and nothing is computed from its kind.

use bitcoin::{Amount, FeeRate, OutPoint};
use comfy_table::{CellAlignment, Table, presets};
use factory_core::TxVersion;
use factory_core::replacement::RelayRate;
use serde::Serialize;

use super::{Case, Shape, Stage, smallest_fee};
use crate::node::{Acceptance, Submission};
use crate::report::grouped;
use crate::testbed::Stop;

/// A factory close of so many members is so large that its smallest fee tells a feerate to the satoshi per 1,000 vB.
const LARGE: u32 = 250;
/// The largest transaction that is relayed, in vB.
const LARGEST: u64 = 100_000;

/// What was found of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Probed {
    /// The node's kind.
    pub kind: String,
    /// The version that its program tells.
    pub program: String,
    /// The least feerate that it relays, in satoshi per 1,000 vB.
    pub relay_minimum_sat_per_kvb: u64,
    /// What a replacement pays for its own relay, in satoshi per 1,000 vB.
    pub incremental_sat_per_kvb: u64,
    /// Whether a replacement of one transaction is taken at just its feerate, or only above it.
    pub equal_feerate_replaces: bool,
    /// How many closes it takes beside an unconfirmed allocation of version 2.
    pub most_closes: u32,
    /// How large an allocation, a close and a child of that may be together, in vB.
    pub largest_package_vb: u64,
    /// Whether it refuses a second child of an allocation of version 3.
    pub truc_enforced: bool,
    /// Whether it takes an allocation of version 3 that pays nothing and has an anchor, with a child that pays.
    pub anchored_allocation: bool,
}

impl Probed {
    /// Asks a node.
    ///
    /// # Errors
    ///
    /// [`Stop::Error`], if it gives no judgement.
    pub async fn of(stage: &mut Stage) -> Result<Probed, Stop> {
        let (relay, incremental) = rates(stage).await?;
        Ok(Probed {
            kind: stage.kind().to_string(),
            program: stage.version().to_string(),
            relay_minimum_sat_per_kvb: relay,
            incremental_sat_per_kvb: incremental,
            equal_feerate_replaces: equal_feerate(stage).await?,
            most_closes: closes(stage, shape(100, TxVersion::Two)).await?,
            largest_package_vb: largest_package(stage).await?,
            truc_enforced: closes(stage, shape(2, TxVersion::Three)).await? == 1,
            anchored_allocation: anchored(stage).await?,
        })
    }
}

fn shape(members: u32, version: TxVersion) -> Shape {
    Shape { members, feerate: FeeRate::from_sat_per_vb_u32(1), version, seed: 1 }
}

async fn place(stage: &Stage, case: &mut Case, what: &str, tx: (bitcoin::Transaction, Amount)) -> Result<(), Stop> {
    match case.place(stage, tx.0, tx.1).await?.found {
        Submission::Accepted => Ok(()),
        Submission::Rejected(why) => Err(Stop::Error(format!("{}: {what} is refused: {why}", stage.kind()))),
    }
}

/// The smallest fee of a large factory close: against nothing, and against its allocation.
async fn rates(stage: &mut Stage) -> Result<(u64, u64), Stop> {
    let mut case = Case::new(stage, shape(LARGE, TxVersion::Two)).await?;
    let smallest = async |case: &mut Case| {
        let found = smallest_fee(stage, case, None).await?.smallest;
        found.ok_or_else(|| Stop::Error(format!("{} takes no factory close", stage.kind())))
    };
    let exact = case.exact_fee();
    let close = case.factory_close(exact).ok_or_else(|| Stop::Error("no exact factory close".to_owned()))?;
    let vsize = close.weight().to_vbytes_ceil();
    // The fee is the rate times the size, rounded up to a satoshi.
    let rate = |fee: Amount| fee.to_sat() * 1000 / vsize;
    let alone = smallest(&mut case).await?;
    let allocation = case.allocation();
    let replaced = allocation.1;
    place(stage, &mut case, "the allocation", allocation).await?;
    let over = smallest(&mut case).await?.checked_sub(replaced).unwrap_or(Amount::ZERO);
    Ok((rate(alone), rate(over)))
}

/// At 50 sat/vB a factory close of three members needs more for the allocation's feerate than for its fee and the relay.
async fn equal_feerate(stage: &mut Stage) -> Result<bool, Stop> {
    let feerate = FeeRate::from_sat_per_vb_u32(50);
    let mut case = Case::new(stage, Shape { feerate, ..shape(3, TxVersion::Two) }).await?;
    let allocation = case.allocation();
    place(stage, &mut case, "the allocation", allocation).await?;
    let exact = case.exact_fee();
    let close = case.factory_close(exact).ok_or_else(|| Stop::Error("no exact factory close".to_owned()))?;
    let equal = factory_core::fee(feerate, close.weight().to_vbytes_ceil());
    let smallest = smallest_fee(stage, &mut case, equal).await?.smallest;
    match (equal, smallest) {
        (Some(equal), Some(smallest)) if smallest == equal => Ok(true),
        (Some(equal), Some(smallest)) if smallest == equal + Amount::ONE_SAT => Ok(false),
        other => Err(Stop::Error(format!("{}: the feerate does not decide: {other:?}", stage.kind()))),
    }
}

/// How many closes get in beside the allocation.
async fn closes(stage: &mut Stage, shape: Shape) -> Result<u32, Stop> {
    let mut case = Case::new(stage, shape).await?;
    let allocation = case.allocation();
    place(stage, &mut case, "the allocation", allocation).await?;
    for member in 0..shape.members {
        let (tx, fee) = case.close(member)?;
        if case.place(stage, tx, fee).await?.found != Submission::Accepted {
            return Ok(member);
        }
    }
    Ok(shape.members)
}

async fn largest_package(stage: &mut Stage) -> Result<u64, Stop> {
    let mut case = Case::new(stage, shape(40, TxVersion::Two)).await?;
    let allocation = case.allocation();
    place(stage, &mut case, "the allocation", allocation).await?;
    let close = case.close(0)?;
    let outpoint = OutPoint::new(close.0.compute_txid(), 0);
    place(stage, &mut case, "a close", close).await?;
    let coin = stage.lend(0).ok_or_else(|| Stop::Error("no coin is left".to_owned()))?;
    let before: u64 = case.model().entries().iter().map(factory_core::replacement::Entry::vsize).sum();
    // A child of so many vB is taken, and one of so many is refused.
    let (mut taken, mut refused) = (1_000, LARGEST + 1);
    while refused - taken > 1 {
        let size = u64::midpoint(taken, refused);
        let fee = RelayRate(2_000).fee(size);
        let child = case.descendant(outpoint, size, TxVersion::Two, fee, coin.clone());
        let child = child.ok_or_else(|| Stop::Error(format!("a child of {size} vB cannot be made")))?;
        match stage.node().rpc().test_accept(&child).await? {
            Acceptance::Accepted => taken = size,
            _ => refused = size,
        }
    }
    Ok(before + taken)
}

async fn anchored(stage: &mut Stage) -> Result<bool, Stop> {
    let mut case = Case::new(stage, shape(3, TxVersion::Three)).await?;
    let allocation = case.anchored_allocation(Amount::ZERO);
    let allocation = allocation.ok_or_else(|| Stop::Error("no anchored allocation".to_owned()))?;
    let coin = stage.lend(0).ok_or_else(|| Stop::Error("no coin is left".to_owned()))?;
    let child = case.anchor_child(&allocation, &coin, Amount::from_sat(10_000));
    let child = child.ok_or_else(|| Stop::Error("the anchor's child cannot be made".to_owned()))?;
    let answer = stage.node().rpc().submit_package(&[allocation, child]).await?;
    Ok(answer.transactions.iter().all(|tx| tx.outcome == Submission::Accepted))
}

/// What was found of several nodes, as Markdown.
pub fn probed_table(nodes: &[Probed]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "node",
        "relays from",
        "a replacement pays for relay",
        "against one transaction",
        "closes beside A",
        "size of all",
        "version 3",
        "A without a fee, with an anchor",
    ]);
    for node in nodes {
        let word = |is: bool, yes: &str, no: &str| if is { yes.to_owned() } else { no.to_owned() };
        table.add_row([
            node.kind.clone(),
            RelayRate(node.relay_minimum_sat_per_kvb).to_string(),
            RelayRate(node.incremental_sat_per_kvb).to_string(),
            word(node.equal_feerate_replaces, "its feerate is enough", "above its feerate"),
            node.most_closes.to_string(),
            format!("{} vB", grouped(node.largest_package_vb)),
            word(node.truc_enforced, "enforced", "not enforced"),
            word(node.anchored_allocation, "taken with its child", "refused"),
        ]);
    }
    for column in [1, 2, 4, 5] {
        table.column_mut(column).expect("the table has eight columns").set_cell_alignment(CellAlignment::Right);
    }
    format!("{table}\n")
}
