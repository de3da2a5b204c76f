//! Scripts that check a signature of every key: a tapscript leaf (BIP 342), or a witness script (BIP 141).

use bitcoin::hashes::{Hash as _, HashEngine as _};
use bitcoin::opcodes::all::{OP_CHECKMULTISIG, OP_CHECKSIG, OP_CHECKSIGVERIFY};
use bitcoin::sighash::{EcdsaSighashType, Prevouts, SighashCache, TapSighashType};
use bitcoin::taproot::LeafVersion;
use bitcoin::{ScriptBuf, TapLeafHash, TapTweakHash, Transaction, TxOut, Witness};
use secp256k1::{Message, Parity, PublicKey, Scalar, XOnlyPublicKey, ecdsa, schnorr};

use super::share::{AnyShare, LowS};
use super::{LockError, LockKind, ShareError};
use crate::keys::taproot_script;

/// The point H of BIP 341, whose discrete logarithm nobody knows.
const UNSPENDABLE_KEY: [u8; 32] = [
    0x50, 0x92, 0x9b, 0x74, 0xc1, 0xa0, 0x49, 0x54, 0xb7, 0x8b, 0x4b, 0x60, 0x35, 0xe9, 0x7a, 0x5e, 0x07, 0x8a, 0x5a,
    0x0f, 0x28, 0xec, 0x96, 0xd5, 0x47, 0xbf, 0xee, 0x9a, 0xce, 0x80, 0x3a, 0xc0,
];

/// The internal key of outputs without a key path: the point H of BIP 341, whose discrete logarithm nobody knows.
pub(crate) fn unspendable_key() -> XOnlyPublicKey {
    XOnlyPublicKey::from_byte_array(UNSPENDABLE_KEY).expect("H is a point of the curve")
}

/// A script that every key must sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScriptLock {
    /// Sorted. A key that was given twice is in it twice.
    keys: Vec<PublicKey>,
    script: ScriptBuf,
    script_pubkey: ScriptBuf,
    spend: Spend,
}

/// How the script is spent.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Spend {
    Tapscript { leaf: TapLeafHash, control: [u8; 33] },
    Wsh,
}

impl ScriptLock {
    /// One leaf `<k1> OP_CHECKSIGVERIFY … <kn> OP_CHECKSIG` of sorted `keys`, without a key path.
    pub(super) fn tapscript(keys: &[&PublicKey]) -> Result<Self, LockError> {
        let mut builder = ScriptBuf::builder();
        for (i, key) in keys.iter().enumerate() {
            let check = if i + 1 == keys.len() { OP_CHECKSIG } else { OP_CHECKSIGVERIFY };
            builder = builder.push_slice(key.x_only_public_key().0.to_byte_array()).push_opcode(check);
        }
        let script = builder.into_script();
        let leaf = TapLeafHash::from_script(&script, LeafVersion::TapScript);
        let (output_key, control) = single_leaf(&unspendable_key(), leaf).ok_or(LockError::Tweak)?;
        let script_pubkey = taproot_script(&output_key);
        let keys = keys.iter().map(|key| **key).collect();
        Ok(ScriptLock { keys, script, script_pubkey, spend: Spend::Tapscript { leaf, control } })
    }

    /// `OP_n <keys> OP_n OP_CHECKMULTISIG` of sorted `keys`, behind its hash. There must be at most 20.
    pub(super) fn wsh(keys: &[&PublicKey]) -> Self {
        let number = keys.len() as i64;
        let builder = ScriptBuf::builder().push_int(number);
        let builder = keys.iter().fold(builder, |builder, key| builder.push_slice(key.serialize()));
        let script = builder.push_int(number).push_opcode(OP_CHECKMULTISIG).into_script();
        let script_pubkey = script.to_p2wsh();
        ScriptLock { keys: keys.iter().map(|key| **key).collect(), script, script_pubkey, spend: Spend::Wsh }
    }

    pub(super) fn kind(&self) -> LockKind {
        match self.spend {
            Spend::Tapscript { .. } => LockKind::Tapscript,
            Spend::Wsh => LockKind::Wsh,
        }
    }

    pub(super) fn signers(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn script_pubkey(&self) -> ScriptBuf {
        self.script_pubkey.clone()
    }

    #[cfg(test)]
    pub(super) fn script(&self) -> &ScriptBuf {
        &self.script
    }

    #[cfg(test)]
    pub(super) fn control(&self) -> Option<&[u8]> {
        match &self.spend {
            Spend::Tapscript { control, .. } => Some(control),
            Spend::Wsh => None,
        }
    }

    /// BIP 341 and 342 for a leaf, BIP 143 for a witness script.
    pub(super) fn sighash(&self, tx: &Transaction, spent: &TxOut) -> [u8; 32] {
        let mut cache = SighashCache::new(tx);
        match self.spend {
            Spend::Tapscript { leaf, .. } => cache
                .taproot_script_spend_signature_hash(0, &Prevouts::All(&[spent]), leaf, TapSighashType::Default)
                .expect("there is one input, and the default type needs no matching output")
                .to_byte_array(),
            Spend::Wsh => cache
                .p2wsh_signature_hash(0, &self.script, spent.value, EcdsaSighashType::All)
                .expect("there is an input")
                .to_byte_array(),
        }
    }

    pub(super) fn verify_share(&self, message: &[u8; 32], key: &PublicKey, share: &AnyShare) -> bool {
        self.keys.binary_search(key).is_ok() && self.signed(message, key, share)
    }

    /// Whether `share` is `key`'s signature, of the right kind.
    fn signed(&self, message: &[u8; 32], key: &PublicKey, share: &AnyShare) -> bool {
        match (&self.spend, share) {
            (Spend::Tapscript { .. }, AnyShare::Schnorr(signature)) => {
                schnorr::verify(signature, message, &key.x_only_public_key().0).is_ok()
            }
            (Spend::Wsh, AnyShare::Ecdsa(signature)) => {
                ecdsa::verify(signature.get(), Message::from_digest(*message), key).is_ok()
            }
            _ => false,
        }
    }

    /// Puts one signature per key, in the order of the keys, next to the script.
    pub(super) fn assemble<'a>(
        &self,
        shares: impl IntoIterator<Item = (&'a PublicKey, &'a AnyShare)>,
    ) -> Result<Witness, ShareError> {
        let mut items: Vec<Option<Vec<u8>>> = vec![None; self.keys.len()];
        for (key, share) in shares {
            let item = self.item(share).ok_or(ShareError::WrongKind { kind: self.kind() })?;
            let first = self.keys.partition_point(|other| other < key);
            let last = self.keys.partition_point(|other| other <= key);
            let slots = &mut items[first..last];
            if slots.is_empty() {
                return Err(ShareError::NotASigner { key: *key });
            }
            // A key that is in the lock twice signs twice.
            let slot = slots.iter_mut().find(|slot| slot.is_none()).ok_or(ShareError::Double { key: *key })?;
            *slot = Some(item);
        }
        let found = items.iter().flatten().count();
        if found != self.keys.len() {
            return Err(ShareError::Missing { found, expected: self.keys.len() });
        }
        let signatures = items.iter().flatten();
        let mut witness = Witness::new();
        match &self.spend {
            Spend::Tapscript { control, .. } => {
                // The first key takes its signature from the top of the stack.
                signatures.rev().for_each(|signature| witness.push(signature));
                witness.push(&self.script);
                witness.push(control);
            }
            Spend::Wsh => {
                // `OP_CHECKMULTISIG` takes one item more than it needs, which must be empty (BIP 147).
                witness.push([]);
                signatures.for_each(|signature| witness.push(signature));
                witness.push(&self.script);
            }
        }
        Ok(witness)
    }

    /// The witness item of a share, with its sighash type if that is not the default; `None` if it is of another kind.
    fn item(&self, share: &AnyShare) -> Option<Vec<u8>> {
        match (&self.spend, share) {
            (Spend::Tapscript { .. }, AnyShare::Schnorr(signature)) => Some(signature.to_byte_array().to_vec()),
            (Spend::Wsh, AnyShare::Ecdsa(signature)) => {
                let mut item = signature.get().serialize_der().to_vec();
                item.push(self.kind().sighash_type());
                Some(item)
            }
            _ => None,
        }
    }

    /// The share that a witness item is, if the item is exactly what [`ScriptLock::item`] makes of it.
    fn share(&self, item: &[u8]) -> Option<AnyShare> {
        let share = match self.spend {
            Spend::Tapscript { .. } => AnyShare::Schnorr(schnorr::Signature::from_byte_array(item.try_into().ok()?)),
            Spend::Wsh => {
                let (_, der) = item.split_last()?;
                AnyShare::Ecdsa(LowS::try_from(ecdsa::Signature::from_der(der).ok()?).ok()?)
            }
        };
        // The comparison leaves no room for another sighash type or a longer encoding of the same numbers.
        (self.item(&share)? == item).then_some(share)
    }

    pub(super) fn verify(&self, message: &[u8; 32], witness: &Witness) -> bool {
        let signers = self.keys.len();
        if witness.len() != signers + 2 {
            return false;
        }
        // Where the key of this position has its signature, and what else there is.
        let form = match &self.spend {
            Spend::Tapscript { control, .. } => {
                witness.nth(signers) == Some(self.script.as_bytes()) && witness.nth(signers + 1) == Some(control)
            }
            Spend::Wsh => witness.nth(0) == Some(&[]) && witness.nth(signers + 1) == Some(self.script.as_bytes()),
        };
        let position = |i: usize| match self.spend {
            Spend::Tapscript { .. } => signers - 1 - i,
            Spend::Wsh => 1 + i,
        };
        form && self.keys.iter().enumerate().all(|(i, key)| {
            let share = witness.nth(position(i)).and_then(|item| self.share(item));
            share.is_some_and(|share| self.signed(message, key, &share))
        })
    }
}

/// The output key of a tree whose only leaf is `leaf`, and the control block that spends it (BIP 341). `None` if the
/// tweak is not a valid scalar.
pub(super) fn single_leaf(internal: &XOnlyPublicKey, leaf: TapLeafHash) -> Option<(XOnlyPublicKey, [u8; 33])> {
    // The root of a tree of one leaf is the leaf's hash.
    let mut engine = TapTweakHash::engine();
    engine.input(&internal.to_byte_array());
    engine.input(leaf.as_byte_array());
    let tweak = Scalar::from_be_bytes(TapTweakHash::from_engine(engine).to_byte_array()).ok()?;
    let (output_key, parity) = internal.add_tweak(&tweak).ok()?;
    let mut control = [0; 33];
    control[0] = LeafVersion::TapScript.to_consensus() | u8::from(parity == Parity::Odd);
    control[1..].copy_from_slice(&internal.to_byte_array());
    Some((output_key, control))
}
