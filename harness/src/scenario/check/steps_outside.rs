//! What is wrong with the steps that bring transactions from outside the factory.

use bitcoin::{Amount, FeeRate};
use factory_core::{DUST_LIMIT, MAX_STANDARD_WEIGHT, Party, TxName};

use super::super::language::{Fill, Spend};
use super::super::value::{Rate, Size};
use super::{Check, version};

/// The argument that a node needs if its mempool is to be filled: its limit in MB, the least that every kind takes.
pub(crate) const SMALL_MEMPOOL: &str = "-maxmempool=5";
/// Every coin of the faucet holds far more.
const MAX_FEE: Amount = Amount::ONE_BTC;
/// At this feerate each transaction that fills a mempool pays about as much.
const MAX_FEERATE: FeeRate = FeeRate::from_sat_per_vb_u32(1_000);

impl Check<'_> {
    pub(super) fn spend(&mut self, spend: &Spend, path: &str) {
        let (by, tx) = (spend.by.0, spend.tx.0);
        let own = self.scenario.party(by).node;
        self.node(spend.via.as_ref().or(own.as_ref()), format!("{path}.via"));
        let present = self.present(by, format!("{path}.by"));
        let tx_path = format!("{path}.tx");
        if self.transaction(tx, &tx_path) && present {
            match tx {
                TxName::Close(_) | TxName::Refund(..) | TxName::FactoryClose(_) => {
                    let before = self.problems.len();
                    self.publishable(tx, by, "tx", path);
                    if self.problems.len() == before {
                        self.pays(tx, by, &tx_path);
                    }
                }
                _ => {
                    let message = format!("{tx} pays nothing to {by}: expected a close, a refund or a factory close");
                    self.problem(tx_path, message);
                }
            }
        }
        if let Some(Size(size)) = spend.size {
            let most = MAX_STANDARD_WEIGHT.to_vbytes_floor();
            if size > most {
                let message = format!("expected at most {most} vB, the most that nodes relay, found {size}");
                self.problem(format!("{path}.size"), message);
            }
        }
        if let Some(fee) = spend.fee
            && fee.0 > MAX_FEE
        {
            let message = format!("expected at most {} sat, found {}", MAX_FEE.to_sat(), fee.0.to_sat());
            self.problem(format!("{path}.fee"), message);
        }
        if let Some(number) = spend.version
            && version(number.0).is_none()
        {
            self.problem(format!("{path}.version"), format!("expected 2 or 3, found {}", number.0));
        }
        self.judged(&spend.expect, spend.replaces.as_ref(), path);
        self.spent.push(tx);
    }

    /// Says so if a transaction has no output of a member's.
    fn pays(&mut self, tx: TxName, by: Party, path: &str) {
        let Party::Member(member) = by else { return };
        // An older state may have paid what the newest does not.
        let newest = self.states.get(member as usize).filter(|_| !matches!(tx, TxName::Refund(..)));
        if newest.is_some_and(|state| state.member() < DUST_LIMIT) && !self.uncertain {
            self.problem(path, format!("{tx} pays nothing to {by}: expected a payment to it before"));
        }
    }

    pub(super) fn fill(&mut self, fill: &Fill, path: &str) {
        self.node(fill.node.as_ref(), format!("{path}.node"));
        let Some(name) = fill.node.clone().or_else(|| self.nodes.first().cloned()) else { return };
        let names = self.scenario.node_names();
        let spec = names.iter().find(|(known, _)| *known == name).map(|(_, spec)| *spec);
        if let Some(spec) = spec
            && !spec.args.iter().any(|arg| arg == SMALL_MEMPOOL)
        {
            let message = format!(
                "the mempool of {name} is too large to be filled: expected `args: [{SMALL_MEMPOOL}]` at this node, \
                the least that it takes"
            );
            self.problem(format!("{path}.node"), message);
        }
        if fill.feerate.0 > MAX_FEERATE {
            let message = format!("expected at most {}, found {}", Rate(MAX_FEERATE), fill.feerate);
            self.problem(format!("{path}.feerate"), message);
        }
    }
}
