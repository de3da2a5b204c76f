//! How the transactions come about.

use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, Txid, Weight};
use factory_core::tx::funding::Coin;
use factory_core::tx::{FactoryClose, Unsigned, channel_close, funding, htlc, refund, size};
use factory_core::{Factory, LockKind, MemberKeys, MemberTerms, OperatorKeys, Party, State, Terms, TxName, fee};

use super::{Name, Output, Path, PlanError, Planned};
use crate::factory::{capacities, offer, preimage};
use crate::node::snapshot;
use crate::parties::{member_keys, operator_keys, payout_wallet};
use crate::scenario::check::{self, Outcome};
use crate::scenario::{Scenario, Step};
use crate::spend::Padding;

/// The transactions, sums over them, and what is not known.
pub(super) struct Derived {
    pub(super) transactions: Vec<Planned>,
    pub(super) cut_through: Option<Amount>,
    pub(super) paths: Vec<Path>,
    pub(super) notes: Vec<String>,
}

struct Deriver<'a> {
    scenario: &'a Scenario,
    outcome: Outcome,
    operator: OperatorKeys,
    members: Vec<MemberKeys>,
    factory: Factory,
    kind: LockKind,
    transactions: Vec<Planned>,
}

/// The coins that a funding can spend: as many and as large as on the chain of a run, but none that exist.
fn coins() -> Vec<Coin> {
    let value = Amount::from_int_btc(50);
    let count = snapshot::spendable().to_sat() / value.to_sat();
    let coin = |number: u64| Coin { outpoint: OutPoint::new(Txid::hash(&number.to_le_bytes()), 0), value };
    (0..count).map(coin).collect()
}

pub(super) fn derive(scenario: &Scenario) -> Result<Derived, PlanError> {
    let outcome = check::outcome(scenario);
    let (operator, _) = operator_keys(scenario.seed);
    let capacities = capacities(scenario);
    let members: Vec<MemberKeys> =
        (0..scenario.factory.members.0).map(|member| member_keys(scenario.seed, member).0).collect();
    let offer = offer(scenario);
    let (kind, feerate) = (offer.lock, offer.feerate);
    let parts = members.iter().zip(capacities).map(|(keys, capacity)| MemberTerms { public: keys.public(), capacity });
    let terms = Terms::new(offer, operator.public(), parts.collect())?;
    let funding = funding::build(&snapshot::faucet(), &coins(), terms.factory_output(), feerate)?;
    let factory = Factory::new(terms, funding.transaction())?;
    let mut deriver = Deriver { scenario, outcome, operator, members, factory, kind, transactions: Vec::new() };
    deriver.signed(TxName::Funding, &[], funding.transaction(), funding.fee(), |vout| match vout {
        0 => "factory".to_owned(),
        _ => "change".to_owned(),
    });
    deriver.allocation();
    deriver.refunds()?;
    deriver.finish()
}

impl Deriver<'_> {
    /// What is known with its whole witness.
    fn signed(&mut self, name: TxName, spends: &[TxName], tx: &Transaction, fee: Amount, to: impl Fn(usize) -> String) {
        let outputs = tx.output.iter().enumerate();
        let outputs = outputs.map(|(vout, output)| Output { to: to(vout), amount_sat: output.value.to_sat() });
        let (outputs, weight) = (outputs.collect(), tx.weight());
        self.add(name, spends, weight, fee, outputs);
    }

    fn add(&mut self, name: TxName, spends: &[TxName], weight: Weight, fee: Amount, outputs: Vec<Output>) {
        let always =
            matches!(name, TxName::Refund(..) | TxName::HtlcSuccess(..) | TxName::HtlcTimeout(..) | TxName::Spend(_));
        self.transactions.push(Planned {
            spends: spends.iter().map(TxName::to_string).collect(),
            vsize: weight.to_vbytes_ceil(),
            weight: weight.to_wu(),
            fee_sat: fee.to_sat(),
            relative_lock: None,
            absolute_lock: None,
            outputs,
            signed: always || self.outcome.signed.contains(&name),
            name: Name(name),
        });
    }

    /// What one lock guards; its witness is not made, since its size is known.
    fn guarded(&mut self, name: TxName, spends: TxName, tx: &Unsigned, signers: usize) {
        let outputs: Vec<Output> = tx
            .transaction()
            .output
            .iter()
            .enumerate()
            .map(|(vout, output)| Output {
                to: self.owner(name, vout, &output.script_pubkey),
                amount_sat: output.value.to_sat(),
            })
            .collect();
        let weight = size::lock_spend(self.kind, signers, outputs.len());
        self.add(name, &[spends], weight, tx.fee(), outputs);
    }

    fn owner(&self, name: TxName, vout: usize, script: &ScriptBuf) -> String {
        let member = match name {
            TxName::Allocation => return format!("channel of m{vout}"),
            TxName::Close(member) | TxName::Refund(member, _) => member as usize,
            _ => vout,
        };
        match self.members.get(member) {
            _ if *script == self.operator.payout => Party::Operator.to_string(),
            Some(keys) if *script == keys.payout => Party::Member(member as u32).to_string(),
            // Outputs that would be dust are left out, so that those after them move up.
            _ => match self.members.iter().position(|keys| keys.payout == *script) {
                Some(member) => Party::Member(member as u32).to_string(),
                None => "HTLC".to_owned(),
            },
        }
    }

    fn allocation(&mut self) {
        let allocation = self.factory.allocation().clone();
        self.guarded(TxName::Allocation, TxName::Funding, &allocation, self.members.len() + 1);
    }

    fn refunds(&mut self) -> Result<(), PlanError> {
        let states = std::mem::take(&mut self.outcome.states);
        for (member, states) in (0..).zip(&states) {
            for state in states {
                let name = TxName::Refund(member, state.number());
                let tx = refund::build(&self.factory, member, state)?;
                self.guarded(name, TxName::Allocation, &tx, 2);
                if let Some(planned) = self.transactions.last_mut() {
                    planned.relative_lock = self.factory.terms().offer().refund_locks.at(state.number());
                    let htlcs = planned.outputs.iter_mut().filter(|output| output.to == "HTLC");
                    htlcs.zip(state.htlcs()).for_each(|(output, htlc)| output.to = format!("HTLC {}", htlc.id));
                }
                self.claims(member, state, &tx)?;
            }
        }
        self.outcome.states = states;
        Ok(())
    }

    /// Both claims of every HTLC of a state. The same HTLC has the same claims in every state, but for what they spend.
    fn claims(&mut self, member: u32, state: &State, refund: &Unsigned) -> Result<(), PlanError> {
        let first = refund.transaction().output.len() - state.htlcs().len();
        for (place, pending) in (first as u32..).zip(state.htlcs()) {
            let outpoint = OutPoint::new(refund.txid(), place);
            let spent = TxName::Refund(member, state.number());
            let (success, timeout) = (TxName::HtlcSuccess(member, pending.id), TxName::HtlcTimeout(member, pending.id));
            let known = self.transactions.iter_mut().filter(|known| [success, timeout].contains(&known.name.0));
            let known: usize = known.map(|known| known.spends.push(spent.to_string())).count();
            if known > 0 {
                continue;
            }
            let secret = self.secret(&pending.hash).ok_or(PlanError::Claim(success))?;
            let recipient = match pending.offerer {
                Party::Operator => Party::Member(member),
                Party::Member(_) => Party::Operator,
            };
            for (name, by, party) in
                [(success, htlc::Claim::Success(&secret), recipient), (timeout, htlc::Claim::Timeout, pending.offerer)]
            {
                let (key, payout) = match party {
                    Party::Operator => (&self.operator.channel, &self.operator.payout),
                    Party::Member(member) => {
                        (&self.members[member as usize].channel, &self.members[member as usize].payout)
                    }
                };
                let claim = htlc::claim(&self.factory, member, pending, outpoint, by, key, payout);
                let claim = claim.ok_or(PlanError::Claim(name))?;
                let tx = claim.transaction().clone();
                self.signed(name, &[spent], &tx, claim.fee(), |_| party.to_string());
                if let (TxName::HtlcTimeout(..), Some(planned)) = (name, self.transactions.last_mut()) {
                    planned.absolute_lock = Some(pending.expiry);
                }
            }
        }
        Ok(())
    }

    fn secret(&self, hash: &[u8; 32]) -> Option<[u8; 32]> {
        self.scenario.steps.iter().find_map(|step| match step {
            Step::Htlc(htlc) => {
                Some(preimage(self.scenario, &htlc.secret)).filter(|secret| factory_core::hash_of(secret) == *hash)
            }
            _ => None,
        })
    }

    /// The closes and the factory close, if nothing is pending, and the sums.
    fn finish(mut self) -> Result<Derived, PlanError> {
        let mut notes = Vec::new();
        let last: Vec<State> = self.outcome.states.iter().filter_map(|states| states.last().cloned()).collect();
        let pending = last.iter().position(|state| !state.htlcs().is_empty());
        if let Some(member) = pending {
            notes.push(format!("HTLCs are pending in the end, in m{member}'s channel first: it is not closed, and neither is the factory"));
        }
        if self.outcome.uncertain {
            notes.push("a message is kept back, or a party crashes: what comes after it may not come about".to_owned());
        }
        if self.kind == LockKind::Wsh {
            notes.push("signatures of wsh locks vary in length: sizes are the most that they can be".to_owned());
        }
        let mut cut_through = None;
        let mut rungs = Vec::new();
        for (member, state) in (0..).zip(&last).filter(|(_, state)| state.htlcs().is_empty()) {
            let close = channel_close::build(&self.factory, member, state.member())?;
            self.guarded(TxName::Close(member), TxName::Allocation, &close, 2);
        }
        if pending.is_none() && !last.is_empty() {
            let balances: Vec<Amount> = last.iter().map(State::member).collect();
            let close = FactoryClose::new(&self.factory, balances)?;
            for (rung, tx) in (0..).zip(close.rungs()) {
                self.guarded(TxName::FactoryClose(rung), TxName::Funding, tx, self.members.len() + 1);
                rungs.push(TxName::FactoryClose(rung));
            }
            let parts =
                self.transactions.iter().filter(|tx| matches!(tx.name.0, TxName::Allocation | TxName::Close(_)));
            cut_through = Some(Amount::from_sat(parts.map(|tx| tx.fee_sat).sum()));
        }
        self.spends()?;
        let mut paths = Vec::new();
        for rung in rungs {
            paths.push(self.path(&rung.to_string(), |name| name == rung));
        }
        if cut_through.is_some() {
            let what = |name| matches!(name, TxName::Allocation | TxName::Close(_));
            paths.push(self.path("allocation and all closes", what));
        }
        if !last.is_empty() {
            let newest = |name: TxName| match name {
                TxName::Allocation => true,
                TxName::Refund(member, state) => last[member as usize].number() == state,
                TxName::HtlcSuccess(member, htlc) => last[member as usize].htlc(htlc).is_some(),
                _ => false,
            };
            paths.push(self.path("allocation, the newest refunds, HTLCs taken", newest));
        }
        Ok(Derived { transactions: self.transactions, cut_through, paths, notes })
    }

    /// What parties do with their own money.
    fn spends(&mut self) -> Result<(), PlanError> {
        let faucet = snapshot::faucet();
        let spends = self.scenario.steps.iter().filter_map(|step| match step {
            Step::Spend(spend) => Some(spend),
            _ => None,
        });
        for (number, spend) in (0..).zip(spends) {
            let (name, by, parent) = (TxName::Spend(number), spend.by.0, spend.tx.0);
            let to = by.to_string();
            let planned = self.transactions.iter().find(|planned| planned.name.0 == parent);
            let Some(own) = planned.and_then(|planned| planned.outputs.iter().find(|output| output.to == to)) else {
                continue;
            };
            let coin = |value| Coin { outpoint: OutPoint::new(Txid::hash(name.to_string().as_bytes()), 0), value };
            let value = Amount::from_sat(own.amount_sat);
            let padding = Padding::of(spend.size.map_or(0, |size| size.0), faucet.script_pubkey());
            let fee = spend.fee.map(|fee| fee.0).or(fee(self.scenario.factory.feerate.0, padding.vsize));
            let version =
                spend.version.map_or(Some(self.factory.terms().offer().version), |number| check::version(number.0));
            let (Some(fee), Some(version)) = (fee, version) else { return Err(PlanError::Spend(name)) };
            let paying = (&faucet, coin(Amount::from_int_btc(50)));
            let tx = padding.spend((&payout_wallet(self.scenario.seed, by), coin(value)), paying, fee, version);
            let tx = tx.map_err(|_| PlanError::Spend(name))?;
            let outside = tx.transaction().output[1..].iter().map(|output| output.value.to_sat()).sum();
            let outputs = vec![
                Output { to, amount_sat: value.to_sat() },
                Output { to: "outside".to_owned(), amount_sat: outside },
            ];
            self.add(name, &[parent], tx.transaction().weight(), fee, outputs);
        }
        Ok(())
    }

    fn path(&self, name: &str, what: impl Fn(TxName) -> bool) -> Path {
        let parts: Vec<&Planned> = self.transactions.iter().filter(|tx| what(tx.name.0)).collect();
        Path {
            name: name.to_owned(),
            transactions: parts.len(),
            vsize: parts.iter().map(|tx| tx.vsize).sum(),
            weight: parts.iter().map(|tx| tx.weight).sum(),
            fee_sat: parts.iter().map(|tx| tx.fee_sat).sum(),
        }
    }
}
