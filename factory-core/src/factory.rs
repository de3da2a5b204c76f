//! A factory: agreed terms, bound to the funding output that will hold the money.

use std::fmt;

use bitcoin::hashes::{Hash as _, HashEngine as _, sha256};
use bitcoin::{OutPoint, ScriptBuf, Transaction, TxOut};
use secp256k1::PublicKey;

use crate::terms::{Terms, TxVersion};
use crate::tx::funding::FACTORY_VOUT;
use crate::tx::{Unsigned, allocation};

/// Names one factory: a tagged hash (BIP 340) of its terms and its funding outpoint. Every message carries it, so that
/// no signature can be meant for another factory.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

/// Terms, bound to a funding that pays to them. It is a function of its arguments, so parties of one process may share
/// it without trusting each other; a party across a wire would get the terms and the funding's witness-free
/// transaction, and build it anew.
#[derive(Debug)]
pub struct Factory {
    terms: Terms,
    outpoint: OutPoint,
    digest: Digest,
    allocation: Unsigned,
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
        let outpoint = OutPoint::new(funding.compute_txid(), FACTORY_VOUT);
        let digest = Digest::of(&terms, outpoint);
        let allocation = allocation::build(&terms, outpoint);
        Ok(Factory { terms, outpoint, digest, allocation })
    }

    /// What was agreed.
    pub fn terms(&self) -> &Terms {
        &self.terms
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

    /// The channel output of a member, or `None` if there is no such member.
    pub fn channel_output(&self, member: u32) -> Option<(OutPoint, &TxOut)> {
        let output = self.allocation.transaction().output.get(member as usize)?;
        Some((OutPoint::new(self.allocation.txid(), member), output))
    }
}

impl Digest {
    fn of(terms: &Terms, outpoint: OutPoint) -> Self {
        let tag = sha256::Hash::hash(b"shopfloor/factory");
        let mut engine = sha256::Hash::engine();
        let mut put = |bytes: &[u8]| engine.input(bytes);
        put(tag.as_byte_array());
        put(tag.as_byte_array());
        put(outpoint.txid.as_byte_array());
        put(&outpoint.vout.to_le_bytes());
        let offer = terms.offer();
        put(&[match offer.version {
            TxVersion::Two => 2,
            TxVersion::Three => 3,
        }]);
        put(&offer.feerate.to_sat_per_kwu().to_le_bytes());
        put(&offer.confirmations.to_le_bytes());
        let mut party = |factory: &PublicKey, channel: &PublicKey, payout: &ScriptBuf| {
            put(&factory.serialize());
            put(&channel.serialize());
            // Pay-to-taproot scripts all have the same length, so no length needs to go before them.
            put(payout.as_bytes());
        };
        party(&terms.operator().factory, &terms.operator().channel, &terms.operator().payout);
        for member in terms.members() {
            party(&member.public.factory, &member.public.channel, &member.public.payout);
        }
        for member in terms.members() {
            engine.input(&member.capacity.to_sat().to_le_bytes());
        }
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
