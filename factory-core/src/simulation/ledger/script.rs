//! Whether the witnesses of a transaction satisfy the outputs that it spends.

use bitcoin::hashes::{Hash as _, HashEngine as _, sha256};
use bitcoin::script::Script;
use bitcoin::sighash::{EcdsaSighashType, Prevouts, SighashCache, TapSighashType};
use bitcoin::taproot::LeafVersion;
use bitcoin::{Amount, TapLeafHash, TapNodeHash, TapTweakHash, Transaction, TxOut};
use secp256k1::{Message, Parity, PublicKey, Scalar, XOnlyPublicKey, ecdsa, schnorr};

use super::interpreter::{self, MAX_ELEMENT};
use super::refusal::WitnessError;

/// The largest script of a pay-to-witness-script-hash output, in bytes (BIP 141).
const MAX_WITNESS_SCRIPT: usize = 10_000;
const ANNEX_TAG: u8 = 0x50;

/// Verifies every input of `tx`, given the outputs that they spend, in their order.
///
/// # Errors
///
/// The index of the first input that fails, and why it does.
pub(super) fn verify(tx: &Transaction, spent: &[&TxOut]) -> Result<(), (usize, WitnessError)> {
    // One cache for all inputs and all keys of a script: what their sighashes share is hashed once.
    let mut cache = SighashCache::new(tx);
    (0..tx.input.len().min(spent.len()))
        .try_for_each(|input| verify_input(&mut cache, tx, spent, input).map_err(|why| (input, why)))
}

fn verify_input<'a>(
    cache: &mut SighashCache<&'a Transaction>,
    tx: &'a Transaction,
    spent: &[&TxOut],
    input: usize,
) -> Result<(), WitnessError> {
    let script_pubkey = &spent[input].script_pubkey;
    let program = if script_pubkey.is_p2tr() || script_pubkey.is_p2wsh() {
        <[u8; 32]>::try_from(&script_pubkey.as_bytes()[2..]).map_err(|_| WitnessError::OutputType)?
    } else {
        return Err(WitnessError::OutputType);
    };
    let txin = &tx.input[input];
    if !txin.script_sig.is_empty() {
        return Err(WitnessError::ScriptSig { found: txin.script_sig.len() });
    }
    let mut elements: Vec<&[u8]> = txin.witness.iter().collect();
    let last = elements.pop().ok_or(WitnessError::Empty)?;
    let mut checker = Checker { cache, tx, spent, input, version: Version::KeyPath };
    if script_pubkey.is_p2wsh() {
        if sha256::Hash::hash(last).to_byte_array() != program {
            return Err(WitnessError::Commitment);
        }
        interpreter::limit("bytes of the witness script", last.len(), MAX_WITNESS_SCRIPT)?;
        let script = Script::from_bytes(last);
        checker.version = Version::V0 { script, value: spent[input].value };
        return interpreter::run(script, stack(&elements)?, &mut checker);
    }
    if elements.is_empty() {
        return match checker.schnorr(last, &program)? {
            true => Ok(()),
            false => Err(WitnessError::SignatureEncoding { found: 0 }),
        };
    }
    if last.first() == Some(&ANNEX_TAG) {
        return Err(WitnessError::Annex);
    }
    let script = Script::from_bytes(elements.pop().ok_or(WitnessError::Empty)?);
    let leaf = committed_leaf(&program, last, script)?;
    checker.version = Version::Tapscript { leaf };
    interpreter::run(script, stack(&elements)?, &mut checker)
}

/// The first elements of a witness, as the stack that a script finds.
fn stack(elements: &[&[u8]]) -> Result<Vec<Vec<u8>>, WitnessError> {
    let longest = elements.iter().map(|element| element.len()).max().unwrap_or(0);
    interpreter::limit("bytes of a stack element", longest, MAX_ELEMENT)?;
    Ok(elements.iter().map(|element| element.to_vec()).collect())
}

/// The hash of the leaf `script`, if the output key commits to it by the control block (BIP 341).
fn committed_leaf(output_key: &[u8; 32], control: &[u8], script: &Script) -> Result<TapLeafHash, WitnessError> {
    let malformed = WitnessError::ControlBlock { found: control.len() };
    let (head, path) = control.split_at_checked(33).ok_or(malformed)?;
    let (path, rest) = path.as_chunks::<32>();
    if !rest.is_empty() || path.len() > 128 {
        return Err(malformed);
    }
    let version = head[0] & 0xfe;
    if version != LeafVersion::TapScript.to_consensus() {
        return Err(WitnessError::LeafVersion { found: version });
    }
    let leaf = TapLeafHash::from_script(script, LeafVersion::TapScript);
    let root = path.iter().fold(TapNodeHash::from(leaf), |node, sibling| {
        TapNodeHash::from_node_hashes(node, TapNodeHash::from_byte_array(*sibling))
    });
    let internal = x_only(&head[1..])?;
    let mut engine = TapTweakHash::engine();
    engine.input(&internal.to_byte_array());
    engine.input(root.as_byte_array());
    let tweak = TapTweakHash::from_engine(engine).to_byte_array();
    let parity = if head[0] & 1 == 1 { Parity::Odd } else { Parity::Even };
    match Scalar::from_be_bytes(tweak).ok().and_then(|tweak| internal.add_tweak(&tweak).ok()) {
        Some((key, found)) if key.to_byte_array() == *output_key && found == parity => Ok(leaf),
        _ => Err(WitnessError::Commitment),
    }
}

fn x_only(bytes: &[u8]) -> Result<XOnlyPublicKey, WitnessError> {
    let invalid = WitnessError::Key { found: bytes.len() };
    let bytes = <&[u8; 32]>::try_from(bytes).map_err(|_| invalid)?;
    XOnlyPublicKey::from_byte_array(*bytes).map_err(|_| invalid)
}

/// How the signatures of one input are made.
#[derive(Clone, Copy, Debug)]
pub(super) enum Version<'a> {
    /// Schnorr signatures over the transaction (BIP 341).
    KeyPath,
    /// Schnorr signatures that commit to the leaf, too (BIP 342). The budget of BIP 342 needs no counting: a check costs
    /// 50, and no opcode that is known here copies a signature, so each has brought its own 65 bytes of witness.
    Tapscript { leaf: TapLeafHash },
    /// ECDSA signatures (BIP 143).
    V0 { script: &'a Script, value: Amount },
}

/// Checks signatures and locks for one input.
#[derive(Debug)]
pub(super) struct Checker<'a, 'c> {
    cache: &'c mut SighashCache<&'a Transaction>,
    tx: &'a Transaction,
    spent: &'c [&'c TxOut],
    input: usize,
    version: Version<'a>,
}

impl Checker<'_, '_> {
    pub(super) fn is_tapscript(&self) -> bool {
        matches!(self.version, Version::Tapscript { .. })
    }

    /// `OP_CHECKSIG`: true if the signature is the key's, false if it is empty.
    ///
    /// # Errors
    ///
    /// [`WitnessError`] otherwise: a signature that fails must be empty (BIP 342; BIP 146 before).
    pub(super) fn signature(&mut self, signature: &[u8], key: &[u8]) -> Result<bool, WitnessError> {
        match self.version {
            Version::V0 { .. } => match self.ecdsa(signature, key)? {
                false if !signature.is_empty() => Err(WitnessError::Signature),
                valid => Ok(valid),
            },
            // Keys of other lengths are valid for soft forks to come: not here.
            _ => match <&[u8; 32]>::try_from(key) {
                Ok(key) => self.schnorr(signature, key),
                Err(_) => Err(WitnessError::Key { found: key.len() }),
            },
        }
    }

    fn schnorr(&mut self, signature: &[u8], key: &[u8; 32]) -> Result<bool, WitnessError> {
        if signature.is_empty() {
            return Ok(false);
        }
        let key = x_only(key)?;
        let malformed = WitnessError::SignatureEncoding { found: signature.len() };
        let (bytes, sighash_type) = signature.split_first_chunk::<64>().ok_or(malformed)?;
        let (sighash_type, byte) = match *sighash_type {
            [] => (TapSighashType::Default, 0),
            [byte] => match TapSighashType::from_consensus_u8(byte) {
                // The default type is said by leaving it out: saying it would make signatures malleable (BIP 341).
                Ok(TapSighashType::Default) | Err(_) => return Err(WitnessError::SighashType { found: byte }),
                Ok(sighash_type) => (sighash_type, byte),
            },
            _ => return Err(malformed),
        };
        let leaf = match self.version {
            // No code separator is known here: its position is always "none".
            Version::Tapscript { leaf } => Some((leaf, u32::MAX)),
            _ => None,
        };
        let sighash = self
            .cache
            .taproot_signature_hash(self.input, &Prevouts::All(self.spent), None, leaf, sighash_type)
            .map_err(|_| WitnessError::SighashType { found: byte })?;
        let signature = schnorr::Signature::from_byte_array(*bytes);
        match schnorr::verify(&signature, sighash.as_byte_array(), &key) {
            Ok(()) => Ok(true),
            Err(_) => Err(WitnessError::Signature),
        }
    }

    /// Whether the signature, strict DER with a low S and its sighash type, is the key's.
    pub(super) fn ecdsa(&mut self, signature: &[u8], key: &[u8]) -> Result<bool, WitnessError> {
        let Version::V0 { script, value } = self.version else { return Err(WitnessError::Signature) };
        let compressed = <&[u8; 33]>::try_from(key).ok();
        let key = compressed
            .and_then(|key| PublicKey::from_byte_array_compressed(*key).ok())
            .ok_or(WitnessError::Key { found: key.len() })?;
        let Some((&byte, der)) = signature.split_last() else { return Ok(false) };
        let malformed = WitnessError::SignatureEncoding { found: signature.len() };
        let parsed = ecdsa::Signature::from_der(der).map_err(|_| malformed)?;
        let mut low = parsed;
        low.normalize_s();
        if low != parsed || parsed.serialize_der()[..] != *der {
            return Err(malformed);
        }
        let sighash_type =
            EcdsaSighashType::from_standard(byte.into()).map_err(|_| WitnessError::SighashType { found: byte })?;
        let sighash = self
            .cache
            .p2wsh_signature_hash(self.input, script, value, sighash_type)
            .map_err(|_| WitnessError::SighashType { found: byte })?;
        Ok(ecdsa::verify(&parsed, Message::from_digest(sighash.to_byte_array()), &key).is_ok())
    }

    /// `OP_CHECKLOCKTIMEVERIFY` (BIP 65).
    pub(super) fn lock_time(&self, lock: i64) -> Result<(), WitnessError> {
        use bitcoin::absolute::LOCK_TIME_THRESHOLD;
        let tx_lock = self.tx.lock_time.to_consensus_u32();
        if lock >= LOCK_TIME_THRESHOLD.into() || tx_lock >= LOCK_TIME_THRESHOLD {
            return Err(WitnessError::TimeLock);
        }
        match lock <= tx_lock.into() && !self.tx.input[self.input].sequence.is_final() {
            true => Ok(()),
            false => Err(WitnessError::LockTime { expected: lock }),
        }
    }

    /// `OP_CHECKSEQUENCEVERIFY` (BIP 112).
    pub(super) fn sequence(&self, lock: i64) -> Result<(), WitnessError> {
        let (disabled, by_time) = (1 << 31, 1 << 22);
        if lock & disabled != 0 {
            return Ok(());
        }
        let sequence = i64::from(self.tx.input[self.input].sequence.to_consensus_u32());
        if lock & by_time != 0 {
            return Err(WitnessError::TimeLock);
        }
        let blocks = lock & 0xffff;
        let applies = super::has_relative_locks(self.tx) && sequence & (disabled | by_time) == 0;
        match applies && blocks <= sequence & 0xffff {
            true => Ok(()),
            false => Err(WitnessError::Sequence { expected: blocks }),
        }
    }
}
