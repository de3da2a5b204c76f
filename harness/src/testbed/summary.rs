//! The end of a run: everything is looked at once more, compared with what was expected, and told.

use std::collections::HashMap;
use std::time::Duration;

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{OutPoint, Txid};
use factory_core::{Party, TxName};
use indexmap::IndexMap;
use serde_json::Value;

use super::expect::Check;
use super::{Stop, Testbed, sat};
use crate::electrum::{ElectrsError, HistoryEntry};
use crate::ledger::{Record, Status};
use crate::network::DEADLINE;
use crate::report::{OutputReport, RunReport, StatusReport, TransactionReport};
use crate::scenario::ChainView;

/// How long an Electrum server may take until it sees what its node sees.
const VIEWS_DEADLINE: Duration = Duration::from_secs(10);

/// What a bundle holds of the end of a run, beside the report.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// The raw transactions in hexadecimal, by name.
    pub(crate) transactions: IndexMap<String, String>,
    /// What is in each node's mempool, or why the node does not say.
    pub(crate) mempools: IndexMap<String, Value>,
}

impl Testbed {
    /// Compares how things stand with what was expected, and tells everything. After a failure, too, the tables show how
    /// far things came.
    pub(crate) async fn conclude(mut self, report: &mut RunReport, evidence: &mut Evidence) -> Result<(), Stop> {
        self.log.step = None;
        let checked = self.check_everything(report).await;
        report.transactions = self.transactions();
        report.failures.append(&mut self.log.failures);
        report.assertions = self.log.assertions;
        report.blocks = std::mem::take(&mut self.log.blocks);
        report.refused = self.log.refused();
        report.timeline = std::mem::take(&mut self.log.timeline);
        report.messages = self.log.messages;
        self.collect(evidence).await;
        checked
    }

    /// What a bundle holds of the end: raw transactions, and mempools as the nodes tell them.
    async fn collect(&self, evidence: &mut Evidence) {
        for place in &self.network.places {
            for (name, record) in place.ledger.records() {
                let hex = || serialize_hex(&**record.tx.transaction());
                evidence.transactions.entry(name.to_string()).or_insert_with(hex);
            }
            let mempool = match place.rpc() {
                Ok(rpc) => match rpc.call::<Value>("getrawmempool", vec![true.into()]).await {
                    Ok(mempool) => mempool,
                    Err(error) => error.to_string().into(),
                },
                Err(error) => error.to_string().into(),
            };
            evidence.mempools.insert(place.name.clone(), mempool);
        }
    }

    /// What was to go wrong, and never did: a run in which that is so shows nothing. Nor does one in which the scenario
    /// asserted nothing.
    pub(crate) fn in_vain(&self) -> Vec<String> {
        let withheld = self.parties.withheld_in_vain();
        let withheld = withheld
            .map(|order| format!("{} was to withhold its {}, and had none to send", order.from.0, order.message));
        let crashes = self.parties.crashes_in_vain();
        let crashes = crashes.map(|crash| format!("{} was to crash {}, which never came", crash.party.0, crash.at));
        let mut vain: Vec<String> = withheld.chain(crashes).collect();
        if self.log.asked == 0 && self.scenario.expect.is_empty() {
            vain.push("the scenario asserts nothing".to_owned());
        }
        vain
    }

    async fn check_everything(&mut self, report: &mut RunReport) -> Result<(), Stop> {
        self.check_sizes();
        let bypassed = std::mem::take(&mut self.log.bypassed);
        let alone = if bypassed.is_empty() { Ok(()) } else { Err(bypassed.join("; ")) };
        self.log.check("members write to the operator alone", alone);
        self.check_money(&mut report.balances, &mut report.money).await?;
        self.check_views().await?;
        let expect = self.scenario.expect.clone();
        for Check { text, result } in self.checks(&expect).await? {
            self.log.asked += 1;
            self.log.check(text, result);
        }
        Ok(())
    }

    /// Every node measures every transaction as its derivation says.
    fn check_sizes(&mut self) {
        let mut wrong = Vec::new();
        for place in &self.network.places {
            for (name, record) in place.ledger.records() {
                if let Some(measured) = record.measured
                    && measured != record.derived()
                {
                    let derived = record.derived();
                    wrong.push(format!("{name}: {} measures {measured:?}, expected {derived:?}", place.name));
                }
            }
        }
        let result = if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) };
        self.log.check("sizes and fees are as derived", result);
    }

    /// Electrum servers and their nodes agree: on everybody's balance, and on where every transaction is.
    async fn check_views(&mut self) -> Result<(), Stop> {
        let mut nodes: Vec<usize> =
            self.homes.iter().filter(|home| home.view == ChainView::Electrum).map(|home| home.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes.retain(|node| self.network.places[*node].is_running());
        for node in nodes {
            let name = self.name(node).to_owned();
            let wrong = self.differing_views(node).await?;
            let text = format!("the Electrum server and {name} agree");
            let result = if wrong.is_empty() { Ok(()) } else { Err(format!("{name}: {}", wrong.join("; "))) };
            self.log.check(text, result);
        }
        Ok(())
    }

    /// What a node and the Electrum server beside it do not see alike, once the server has had time to look.
    async fn differing_views(&self, node: usize) -> Result<Vec<String>, Stop> {
        let place = &self.network.places[node];
        let Some(electrs) = &place.electrs else { return Ok(Vec::new()) };
        let error = |error: ElectrsError| Stop::Error(error.to_string());
        electrs.sync(place.chain.tip(), DEADLINE).await.map_err(error)?;
        let mut wrong = Vec::new();
        for (name, record) in place.ledger.records() {
            let (txid, status) = (record.tx.txid(), record.status);
            let script = &record.tx.transaction().output[0].script_pubkey;
            let agrees = |history: &[HistoryEntry]| {
                let found = history.iter().find(|entry| entry.txid == txid).map(|entry| entry.height);
                match status {
                    Status::Confirmed(at) => found == Some(u32::try_from(at).ok()),
                    Status::InMempool => found == Some(None),
                    _ => found.is_none(),
                }
            };
            let expected = format!("{name} {status} (txid {txid}), as {} sees it", place.name);
            match electrs.sync_history(script, &expected, VIEWS_DEADLINE, agrees).await {
                Ok(_) => {}
                Err(ElectrsError::Late { expected, seen, .. }) => {
                    wrong.push(format!("expected {expected}, found {seen}"))
                }
                Err(other) => return Err(error(other)),
            }
        }
        let held = self.balances_at(node).await?;
        for (party, script) in self.parties.payouts() {
            let by_node = held.get(&party).copied().unwrap_or_default();
            let by_electrum = electrs.balance(script).await.map_err(error)?.confirmed;
            if by_node != by_electrum {
                wrong.push(format!("{party} has {} by RPC and {} by Electrum", sat(by_node), sat(by_electrum)));
            }
        }
        Ok(wrong)
    }

    fn transactions(&self) -> IndexMap<String, TransactionReport> {
        let mut names: HashMap<Txid, TxName> = HashMap::new();
        let mut records: Vec<(TxName, &Record)> = Vec::new();
        for place in &self.network.places {
            for (name, record) in place.ledger.records() {
                if names.insert(record.tx.txid(), name).is_none() {
                    records.push((name, record));
                }
            }
        }
        records.sort_by_key(|(name, _)| *name);
        let payouts: HashMap<&bitcoin::ScriptBuf, Party> =
            self.parties.payouts().map(|(party, script)| (script, party)).collect();
        let report = |(name, record): &(TxName, &Record)| {
            let measured = self.network.places.iter().find_map(|place| place.ledger.get(*name)?.measured);
            let sizes = measured.unwrap_or_else(|| record.derived());
            let tx = record.tx.transaction();
            let spends = tx.input.iter().filter_map(|input| names.get(&input.previous_output.txid));
            let outputs = tx.output.iter().enumerate().map(|(vout, output)| OutputReport {
                to: self.purpose(
                    *name,
                    OutPoint::new(record.tx.txid(), vout as u32),
                    payouts.get(&output.script_pubkey),
                ),
                sat: output.value.to_sat(),
            });
            let status = self.network.places.iter().map(|place| {
                let status = place.ledger.get(*name).map_or(Status::Signed, |record| record.status);
                (place.name.clone(), status_report(status, place.chain.height()))
            });
            let report = TransactionReport {
                txid: record.tx.txid().to_string(),
                vsize: sizes.vsize,
                weight: sizes.weight,
                fee_sat: sizes.fee.to_sat(),
                measured: measured.is_some(),
                spends: spends.map(TxName::to_string).collect(),
                relative_lock: match name {
                    TxName::Refund(..) => tx.input[0].sequence.to_relative_lock_time().and_then(|lock| match lock {
                        bitcoin::relative::LockTime::Blocks(blocks) => Some(blocks.value()),
                        bitcoin::relative::LockTime::Time(_) => None,
                    }),
                    _ => None,
                },
                absolute_lock: match tx.lock_time.to_consensus_u32() {
                    0 => None,
                    height => Some(height),
                },
                outputs: match name {
                    TxName::Spend(_) => outside_as_one(outputs),
                    _ => outputs.collect(),
                },
                status: status.collect(),
            };
            (name.to_string(), report)
        };
        records.iter().map(report).collect()
    }

    /// What an output is for.
    fn purpose(&self, name: TxName, outpoint: OutPoint, payee: Option<&Party>) -> String {
        if let Some(party) = payee {
            return party.to_string();
        }
        let factory_output = self.parties.factory().is_some_and(|factory| factory.outpoint() == outpoint);
        match name {
            TxName::Funding if factory_output => "factory".to_owned(),
            TxName::Funding => "change".to_owned(),
            TxName::Allocation => format!("channel-m{}", outpoint.vout),
            TxName::Refund(member, _) => format!("htlc-m{member}"),
            TxName::Spend(_) => OUTSIDE.to_owned(),
            _ => "somebody else".to_owned(),
        }
    }
}

/// Where the money goes that is none of the factory's.
const OUTSIDE: &str = "outside";

/// What goes outside, as one output: there may be thousands, which only add to the size.
fn outside_as_one(outputs: impl Iterator<Item = OutputReport>) -> Vec<OutputReport> {
    let (outside, mut own): (Vec<_>, Vec<_>) = outputs.partition(|output| output.to == OUTSIDE);
    own.push(OutputReport { to: OUTSIDE.to_owned(), sat: outside.iter().map(|output| output.sat).sum() });
    own
}

fn status_report(status: Status, height: u64) -> StatusReport {
    let (confirmed, replaced_by) = match status {
        Status::Confirmed(at) => (Some(at), None),
        Status::Replaced(by) => (None, Some(by.to_string())),
        _ => (None, None),
    };
    StatusReport {
        status: status.word().to_owned(),
        replaced_by,
        height: confirmed,
        confirmations: confirmed.map(|at| height + 1 - at),
    }
}
