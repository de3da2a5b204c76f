//! One factory on a node, with everybody's keys, and what of it is in the mempool: on the node and in the model.

use std::sync::Arc;

use bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};
use factory_core::replacement::{Candidate, Entry, Judgement, Mempool, Package};
use factory_core::tx::funding::Coin;
use factory_core::tx::{FactoryClose, channel_close, transfer};
use factory_core::{
    DUST_LIMIT, Factory, FeeRule, Lock, MemberKeys, MemberTerms, Offer, OperatorKeys, Terms, TxVersion, Wallet,
};
use rand_chacha::ChaCha20Rng;
use secp256k1::Keypair;

use super::stage::{Stage, error};
use crate::node::Submission;
use crate::node::snapshot::faucet;
use crate::seed;
use crate::signing;
use crate::spend::Padding;
use crate::testbed::Stop;

/// What one channel holds, where so many of them fit: enough for every fee that is asked about.
const CAPACITY: u64 = 10_000_000;
/// What all channels hold together at most.
const TOGETHER: u64 = 5_000_000_000;

/// What a factory is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How many members there are beside the operator.
    pub members: u32,
    /// What the allocation and the closes pay.
    pub feerate: FeeRate,
    /// The version of all its transactions.
    pub version: TxVersion,
    /// What decides every key and nonce.
    pub seed: u64,
}

/// A factory whose funding is confirmed, and whose parties have all signed whatever is asked of them.
#[derive(Debug)]
pub struct Case {
    factory: Factory,
    operator: OperatorKeys,
    members: Vec<MemberKeys>,
    payout: Wallet,
    random: ChaCha20Rng,
    /// The factory close at the sum of the fees of what it cuts through, with the operator's output last.
    exact: (Transaction, Amount),
    model: Mempool,
    placed: Vec<Arc<Transaction>>,
}

/// What became of a transaction that was offered to the node.
#[derive(Clone, Debug)]
pub struct Placed {
    /// What the model says of it.
    pub predicted: Judgement,
    /// What the node says.
    pub found: Submission,
}

/// A factory that is still to be funded, with everybody's keys.
#[derive(Debug)]
pub(crate) struct Draft {
    terms: Terms,
    operator: OperatorKeys,
    members: Vec<MemberKeys>,
    payout: Wallet,
    random: ChaCha20Rng,
}

impl Draft {
    /// A factory of this shape.
    ///
    /// # Errors
    ///
    /// [`Stop::Fail`], if there can be no such factory.
    pub(crate) fn new(shape: Shape) -> Result<Draft, Stop> {
        let mut random = seed::stream(shape.seed, "replacement");
        let payout = Wallet::generate(&mut random);
        let script = payout.script_pubkey();
        let operator = OperatorKeys::generate(&mut random, script.clone());
        let members: Vec<_> = (0..shape.members).map(|_| MemberKeys::generate(&mut random, script.clone())).collect();
        let capacity = Amount::from_sat(CAPACITY.min(TOGETHER / u64::from(shape.members.max(1))));
        let offer =
            Offer { version: shape.version, feerate: shape.feerate, close_fee: FeeRule::Exact, ..Offer::default() };
        let terms = members.iter().map(|keys| MemberTerms { public: keys.public(), capacity }).collect();
        let terms = Terms::new(offer, operator.public(), terms).map_err(|why| Stop::Fail(why.to_string()))?;
        Ok(Draft { terms, operator, members, payout, random })
    }

    /// What its funding pays to.
    pub(crate) fn output(&self) -> TxOut {
        self.terms.factory_output()
    }

    /// The factory that `funding` makes of it.
    ///
    /// # Errors
    ///
    /// [`Stop::Fail`], if its fees are more than there is; [`Stop::Error`], if the funding is not its own.
    pub(crate) fn funded(self, funding: &Transaction) -> Result<Case, Stop> {
        let Draft { terms, operator, members, payout, random } = self;
        let factory = Factory::new(terms, funding).map_err(error)?;
        let balances: Vec<Amount> = factory.terms().members().iter().map(|member| member.capacity / 2).collect();
        let close = FactoryClose::new(&factory, balances).map_err(|why| Stop::Fail(why.to_string()))?;
        let rung = close.rungs().first().ok_or_else(|| Stop::Error("a factory close has no variant".to_owned()))?;
        let exact = (Transaction::clone(rung.transaction()), rung.fee());
        if exact.0.output.len() == members.len() {
            // Every other fee comes out of it.
            return Err(Stop::Fail(format!("the fees leave the operator no output of the factory close: {}", exact.1)));
        }
        Ok(Case { factory, operator, members, payout, random, exact, model: Mempool::new(), placed: Vec::new() })
    }
}

impl Case {
    /// Funds a factory of this shape and mines a block.
    ///
    /// # Errors
    ///
    /// [`Stop::Fail`], if there can be no such factory; [`Stop::Error`], if the node fails.
    pub async fn new(stage: &mut Stage, shape: Shape) -> Result<Case, Stop> {
        let draft = Draft::new(shape)?;
        let funding = stage.fund(draft.output()).await?;
        draft.funded(&funding)
    }

    /// The fee of the allocation and of every close together.
    pub fn exact_fee(&self) -> Amount {
        self.exact.1
    }

    /// The most that the factory close can pay: all that is not the members'.
    pub fn highest_fee(&self) -> Amount {
        let merged = self.exact.0.output.last().map_or(Amount::ZERO, |output| output.value);
        (self.exact.1 + merged).checked_sub(DUST_LIMIT).unwrap_or(Amount::ZERO)
    }

    /// What everybody's final balance is paid to.
    pub(crate) fn payout(&self) -> &Wallet {
        &self.payout
    }

    /// What the mempool holds, as the model has it.
    pub fn model(&self) -> &Mempool {
        &self.model
    }

    /// What the node's mempool holds of it, by the model's numbers.
    pub fn placed(&self) -> &[Arc<Transaction>] {
        &self.placed
    }

    /// The allocation.
    pub fn allocation(&mut self) -> (Transaction, Amount) {
        let unsigned = self.factory.allocation();
        let (tx, fee) = (Transaction::clone(unsigned.transaction()), unsigned.fee());
        (self.sign_by_all(tx), fee)
    }

    /// The allocation that pays nothing and has an output that anybody may spend (BIP 433), of this value. What it does not
    /// pay is in the first channel's output. `None` if that is less than the value.
    pub fn anchored_allocation(&mut self, anchor: Amount) -> Option<Transaction> {
        let unsigned = self.factory.allocation();
        let mut tx = Transaction::clone(unsigned.transaction());
        tx.output[0].value += unsigned.fee().checked_sub(anchor)?;
        tx.output.push(TxOut { value: anchor, script_pubkey: ScriptBuf::new_p2a() });
        Some(self.sign_by_all(tx))
    }

    /// The close of a member's channel.
    pub fn close(&mut self, member: u32) -> Result<(Transaction, Amount), Stop> {
        let balance = self.factory.terms().members()[member as usize].capacity / 2;
        let unsigned = channel_close::build(&self.factory, member, balance).map_err(error)?;
        let channel = self.factory.channel(member).map_err(error)?;
        let keys = [&self.operator.channel, &self.members[member as usize].channel];
        let tx = Transaction::clone(unsigned.transaction());
        let tx = sign(&mut self.random, channel.lock, &keys, channel.output, tx);
        Ok((tx, unsigned.fee()))
    }

    /// The factory close that pays just this fee; `None` if it cannot.
    pub fn factory_close(&mut self, fee: Amount) -> Option<Transaction> {
        let (mut tx, exact) = self.exact.clone();
        let merged = tx.output.last_mut()?;
        merged.value = (merged.value + exact).checked_sub(fee).filter(|left| *left >= DUST_LIMIT)?;
        Some(self.sign_by_all(tx))
    }

    /// Spends an output of a close, or of another descendant's that is its own party's, back to the party. `coin`, which is
    /// the faucet's, pays the fee and what makes it `vsize` virtual bytes large, or as little larger as can be. `None` if
    /// there is no such output, or the coin does not suffice.
    pub fn descendant(
        &self,
        of: OutPoint,
        vsize: u64,
        version: TxVersion,
        fee: Amount,
        coin: Coin,
    ) -> Option<Transaction> {
        let parent = self.placed.iter().find(|tx| tx.compute_txid() == of.txid)?;
        self.spend(parent, of.vout, vsize, version, fee, coin)
    }

    /// Like [`descendant`](Self::descendant), for a parent that need not be in the mempool.
    pub(crate) fn spend(
        &self,
        parent: &Transaction,
        vout: u32,
        vsize: u64,
        version: TxVersion,
        fee: Amount,
        coin: Coin,
    ) -> Option<Transaction> {
        let of = OutPoint::new(parent.compute_txid(), vout);
        let output = parent.output.get(vout as usize)?;
        if output.script_pubkey != *self.payout.script_pubkey() {
            return None;
        }
        let (own, faucet) = (Coin { outpoint: of, value: output.value }, faucet());
        let padding = Padding::of(vsize, faucet.script_pubkey());
        let spend = padding.spend((&self.payout, own), (&faucet, coin), fee, version).ok()?;
        Some(Transaction::clone(spend.transaction()))
    }

    /// Spends the anchor of an allocation with a confirmed coin of the faucet, that pays the fee. It is of the same version.
    pub fn anchor_child(&self, allocation: &Transaction, coin: &Coin, fee: Amount) -> Option<Transaction> {
        let anchor = OutPoint::new(allocation.compute_txid(), u32::try_from(allocation.output.len()).ok()? - 1);
        let faucet = faucet();
        let anchored = allocation.output.last()?.clone();
        let value = (anchored.value + coin.value).checked_sub(fee)?;
        let script_pubkey = faucet.script_pubkey().clone();
        let input = |previous_output| TxIn {
            previous_output,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
            witness: Witness::new(),
        };
        let tx = Transaction {
            version: allocation.version,
            lock_time: bitcoin::absolute::LockTime::ZERO,
            input: vec![input(anchor), input(coin.outpoint)],
            output: vec![TxOut { value, script_pubkey }],
        };
        let spent = TxOut { value: coin.value, script_pubkey: faucet.script_pubkey().clone() };
        Some(transfer::sign_input(&faucet, tx, 1, &[&anchored, &spent]))
    }

    /// A transaction as the model sees it: what it spends of the mempool, and what there spends the same.
    pub fn about(&self, tx: &Transaction) -> Candidate {
        let spends = |one: &Transaction, txid| one.input.iter().any(|input| input.previous_output.txid == txid);
        let same = |one: &Transaction| {
            let shared = |input: &TxIn| tx.input.iter().any(|own| own.previous_output == input.previous_output);
            one.input.iter().any(shared)
        };
        let numbers = |which: &dyn Fn(&Transaction) -> bool| {
            self.placed.iter().enumerate().filter(|(_, one)| which(one)).map(|(number, _)| number).collect()
        };
        Candidate {
            weight: tx.weight(),
            version: tx.version.0,
            parents: numbers(&|one| spends(tx, one.compute_txid())),
            conflicts: numbers(&same),
            dust: dust(tx).count(),
            leaves_dust: self.placed.iter().any(|parent| leaves_dust(parent, tx)),
        }
    }

    /// Offers a transaction to the node that replaces nothing, and enters it in the model if the node takes it.
    ///
    /// # Errors
    ///
    /// [`Stop::Error`], if the node gives no judgement.
    pub async fn place(&mut self, stage: &Stage, tx: Transaction, fee: Amount) -> Result<Placed, Stop> {
        let about = self.about(&tx);
        let predicted = stage.policy().await?.judge(&self.model, &about, fee);
        let found = stage.node().rpc().submit(&tx).await?;
        if found == Submission::Accepted {
            self.enter(tx, fee);
        }
        Ok(Placed { predicted, found })
    }

    /// Enters a transaction in the model that the node has taken otherwise.
    pub fn enter(&mut self, tx: Transaction, fee: Amount) {
        let Candidate { weight, version, parents, .. } = self.about(&tx);
        self.model.push(Entry { fee, weight, version, parents });
        self.placed.push(Arc::new(tx));
    }

    /// A parent that pays nothing and its child, as the model sees them.
    pub fn package(&self, parent: &Transaction, child: &Transaction) -> Package {
        let mut child_alone = self.about(child);
        child_alone.leaves_dust |= leaves_dust(parent, child);
        Package { parent: self.about(parent), parent_fee: Amount::ZERO, child: child_alone }
    }

    fn sign_by_all(&mut self, tx: Transaction) -> Transaction {
        let terms = self.factory.terms();
        let keys: Vec<&Keypair> =
            self.members.iter().map(|keys| &keys.factory).chain([&self.operator.factory]).collect();
        sign(&mut self.random, terms.factory_lock(), &keys, &terms.factory_output(), tx)
    }
}

/// The outputs below the dust limit.
fn dust(tx: &Transaction) -> impl Iterator<Item = OutPoint> {
    let txid = tx.compute_txid();
    let is_dust = |output: &TxOut| output.value < output.script_pubkey.minimal_non_dust();
    (0..).zip(&tx.output).filter(move |(_, output)| is_dust(output)).map(move |(vout, _)| OutPoint::new(txid, vout))
}

/// Whether `tx` spends from `parent` and not all the dust there.
fn leaves_dust(parent: &Transaction, tx: &Transaction) -> bool {
    let spends = |outpoint| tx.input.iter().any(|input| input.previous_output == outpoint);
    let txid = parent.compute_txid();
    tx.input.iter().any(|input| input.previous_output.txid == txid) && !dust(parent).all(spends)
}

/// Puts the witness of everybody's signatures into the only input.
fn sign(random: &mut ChaCha20Rng, lock: &Lock, keys: &[&Keypair], spent: &TxOut, mut tx: Transaction) -> Transaction {
    let sighash = lock.sighash(&tx, spent);
    tx.input[0].witness = signing::witness(random, lock, keys, &sighash);
    tx
}
