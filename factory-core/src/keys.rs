//! The parties' keys, and the one place where `secp256k1` and `bitcoin` meet.
//!
//! Signing uses `secp256k1`'s MuSig2 module, which is newer than the version inside `bitcoin`. The two share no types:
//! what crosses between them does so here, as bytes that are valid on both sides.

use bitcoin::hashes::Hash as _;
use bitcoin::opcodes::all::OP_PUSHNUM_1;
use bitcoin::{ScriptBuf, TapTweakHash, Witness};
use rand_core::CryptoRng;
use secp256k1::{Keypair, PublicKey, Scalar, XOnlyPublicKey, schnorr};
use serde::{Deserialize, Serialize};

/// The operator's secret keys.
#[derive(Clone, Debug)]
pub struct OperatorKeys {
    /// Signs for the operator in the n-of-n of the factory output.
    pub factory: Keypair,
    /// Signs for the operator in the 2-of-2 of every channel.
    pub channel: Keypair,
    /// Where the operator's final balance goes: a pay-to-taproot script.
    pub payout: ScriptBuf,
}

/// A member's secret keys.
#[derive(Clone, Debug)]
pub struct MemberKeys {
    /// Signs for the member in the n-of-n of the factory output.
    pub factory: Keypair,
    /// Signs for the member in the 2-of-2 of its channel.
    pub channel: Keypair,
    /// Where the member's final balance goes: a pay-to-taproot script.
    pub payout: ScriptBuf,
}

/// What the others know of the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorPublic {
    /// Its key in the n-of-n.
    pub factory: PublicKey,
    /// Its key in every channel.
    pub channel: PublicKey,
    /// Where its final balance goes.
    pub payout: ScriptBuf,
}

/// What the others know of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberPublic {
    /// Its key in the n-of-n.
    pub factory: PublicKey,
    /// Its key in its channel.
    pub channel: PublicKey,
    /// Where its final balance goes.
    pub payout: ScriptBuf,
}

impl OperatorKeys {
    /// Fresh keys from `rng`, that pay out to `payout`.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized), payout: ScriptBuf) -> Self {
        OperatorKeys { factory: keypair(rng), channel: keypair(rng), payout }
    }

    /// The public half.
    pub fn public(&self) -> OperatorPublic {
        OperatorPublic {
            factory: self.factory.public_key(),
            channel: self.channel.public_key(),
            payout: self.payout.clone(),
        }
    }
}

impl MemberKeys {
    /// Fresh keys from `rng`, that pay out to `payout`.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized), payout: ScriptBuf) -> Self {
        MemberKeys { factory: keypair(rng), channel: keypair(rng), payout }
    }

    /// The public half.
    pub fn public(&self) -> MemberPublic {
        MemberPublic {
            factory: self.factory.public_key(),
            channel: self.channel.public_key(),
            payout: self.payout.clone(),
        }
    }
}

/// One key with its pay-to-taproot output: a BIP 86 key path, without a script path.
///
/// The operator funds the factory from one; parties receive their final balances with one.
#[derive(Clone, Debug)]
pub struct Wallet {
    tweaked: Keypair,
    script_pubkey: ScriptBuf,
}

impl Wallet {
    /// A wallet with a fresh key from `rng`.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        loop {
            let internal = keypair(rng);
            // A tweak outside the group order has a chance of about 2^-128: such a key is simply not used.
            let tweak = key_path_tweak(&internal.x_only_public_key().0);
            if let Some(tweaked) = tweak.and_then(|tweak| internal.add_xonly_tweak(&tweak).ok()) {
                let script_pubkey = taproot_script(&tweaked.x_only_public_key().0);
                return Wallet { tweaked, script_pubkey };
            }
        }
    }

    /// The script that pays to this wallet.
    pub fn script_pubkey(&self) -> &ScriptBuf {
        &self.script_pubkey
    }

    /// Signs a taproot key path sighash.
    pub(crate) fn sign(&self, sighash: &[u8; 32]) -> schnorr::Signature {
        self.tweaked.sign_schnorr_no_aux_rand(sighash)
    }
}

/// A key pair from `rng`. Bytes that are no valid secret (chance about 2^-128) are drawn again.
fn keypair(rng: &mut (impl CryptoRng + ?Sized)) -> Keypair {
    loop {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        if let Ok(keypair) = Keypair::from_secret_bytes(bytes) {
            return keypair;
        }
    }
}

/// The tweak of a taproot output without a script path (BIP 341; BIP 86 for single keys).
pub(crate) fn key_path_tweak(internal: &XOnlyPublicKey) -> Option<Scalar> {
    Scalar::from_be_bytes(TapTweakHash::hash(&internal.to_byte_array()).to_byte_array()).ok()
}

/// The script that pays to an output key that is tweaked already.
pub(crate) fn taproot_script(output_key: &XOnlyPublicKey) -> ScriptBuf {
    ScriptBuf::builder().push_opcode(OP_PUSHNUM_1).push_slice(output_key.to_byte_array()).into_script()
}

/// The witness of a key path spend with the default sighash type: the bare 64 bytes.
pub(crate) fn key_path_witness(signature: &schnorr::Signature) -> Witness {
    Witness::from_slice(&[signature.to_byte_array()])
}
