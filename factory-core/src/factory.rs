//! A factory: agreed terms, bound to the funding output that will hold the money.

use std::fmt;
use std::sync::OnceLock;

use bitcoin::hashes::{Hash as _, HashEngine as _, sha256};
use bitcoin::{OutPoint, Transaction, TxOut, Witness};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::channel::CloseError;
use crate::encoding;
use crate::keys::OperatorPublic;
use crate::lock::Lock;
use crate::terms::{MemberTerms, Offer, Terms};
use crate::tx::funding::FACTORY_VOUT;
use crate::tx::{Unsigned, allocation};

/// Names one factory: a tagged hash (BIP 340) of its terms and its funding. Every message carries it, so that no
/// signature can be meant for another factory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest([u8; 32]);

/// Terms, bound to a funding that pays to them. It is a function of its arguments, so parties of one process may share
/// it without trusting each other; a party across a wire gets the terms and the funding, and builds it anew.
#[derive(Debug)]
pub struct Factory {
    terms: Terms,
    funding: Transaction,
    outpoint: OutPoint,
    digest: Digest,
    allocation: Unsigned,
    encoded: OnceLock<Vec<u8>>,
}

/// One channel of a factory, as the allocation creates it.
#[derive(Clone, Copy, Debug)]
pub struct ChannelOutput<'a> {
    /// The member's part of the terms.
    pub terms: &'a MemberTerms,
    /// The 2-of-2 that guards it.
    pub lock: &'a Lock,
    /// Where it is, once the allocation is confirmed.
    pub outpoint: OutPoint,
    /// The output.
    pub output: &'a TxOut,
}

/// Returned when a funding does not pay to the factory that the terms describe: the allocation could never spend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("output {FACTORY_VOUT} of the funding: expected {}, found {}", describe(Some(.expected)), describe(.found.as_ref()))]
pub struct FundingMismatch {
    /// The factory output.
    pub expected: TxOut,
    /// What is in its place.
    pub found: Option<TxOut>,
}

fn describe(output: Option<&TxOut>) -> String {
    output.map_or("nothing".to_owned(), |output| format!("{} to {:x}", output.value, output.script_pubkey))
}

/// What a factory is a function of.
#[derive(Serialize)]
struct Parts<'a> {
    offer: &'a Offer,
    operator: &'a OperatorPublic,
    members: &'a [MemberTerms],
    #[serde(with = "encoding::consensus")]
    funding: &'a Transaction,
}

#[derive(Deserialize)]
struct OwnedParts {
    offer: Offer,
    operator: OperatorPublic,
    members: Vec<MemberTerms>,
    #[serde(with = "encoding::consensus")]
    funding: Transaction,
}

impl Factory {
    /// The factory that `funding` opens under `terms`. Witnesses do not matter, so the operator can keep them back.
    ///
    /// # Errors
    ///
    /// [`FundingMismatch`], if the funding does not pay to this factory.
    pub fn new(terms: Terms, funding: &Transaction) -> Result<Self, FundingMismatch> {
        let expected = terms.factory_output();
        let found = funding.output.get(FACTORY_VOUT as usize);
        if found != Some(&expected) {
            return Err(FundingMismatch { expected, found: found.cloned() });
        }
        let mut funding = funding.clone();
        for input in &mut funding.input {
            input.witness = Witness::new();
        }
        let outpoint = OutPoint::new(funding.compute_txid(), FACTORY_VOUT);
        let allocation = allocation::build(&terms, outpoint);
        let mut factory =
            Factory { terms, funding, outpoint, digest: Digest([0; 32]), allocation, encoded: OnceLock::new() };
        factory.digest = Digest::of(factory.encoded());
        Ok(factory)
    }

    /// What was agreed.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The funding, without its witnesses.
    pub fn funding(&self) -> &Transaction {
        &self.funding
    }

    /// Where the factory output is, or will be.
    pub fn outpoint(&self) -> OutPoint {
        self.outpoint
    }

    /// The name of this factory in messages.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The allocation, without its signature.
    pub fn allocation(&self) -> &Unsigned {
        &self.allocation
    }

    /// The channel of a member.
    ///
    /// # Errors
    ///
    /// [`CloseError::NoSuchMember`], if there is no such member.
    pub fn channel(&self, member: u32) -> Result<ChannelOutput<'_>, CloseError> {
        let index = member as usize;
        let members = self.terms.members();
        let terms = members.get(index).ok_or(CloseError::NoSuchMember { member, members: members.len() })?;
        Ok(ChannelOutput {
            terms,
            lock: &self.terms.channel_locks()[index],
            outpoint: OutPoint::new(self.allocation.txid(), member),
            output: &self.allocation.transaction().output[index],
        })
    }

    /// The factory as bytes, which are made only once.
    pub(crate) fn encoded(&self) -> &[u8] {
        self.encoded.get_or_init(|| encoding::to_bytes(&self.parts()))
    }

    fn parts(&self) -> Parts<'_> {
        Parts {
            offer: self.terms.offer(),
            operator: self.terms.operator(),
            members: self.terms.members(),
            funding: &self.funding,
        }
    }
}

impl Serialize for Factory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.parts().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Factory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let OwnedParts { offer, operator, members, funding } = OwnedParts::deserialize(deserializer)?;
        let terms = Terms::new(offer, operator, members).map_err(D::Error::custom)?;
        Factory::new(terms, &funding).map_err(D::Error::custom)
    }
}

impl Digest {
    fn of(encoded: &[u8]) -> Self {
        let tag = sha256::Hash::hash(b"shopfloor/factory");
        let mut engine = sha256::Hash::engine();
        engine.input(tag.as_byte_array());
        engine.input(tag.as_byte_array());
        engine.input(encoded);
        Digest(sha256::Hash::from_engine(engine).to_byte_array())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}
