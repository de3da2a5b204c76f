//! What comes of a question.

use bitcoin::Amount;
use factory_core::replacement::{Finding, Judgement, Requires};
use serde::Serialize;

use crate::report::grouped;

/// What the model and the node say of one question.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// The node's kind.
    pub kind: String,
    /// The version of the factory's transactions: 2 or 3.
    pub version: i32,
    /// How many members there are.
    pub members: u32,
    /// What the allocation and the closes pay, in satoshi per virtual byte.
    pub feerate_sat_per_vb: f64,
    /// How many closes were offered.
    pub closes_asked: u32,
    /// How many of them the mempool took.
    pub closes: u32,
    /// Why it took no more.
    pub closes_refused: Option<String>,
    /// Whether the allocation is in the mempool, or why not.
    pub allocation_refused: Option<String>,
    /// What the allocation and all closes pay together, in satoshi.
    pub exact_fee_sat: u64,
    /// Whether the node takes the factory close at that fee.
    pub exact_accepted: bool,
    /// Why it does not.
    pub reject_reason: Option<String>,
    /// The smallest fee that the model thinks enough, in satoshi; `None` if none is.
    pub min_fee_predicted_sat: Option<u64>,
    /// The smallest fee that the node takes, in satoshi.
    pub min_fee_measured_sat: Option<u64>,
    /// What the factory close is offered at beside its exact fee: the premium, or each rung of the ladder.
    pub offers: Vec<Offer>,
    /// How many transactions left the mempool for the factory close.
    pub evicted: u32,
    /// Size of the factory close, in vB.
    pub factory_close_vsize: u64,
    /// Every rule, at the exact fee.
    pub rules: Vec<RuleRow>,
    /// Where the model and the node differ; empty if they do not.
    pub differences: Vec<String>,
}

/// The factory close at another fee than the exact one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Offer {
    /// Its fee, in satoshi.
    pub fee_sat: u64,
    /// Whether the node takes it.
    pub accepted: bool,
    /// Why it does not.
    pub reject_reason: Option<String>,
}

/// One rule of the node's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleRow {
    /// Its name.
    pub rule: &'static str,
    /// What it asks for.
    pub requires: String,
    /// What the factory close offers.
    pub offers: String,
    /// The fee that it asks for, if it is a fee, in satoshi.
    pub fee_sat: Option<u64>,
    /// Whether it is met at the exact fee.
    pub met: bool,
    /// Whether it is what decides the smallest fee.
    pub decides: bool,
}

impl RuleRow {
    /// The rows of a judgement.
    pub fn all(judgement: &Judgement) -> Vec<RuleRow> {
        let binding = judgement.binding();
        let row = |finding: &Finding| {
            let (requires, offers, fee_sat) = words(&finding.requires, judgement.fee);
            RuleRow {
                rule: finding.rule.name(),
                requires,
                offers,
                fee_sat,
                met: finding.holds(judgement.fee),
                decides: binding == Some(finding.rule),
            }
        };
        judgement.findings.iter().map(row).collect()
    }
}

fn words(requires: &Requires, fee: Amount) -> (String, String, Option<u64>) {
    let sat = |fee: Amount| format!("{} sat", grouped(fee.to_sat()));
    match requires {
        Requires::Fee(least) => (sat(*least), sat(fee), Some(least.to_sat())),
        Requires::AtMost { limit, found } => (format!("at most {}", grouped(*limit)), grouped(*found), None),
        Requires::NoFee => ("no fee".to_owned(), sat(fee), None),
        Requires::Nothing(None) => (String::new(), "nothing against it".to_owned(), None),
        Requires::Nothing(Some(against)) => (String::new(), (*against).to_owned(), None),
    }
}
