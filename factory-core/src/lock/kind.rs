//! The ways to build an n-of-n, and what each costs.

use std::fmt;
use std::str::FromStr;

use bitcoin::Weight;

/// The most elements that a script's stack may hold (`MAX_STACK_SIZE` of Bitcoin Core; BIP 342 keeps it).
const MAX_STACK_SIZE: usize = 1000;
/// The most keys of one `OP_CHECKMULTISIG` (`MAX_PUBKEYS_PER_MULTISIG` of Bitcoin Core).
const MAX_PUBKEYS_PER_MULTISIG: usize = 20;

/// How an n-of-n is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockKind {
    /// `musig2`: one aggregated key behind a taproot key path (BIP 327, BIP 86). One signature, whatever the number of
    /// keys.
    #[default]
    MuSig2,
    /// `tapscript`: one leaf that checks a signature of every key (BIP 342), without a key path.
    Tapscript,
    /// `wsh`: an `OP_CHECKMULTISIG` behind a witness script hash (BIP 141), as it could be built before taproot.
    Wsh,
}

/// Returned when a text names no kind of lock.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no kind of lock: expected musig2, tapscript or wsh")]
pub struct LockKindError(String);

impl fmt::Display for LockKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            LockKind::MuSig2 => "musig2",
            LockKind::Tapscript => "tapscript",
            LockKind::Wsh => "wsh",
        })
    }
}

impl FromStr for LockKind {
    type Err = LockKindError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "musig2" => Ok(LockKind::MuSig2),
            "tapscript" => Ok(LockKind::Tapscript),
            "wsh" => Ok(LockKind::Wsh),
            _ => Err(LockKindError(text.to_owned())),
        }
    }
}

impl LockKind {
    /// The weight of the witness that spends a lock of this kind with `signers` keys, in weight units: the item count
    /// and every item with its length prefix, without the two bytes of segwit marker and flag.
    ///
    /// Exact for MuSig2 and tapscript. For [`LockKind::Wsh`] an upper bound, with 72 bytes per signature (71 bytes of
    /// DER with a low S, and the sighash type): about half of all signatures are one byte shorter.
    pub const fn witness_weight(self, signers: usize) -> Weight {
        let bytes = match self {
            LockKind::MuSig2 => 1 + sized(64),
            LockKind::Tapscript => {
                // A key with its push opcode, and the opcode that checks it.
                let script = signers * (33 + 1);
                compact_size(signers + 2) + signers * sized(64) + sized(script) + sized(33)
            }
            LockKind::Wsh => {
                // Sixteen is the last number with an opcode of its own; from seventeen on it is pushed.
                let number = if signers <= 16 { 1 } else { 2 };
                let script = number + signers * 34 + number + 1;
                compact_size(signers + 2) + sized(0) + signers * sized(72) + sized(script)
            }
        };
        Weight::from_wu(bytes as u64)
    }

    /// The most keys that a lock of this kind can have; `None` if there is no limit.
    ///
    /// For tapscript the stack must hold every signature and the first key next to them.
    pub const fn max_signers(self) -> Option<usize> {
        match self {
            LockKind::MuSig2 => None,
            LockKind::Tapscript => Some(MAX_STACK_SIZE - 1),
            LockKind::Wsh => Some(MAX_PUBKEYS_PER_MULTISIG),
        }
    }

    /// The number of the sighash type that the signers agree on: 0, the default of BIP 341, or 1, all.
    pub const fn sighash_type(self) -> u8 {
        match self {
            LockKind::MuSig2 | LockKind::Tapscript => 0,
            LockKind::Wsh => 1,
        }
    }
}

/// The bytes of an item of `len` bytes with its length prefix.
const fn sized(len: usize) -> usize {
    compact_size(len) + len
}

/// The bytes of `number` as Bitcoin's compact size.
const fn compact_size(number: usize) -> usize {
    match number {
        0..=0xfc => 1,
        0xfd..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}
