//! Everybody's keys in one place, and every transaction that they can sign together.

use std::sync::Arc;

use bitcoin::{Amount, OutPoint, Transaction, TxOut};
use factory_core::simulation::{Ledger, Refusal};
use factory_core::tx::funding::{self, Coin};
use factory_core::tx::{Complete, FactoryClose, Unsigned, channel_close, refund, size, transfer};
use factory_core::{
    Budget, Change, ChangeError, CloseError, Factory, FeeRule, Lock, MemberKeys, MemberTerms, Offer, OperatorKeys,
    Party, State, Terms, TermsError, TxVersion, Wallet, fee,
};
use rayon::prelude::*;
use secp256k1::Keypair;

use super::report::Shape;
use crate::{seed, signing};

/// What one channel holds, if the feerate asks for no more.
const CAPACITY: Amount = Amount::from_sat(1_000_000);
/// What the operator gets back whenever it opens something.
const CHANGE: Amount = Amount::from_sat(100_000);

/// Why a factory cannot be measured.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsound {
    /// Returned when there can be no such factory.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// Returned when what everybody signed is not valid.
    #[error("{0}")]
    Defect(String),
}

macro_rules! defects {
    ($($error:ty),*) => { $(impl From<$error> for Unsound {
        fn from(error: $error) -> Self {
            Unsound::Defect(error.to_string())
        }
    })* };
}
defects!(
    ChangeError,
    CloseError,
    Refusal,
    factory_core::FundingMismatch,
    factory_core::tx::InvalidSignature,
    factory_core::tx::funding::NotEnoughMoney,
    factory_core::tx::transfer::NotCovered
);

/// The parties of one factory.
#[derive(Debug)]
pub(super) struct Cast {
    pub(super) shape: Shape,
    pub(super) capacity: Amount,
    seed: u64,
    terms: Terms,
    wallet: Wallet,
    operator: OperatorKeys,
    members: Vec<MemberKeys>,
}

/// What came of one side: its transactions by kind, all of them signed, and confirmed on a chain in memory.
#[derive(Debug)]
pub(super) struct OfFactory {
    pub(super) funding: Complete,
    pub(super) allocation: Complete,
    pub(super) closes: Vec<Complete>,
    pub(super) refunds: Vec<Complete>,
    pub(super) factory_close: Complete,
}

/// The same channels without a factory.
#[derive(Debug)]
pub(super) struct WithoutFactory {
    pub(super) opens: Vec<Complete>,
    pub(super) closes: Vec<Complete>,
    pub(super) batched_open: Complete,
    pub(super) batched_closes: Vec<Complete>,
}

impl Cast {
    /// Parties for a factory of this shape.
    ///
    /// # Errors
    ///
    /// [`Unsound::Terms`], if there can be no such factory.
    pub(super) fn new(shape: Shape, seed: u64) -> Result<Self, Unsound> {
        let Shape { members, lock, version, feerate } = shape;
        let offer = Offer { version, lock, feerate, close_fee: FeeRule::Exact, ..Offer::default() };
        let close_fee = fee(feerate, size::channel_spend(lock, 2).to_vbytes_ceil()).unwrap_or(Amount::MAX_MONEY);
        // Half of it pays for the close and leaves the operator an output.
        let capacity = close_fee.checked_mul(4).map_or(Amount::MAX_MONEY, |least| CAPACITY.max(least));
        // Before any key is made: this says at once what cannot be.
        Budget::new(&offer, &vec![capacity; members as usize])?;
        let mut random = seed::stream(seed, "fees");
        let wallet = Wallet::generate(&mut random);
        let payout = wallet.script_pubkey();
        let operator = OperatorKeys::generate(&mut random, payout.clone());
        let members: Vec<_> = (0..members).map(|_| MemberKeys::generate(&mut random, payout.clone())).collect();
        let parts = members.iter().map(|keys| MemberTerms { public: keys.public(), capacity }).collect();
        let terms = Terms::new(offer, operator.public(), parts)?;
        Ok(Cast { shape, capacity, seed, terms, wallet, operator, members })
    }

    /// What each member has in the end.
    fn balance(&self) -> Amount {
        self.capacity / 2
    }

    /// Signs all that the factory can come to, and confirms each of its ways.
    pub(super) fn factory(&self) -> Result<OfFactory, Unsound> {
        let (output, feerate) = (self.terms.factory_output(), self.shape.feerate);
        let coin = self.coin(output.value, size::funding(1, 2).to_vbytes_ceil());
        let minted = mint(std::slice::from_ref(&coin))?;
        let funding = funding::build(&self.wallet, &minted.coins, output, feerate)?;
        let factory = Factory::new(self.terms.clone(), funding.transaction())?;
        let balances = vec![self.balance(); self.members.len()];
        let close = FactoryClose::new(&factory, balances)?;
        let allocation = self.by_all("allocation", factory.allocation())?;
        let factory_close = self.by_all("factory-close", &close.rungs()[0])?;
        let closes = (0..self.shape.members)
            .into_par_iter()
            .map(|member| {
                let unsigned = channel_close::build(&factory, member, self.balance())?;
                self.by_both("close", member, &unsigned)
            })
            .collect::<Result<Vec<_>, Unsound>>()?;
        let refunds = (0..self.shape.members)
            .into_par_iter()
            .map(|member| {
                let state = self.paid_state(member)?;
                self.by_both("refund", member, &refund::build(&factory, member, &state)?)
            })
            .collect::<Result<Vec<_>, Unsound>>()?;
        let locked = self.terms.offer().refund_locks.at(1).unwrap_or_default();
        let coins = std::slice::from_ref(&coin);
        confirm(coins, [&[&funding][..], &[&factory_close]], 0)?;
        confirm(coins, [&[&funding], &[&allocation], &refs(&closes)], 0)?;
        confirm(coins, [&[&funding], &[&allocation], &refs(&refunds)], locked)?;
        Ok(OfFactory { funding, allocation, closes, refunds, factory_close })
    }

    /// Signs all that the same channels take without a factory, and confirms both ways.
    pub(super) fn without_factory(&self) -> Result<WithoutFactory, Unsound> {
        let (members, feerate) = (self.members.len(), self.shape.feerate);
        let channels: Vec<TxOut> = self.terms.channel_locks().iter().map(|lock| self.channel(lock)).collect();

        let coins = vec![self.coin(self.capacity, size::funding(1, 2).to_vbytes_ceil()); members];
        let minted = mint(&coins)?;
        let opens = (0..self.shape.members)
            .into_par_iter()
            .map(|member| {
                let index = member as usize;
                let coin = std::slice::from_ref(&minted.coins[index]);
                funding::build(&self.wallet, coin, channels[index].clone(), feerate).map_err(Unsound::from)
            })
            .collect::<Result<Vec<_>, Unsound>>()?;
        let closes = self.closes("separate", |member| OutPoint::new(opens[member as usize].txid(), 0))?;
        confirm(&coins, [&refs(&opens)[..], &refs(&closes)], 0)?;

        let total = channels.iter().map(|channel| channel.value).sum();
        let batch = self.coin(total, size::funding(1, members + 1).to_vbytes_ceil());
        let minted = mint(std::slice::from_ref(&batch))?;
        let change = TxOut { value: CHANGE, script_pubkey: self.wallet.script_pubkey().clone() };
        let outputs = channels.into_iter().chain([change]).collect();
        let batched_open = transfer::build(&[(&self.wallet, minted.coins[0].clone())], TxVersion::Two, outputs)?;
        let batched_closes = self.closes("batched", |member| OutPoint::new(batched_open.txid(), member))?;
        confirm(&[batch], [&[&batched_open][..], &refs(&batched_closes)], 0)?;
        Ok(WithoutFactory { opens, closes, batched_open, batched_closes })
    }

    /// Closes of channels that are no factory's, at the same fee as a factory's.
    fn closes(&self, which: &str, at: impl Fn(u32) -> OutPoint + Sync) -> Result<Vec<Complete>, Unsound> {
        let pay = |value, script_pubkey: &bitcoin::ScriptBuf| TxOut { value, script_pubkey: script_pubkey.clone() };
        (0..self.shape.members)
            .into_par_iter()
            .map(|member| {
                let index = member as usize;
                let coin = Coin { outpoint: at(member), value: self.capacity };
                let operator = self.capacity - self.balance() - self.terms.close_fee();
                let outputs =
                    vec![pay(self.balance(), &self.members[index].payout), pay(operator, &self.operator.payout)];
                let unsigned =
                    Unsigned::of_coin(self.shape.version, &self.terms.channel_locks()[index], &coin, outputs)?;
                self.by_both(which, member, &unsigned)
            })
            .collect()
    }

    /// A channel with this lock.
    fn channel(&self, lock: &Lock) -> TxOut {
        TxOut { value: self.capacity, script_pubkey: lock.script_pubkey().clone() }
    }

    /// A coin of the operator's that holds so much, the fee of a transaction of this size, and change.
    fn coin(&self, held: Amount, vsize: u64) -> TxOut {
        let fee = fee(self.shape.feerate, vsize).unwrap_or(Amount::MAX_MONEY);
        TxOut { value: held + fee + CHANGE, script_pubkey: self.wallet.script_pubkey().clone() }
    }

    /// The state of a member's channel after the operator has paid it.
    fn paid_state(&self, member: u32) -> Result<State, Unsound> {
        let rules =
            self.terms.channel_rules(member).ok_or_else(|| Unsound::Defect(format!("there is no m{member}")))?;
        let change = Change::Pay { amount: self.balance() };
        Ok(rules.first_state().after(&change, Party::Operator, &rules)?)
    }

    /// Signed by everybody.
    fn by_all(&self, what: &str, unsigned: &Unsigned) -> Result<Complete, Unsound> {
        let keys = self.members.iter().map(|keys| &keys.factory).chain([&self.operator.factory]).collect();
        self.signed(what, unsigned, self.terms.factory_lock(), keys)
    }

    /// Signed by both sides of a member's channel.
    fn by_both(&self, what: &str, member: u32, unsigned: &Unsigned) -> Result<Complete, Unsound> {
        let index = member as usize;
        let keys = vec![&self.operator.channel, &self.members[index].channel];
        self.signed(&format!("{what}-m{member}"), unsigned, &self.terms.channel_locks()[index], keys)
    }

    fn signed(&self, what: &str, unsigned: &Unsigned, lock: &Lock, keys: Vec<&Keypair>) -> Result<Complete, Unsound> {
        // Each transaction has its own randomness, so that it does not matter who is signed first.
        let mut random = seed::stream(self.seed, &format!("fees/{what}"));
        Ok(unsigned.complete(lock, signing::witness(&mut random, lock, &keys, unsigned.sighash()))?)
    }
}

/// A chain in memory, and the coins on it.
pub(super) struct Minted {
    ledger: Ledger,
    pub(super) coins: Vec<Coin>,
}

/// A chain that begins with these coins. The same coins have the same places on every one.
pub(super) fn mint(outputs: &[TxOut]) -> Result<Minted, Unsound> {
    let mut ledger = Ledger::new(0, bitcoin::FeeRate::ZERO);
    let mut coin = |output: &TxOut| Coin { outpoint: ledger.mint(output.clone()), value: output.value };
    let coins = outputs.iter().map(&mut coin).collect();
    Ok(Minted { ledger, coins })
}

/// Confirms blocks of transactions on a chain that begins with these coins; the last of them after `wait` empty ones. It
/// holds every witness, amount and lock to consensus.
pub(super) fn confirm<const BLOCKS: usize>(
    coins: &[TxOut],
    blocks: [&[&Complete]; BLOCKS],
    wait: u16,
) -> Result<(), Unsound> {
    let Minted { mut ledger, .. } = mint(coins)?;
    for (number, block) in blocks.iter().enumerate() {
        if number + 1 == BLOCKS {
            for _ in 0..wait {
                ledger.mine_these(&[])?;
            }
        }
        let block: Vec<Arc<Transaction>> = block.iter().map(|tx| Arc::clone(tx.transaction())).collect();
        ledger.mine_these(&block)?;
    }
    Ok(())
}

/// References to all of them.
pub(super) fn refs(all: &[Complete]) -> Vec<&Complete> {
    all.iter().collect()
}
