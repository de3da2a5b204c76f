//! What a party stores, so that a crash loses nothing.
//!
//! A party's state is a set of records, each under its [`Key`]. [`Effect::Persist`] says which has changed; the party's
//! `record` gives its new bytes. A [`Snapshot`] is all of them. Neither holds a secret: keys are given anew to a party
//! that is restored, and secret nonces are nowhere but in memory, since no type that could hold one can be encoded.
//!
//! [`Effect::Persist`]: super::Effect::Persist

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bitcoin::{Amount, ScriptBuf, Transaction};
use secp256k1::{Keypair, PublicKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ceremony::Task;
use super::channel_end::{ChannelEnd, Data};
use super::message::{Joint, WireWitness};
use super::stake::{Core, Stake};
use super::{Phase, Reason};
use crate::encoding::{self, DecodeError};
use crate::factory::Factory;
use crate::name::Party;
use crate::tx::{Complete, FactoryClose};

/// The version of the records' encoding: their first byte.
pub const RECORD_VERSION: u8 = 1;

/// The longest record or snapshot that is decoded, in bytes.
pub const MAX_SNAPSHOT_BYTES: usize = 64 << 20;

/// Which part of a party's state a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Key {
    /// The factory: its terms and its funding. Stored once.
    Factory,
    /// Operator: the signed funding. Stored once.
    Funding,
    /// What the party has agreed to sign with all others, and the witnesses.
    Joint(Joint),
    /// The party's end of a member's channel.
    Channel(u32),
    /// How far the party is, and what it has seen of the chain. It comes last, so it may lag behind what it follows
    /// from, and never be ahead.
    Core,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Factory => f.pad("factory"),
            Key::Funding => f.pad("funding"),
            Key::Core => f.pad("core"),
            Key::Joint(Joint::Allocation) => f.pad("allocation"),
            Key::Joint(Joint::FactoryClose) => f.pad("factory-close"),
            Key::Channel(member) => f.pad(&format!("channel-m{member}")),
        }
    }
}

/// All records of one party.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot(BTreeMap<Key, Vec<u8>>);

impl Snapshot {
    /// Enters a record in place of the one before it.
    pub fn put(&mut self, key: Key, record: Vec<u8>) {
        self.0.insert(key, record);
    }

    /// The record under `key`.
    pub fn get(&self, key: Key) -> Option<&[u8]> {
        self.0.get(&key).map(Vec::as_slice)
    }

    /// Whether nothing has been stored.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The snapshot as bytes: a version byte, then `postcard`.
    pub fn encode(&self) -> Vec<u8> {
        encoding::to_versioned(RECORD_VERSION, self)
    }

    /// The snapshot that `bytes` are.
    ///
    /// # Errors
    ///
    /// [`DecodeError`], if they are none, or are longer than [`MAX_SNAPSHOT_BYTES`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        encoding::from_versioned(RECORD_VERSION, MAX_SNAPSHOT_BYTES, bytes)
    }

    fn read<T: DeserializeOwned>(&self, key: Key) -> Result<Option<T>, Reason> {
        let decoded = self.get(key).map(|bytes| encoding::from_versioned(RECORD_VERSION, MAX_SNAPSHOT_BYTES, bytes));
        decoded.transpose().map_err(|error| Reason::Record { key, error })
    }

    fn need<T: DeserializeOwned>(&self, key: Key) -> Result<T, Reason> {
        self.read(key)?.ok_or(Reason::Records("one is missing"))
    }
}

/// The funding as it is stored.
#[derive(Serialize, Deserialize)]
struct FundingRecord {
    #[serde(with = "encoding::consensus")]
    tx: Transaction,
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    fee: Amount,
}

/// What all sign together, as it is stored.
#[derive(Serialize, Deserialize)]
struct JointRecord {
    /// What the members have in the end; nothing for the allocation.
    #[serde(with = "encoding::amounts")]
    balances: Arc<[Amount]>,
    /// The witnesses, if the party holds them.
    witnesses: Option<Vec<WireWitness>>,
}

impl Stake {
    /// The record under `key`, as it is now; `None` if there is nothing to store.
    pub(super) fn record(&self, key: Key) -> Option<Vec<u8>> {
        let witnesses = |held: &[Arc<Complete>]| {
            let witnesses = held.iter().map(|complete| WireWitness(complete.witness().clone()));
            (!held.is_empty()).then(|| witnesses.collect())
        };
        Some(match key {
            // Its bytes are there already: with many parties in one process, to make them anew for each would dominate.
            Key::Factory => [&[RECORD_VERSION], self.factory.encoded()].concat(),
            Key::Funding => {
                let funding = self.funding.as_ref()?;
                let (tx, fee) = (Transaction::clone(funding.transaction()), funding.fee());
                encoding::to_versioned(RECORD_VERSION, &FundingRecord { tx, fee })
            }
            Key::Core => encoding::to_versioned(RECORD_VERSION, &self.core),
            Key::Joint(Joint::Allocation) => {
                let witnesses = witnesses(self.allocation.as_slice())?;
                let record = JointRecord { balances: Arc::default(), witnesses: Some(witnesses) };
                encoding::to_versioned(RECORD_VERSION, &record)
            }
            Key::Joint(Joint::FactoryClose) => {
                let balances = self.close.as_ref()?.balances().clone();
                let record = JointRecord { balances, witnesses: witnesses(&self.rungs) };
                encoding::to_versioned(RECORD_VERSION, &record)
            }
            Key::Channel(member) => encoding::to_versioned(RECORD_VERSION, self.end(member)?.data()),
        })
    }

    /// All that there is to store.
    pub(super) fn snapshot(&self) -> Snapshot {
        let joint = [Joint::Allocation, Joint::FactoryClose].map(Key::Joint);
        let channels = self.ends.iter().map(|end| Key::Channel(end.member()));
        let keys = [Key::Factory, Key::Funding, Key::Core].into_iter().chain(joint).chain(channels);
        Snapshot(keys.filter_map(|key| Some((key, self.record(key)?))).collect())
    }

    /// What a party had when it stored `snapshot`; `None` if it had stored nothing.
    pub(super) fn restore(
        me: Party,
        factory_key: &PublicKey,
        keys: (Keypair, ScriptBuf),
        snapshot: &Snapshot,
    ) -> Result<Option<Self>, Reason> {
        let Some(factory) = snapshot.read::<Factory>(Key::Factory)? else { return Ok(None) };
        let factory = Arc::new(factory);
        // The first time it is stored last of all, before anything is sent: without it nothing has happened yet.
        let begun = snapshot.get(Key::Core).is_some() || snapshot.0.keys().any(|key| matches!(key, Key::Joint(_)));
        if !begun {
            return Ok(None);
        }
        let core: Core = snapshot.need(Key::Core)?;
        if core.me != me {
            return Err(Reason::Records("they are another party's"));
        }
        if !core.is_of(&factory) {
            return Err(Reason::Records("a refund is not of the factory"));
        }
        let members = match me {
            Party::Operator => 0..factory.terms().members().len() as u32,
            Party::Member(member) => member..member + 1,
        };
        let public = (*factory_key, keys.0.public_key());
        let in_factory = match me {
            Party::Operator => Some((factory.terms().operator().factory, factory.terms().operator().channel)),
            Party::Member(member) => {
                let terms = factory.terms().members().get(member as usize);
                terms.map(|terms| (terms.public.factory, terms.public.channel))
            }
        };
        if in_factory != Some(public) {
            return Err(Reason::Records("the keys are not this party's in the factory"));
        }
        let end = |member| ChannelEnd::restore(me, member, &factory, snapshot.need::<Data>(Key::Channel(member))?);
        let ends = members.map(end).collect::<Result<_, _>>()?;
        let mut stake = Stake::new(me, factory.clone(), keys, ends, core);
        if let Some(FundingRecord { tx, fee }) = snapshot.read(Key::Funding)? {
            if tx.compute_txid() != factory.outpoint().txid {
                return Err(Reason::Records("the funding is not the factory's"));
            }
            stake.funding = Some(Arc::new(Complete::new(tx, fee)));
        }
        if let Some(record) = snapshot.read::<JointRecord>(Key::Joint(Joint::Allocation))? {
            let witnesses = record.witnesses.ok_or(Reason::Records("the allocation has no witness"))?;
            stake.allocation = Task::allocation(&factory).complete(&witnesses)?.pop();
        }
        if let Some(record) = snapshot.read::<JointRecord>(Key::Joint(Joint::FactoryClose))? {
            let close = Arc::new(FactoryClose::new(&factory, record.balances)?);
            if let Some(witnesses) = record.witnesses {
                stake.rungs = Task::factory_close(&factory, &close).complete(&witnesses)?;
            }
            stake.close = Some(close);
        }
        stake.catch_up();
        Ok(Some(stake))
    }

    /// Moves to the phase that follows from the other records, where a crash came before that was stored.
    fn catch_up(&mut self) {
        let is_operator = self.me == Party::Operator;
        let all = |is: fn(&ChannelEnd) -> bool| self.ends.iter().all(is);
        let refunds = if is_operator { all(ChannelEnd::is_acknowledged) } else { all(|end| end.agreed().is_some()) };
        let closes =
            if is_operator { all(ChannelEnd::is_close_acknowledged) } else { all(|end| end.close().is_some()) };
        let reached = [
            (refunds, Phase::SigningAllocation),
            // The operator funds only once all others hold the allocation, too.
            (!is_operator && self.allocation.is_some(), Phase::Funding),
            (all(ChannelEnd::is_live), Phase::Live),
            (self.ends.iter().any(ChannelEnd::is_frozen), Phase::SigningCloses),
            (closes, Phase::ClosesSigned),
            (is_operator && self.close.is_some(), Phase::SigningFactoryClose),
            (!self.rungs.is_empty(), Phase::FactoryCloseSigned),
        ];
        for (_, phase) in reached.into_iter().filter(|(reached, _)| *reached) {
            self.advance(phase);
        }
    }
}
