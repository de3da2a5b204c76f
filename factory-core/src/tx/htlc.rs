//! HTLCs on chain: the outputs of a refund that hold them, and the transactions that claim those.
//!
//! An HTLC output is pay-to-taproot with two leaves and no key path (its internal key is the point of BIP 341 whose
//! discrete logarithm nobody knows): one for its recipient, with the preimage, and one for its offerer, after the expiry.

use std::sync::LazyLock;

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash as _;
use bitcoin::opcodes::all::{OP_CHECKSIG, OP_CLTV, OP_DROP, OP_EQUALVERIFY, OP_SHA256, OP_SIZE};
use bitcoin::secp256k1::{Secp256k1, VerifyOnly};
use bitcoin::sighash::{Prevouts, SighashCache};
use bitcoin::taproot::{LeafVersion, TapLeafHash, TaprootBuilder, TaprootSpendInfo};
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxIn, TxOut, Witness};
use secp256k1::{Keypair, PublicKey};

use super::{Complete, LOCK_TIME, SEQUENCE, size};
use crate::channel::Htlc;
use crate::factory::Factory;
use crate::fee;
use crate::lock::unspendable_key;
use crate::name::Party;

/// Items, signature, preimage, success script, control block with one sibling; each after its length.
const SUCCESS_WITNESS: usize = 1 + 65 + 33 + (1 + 73) + (1 + 65);

/// Tables for the arithmetic of `bitcoin`'s own curve library, which are dear to make.
static CURVE: LazyLock<Secp256k1<VerifyOnly>> = LazyLock::new(Secp256k1::verification_only);

/// The weight of a transaction that claims an HTLC with its preimage. The other claim is never heavier.
pub fn success_weight() -> bitcoin::Weight {
    size::claim(SUCCESS_WITNESS)
}

/// The scripts of one HTLC output.
#[derive(Clone, Debug)]
pub struct Scripts {
    success: ScriptBuf,
    timeout: ScriptBuf,
    spend_info: TaprootSpendInfo,
}

/// How an HTLC is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim<'a> {
    /// By its recipient, with the preimage of its hash.
    Success(&'a [u8; 32]),
    /// By its offerer, once its expiry has passed.
    Timeout,
}

impl Scripts {
    /// The scripts of `htlc` in `member`'s channel, which must be one of the factory's.
    pub fn new(factory: &Factory, member: u32, htlc: &Htlc) -> Self {
        let terms = factory.terms();
        let (operator, member) = (&terms.operator().channel, &terms.members()[member as usize].public.channel);
        let (offerer, recipient) = match htlc.offerer {
            Party::Operator => (operator, member),
            Party::Member(_) => (member, operator),
        };
        let key = |key: &PublicKey| key.x_only_public_key().0.to_byte_array();
        let success = ScriptBuf::builder()
            .push_opcode(OP_SIZE)
            .push_int(32)
            .push_opcode(OP_EQUALVERIFY)
            .push_opcode(OP_SHA256)
            .push_slice(htlc.hash)
            .push_opcode(OP_EQUALVERIFY)
            .push_slice(key(recipient))
            .push_opcode(OP_CHECKSIG)
            .into_script();
        let timeout = ScriptBuf::builder()
            .push_int(i64::from(htlc.expiry))
            .push_opcode(OP_CLTV)
            .push_opcode(OP_DROP)
            .push_slice(key(offerer))
            .push_opcode(OP_CHECKSIG)
            .into_script();
        let internal = bitcoin::XOnlyPublicKey::from_slice(&unspendable_key().to_byte_array())
            .expect("a valid key is valid in both libraries");
        let spend_info = TaprootBuilder::new()
            .add_leaf(1, success.clone())
            .and_then(|builder| builder.add_leaf(1, timeout.clone()))
            .expect("two leaves fit at depth 1")
            .finalize(&*CURVE, internal)
            .expect("two leaves at depth 1 make a whole tree");
        Scripts { success, timeout, spend_info }
    }

    /// The script of the output.
    pub fn script_pubkey(&self) -> ScriptBuf {
        ScriptBuf::new_p2tr_tweaked(self.spend_info.output_key())
    }
}

/// Claims `htlc`, which lies at `outpoint` in `member`'s channel, to `payout`. `key` is the channel key of who claims.
/// `None` if what is left after the fee would be dust, which the rules of channels rule out.
pub fn claim(
    factory: &Factory,
    member: u32,
    htlc: &Htlc,
    outpoint: OutPoint,
    by: Claim<'_>,
    key: &Keypair,
    payout: &ScriptBuf,
) -> Option<Complete> {
    let offer = factory.terms().offer();
    let scripts = Scripts::new(factory, member, htlc);
    let (script, lock_time) = match by {
        Claim::Success(_) => (&scripts.success, LOCK_TIME),
        Claim::Timeout => (&scripts.timeout, LockTime::from_height(htlc.expiry).ok()?),
    };
    let control = scripts.spend_info.control_block(&(script.clone(), LeafVersion::TapScript))?.serialize();
    let witness = |signature: &[u8]| match by {
        Claim::Success(preimage) => Witness::from_slice(&[signature, preimage, script.as_bytes(), &control]),
        Claim::Timeout => Witness::from_slice(&[signature, script.as_bytes(), &control]),
    };
    let fee = fee(offer.feerate, size::claim(witness(&[0; 64]).size()).to_vbytes_ceil())?;
    let value = htlc.amount.checked_sub(fee).filter(|value| *value >= crate::DUST_LIMIT)?;
    let input =
        TxIn { previous_output: outpoint, script_sig: ScriptBuf::new(), sequence: SEQUENCE, witness: Witness::new() };
    let mut tx = Transaction {
        version: offer.version.to_bitcoin(),
        lock_time,
        input: vec![input],
        output: vec![TxOut { value, script_pubkey: payout.clone() }],
    };
    let spent = TxOut { value: htlc.amount, script_pubkey: scripts.script_pubkey() };
    let leaf = TapLeafHash::from_script(script, LeafVersion::TapScript);
    let sighash = SighashCache::new(&tx)
        .taproot_script_spend_signature_hash(0, &Prevouts::All(&[spent]), leaf, bitcoin::TapSighashType::Default)
        .expect("there is one spent output per input, and the default type needs no matching output")
        .to_byte_array();
    tx.input[0].witness = witness(&key.sign_schnorr_no_aux_rand(&sighash).to_byte_array());
    Some(Complete::new(tx, fee))
}

/// What an HTLC is worth to who claims it with the preimage, after the fee; `None` if that would be dust.
pub fn worth(feerate: bitcoin::FeeRate, amount: Amount) -> Option<Amount> {
    let fee = fee(feerate, success_weight().to_vbytes_ceil())?;
    amount.checked_sub(fee).filter(|value| *value >= crate::DUST_LIMIT)
}

/// The preimage that a transaction shows where it claims `htlc` at `outpoint`, if it does.
pub fn preimage_in(tx: &Transaction, outpoint: OutPoint, htlc: &Htlc) -> Option<[u8; 32]> {
    let input = tx.input.iter().find(|input| input.previous_output == outpoint)?;
    let preimage: [u8; 32] = input.witness.nth(1)?.try_into().ok()?;
    htlc.is_preimage(&preimage).then_some(preimage)
}
