//! Why the ledger does not do what it is asked.

use bitcoin::opcodes::Opcode;
use bitcoin::{Amount, OutPoint, Txid};

/// Returned when a transaction is not taken, into the mempool or into a block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Returned when it is in a block already.
    #[error("transaction {txid} is confirmed already, in block {height}")]
    AlreadyConfirmed {
        /// The transaction.
        txid: Txid,
        /// The height of its block.
        height: u32,
    },
    /// Returned when it is in the mempool with another witness, as Core does.
    #[error("transaction {txid} is in the mempool already, with another witness")]
    OtherWitness {
        /// The transaction.
        txid: Txid,
    },
    /// Returned when it has no input or no output.
    #[error("the transaction has {inputs} inputs and {outputs} outputs, expected at least one of each")]
    Empty {
        /// Number of its inputs.
        inputs: usize,
        /// Number of its outputs.
        outputs: usize,
    },
    /// Returned when two of its inputs spend the same output.
    #[error("the transaction spends {outpoint} twice")]
    DuplicateInput {
        /// The output.
        outpoint: OutPoint,
    },
    /// Returned when nobody created what it spends.
    #[error("input {input} spends {outpoint}, which is not there")]
    MissingInput {
        /// Index of the input.
        input: usize,
        /// What it spends.
        outpoint: OutPoint,
    },
    /// Returned when a confirmed transaction spends the same.
    #[error("input {input} spends {outpoint}, which confirmed transaction {by} has spent")]
    SpentInput {
        /// Index of the input.
        input: usize,
        /// What it spends.
        outpoint: OutPoint,
        /// The transaction that spent it.
        by: Txid,
    },
    /// Returned when a relative lock by height has not passed (BIP 68).
    #[error("the relative lock of input {input} ends at height {expected}; the next block is {found}")]
    Immature {
        /// Index of the input.
        input: usize,
        /// Height of the next block.
        found: u32,
        /// The first height at which the input may be spent.
        expected: u32,
    },
    /// Returned when it has a relative or absolute lock by time: there is no clock here.
    #[error("locks by time are not supported here, expected locks by height")]
    TimeLock,
    /// Returned when its absolute lock has not passed (`nLockTime`, a height).
    #[error("the absolute lock is height {expected}, which must be below the next block's, {found}")]
    NotFinal {
        /// Height of the next block.
        found: u32,
        /// Its `nLockTime`.
        expected: u32,
    },
    /// Returned when an input does not satisfy the output that it spends.
    #[error("bad witness of input {input}: {why}")]
    BadWitness {
        /// Index of the input.
        input: usize,
        /// What is wrong with it.
        #[source]
        why: WitnessError,
    },
    /// Returned when it pays more than it spends.
    #[error("the outputs sum up to {found} sat, more than the {expected} sat of the inputs")]
    ValueCreated {
        /// Sum of the outputs, in satoshis: more than an `Amount` can hold, perhaps.
        found: u128,
        /// Sum of the inputs, in satoshis.
        expected: u128,
    },
    /// Returned when an output is dust at 3 sat/vB (policy).
    #[error("output {output} is dust: {found}, expected at least {expected}")]
    Dust {
        /// Index of the output.
        output: usize,
        /// Its value.
        found: Amount,
        /// The least value that its script may have.
        expected: Amount,
    },
    /// Returned when it pays less than the minimum feerate (policy).
    #[error("the fee is {found}, expected at least {needed}")]
    FeeTooLow {
        /// The fee that the minimum feerate asks for.
        needed: Amount,
        /// Its fee.
        found: Amount,
    },
    /// Returned when it conflicts with a transaction of the mempool that does not signal replaceability, nor does any
    /// unconfirmed ancestor of that (BIP 125, rule 1).
    #[error("it conflicts with transaction {conflict}, which does not signal that it may be replaced")]
    NotReplaceable {
        /// The transaction in the mempool.
        conflict: Txid,
    },
    /// Returned when it spends an output of a transaction that it would replace.
    #[error("it spends an output of transaction {conflict}, which it would replace")]
    SpendsReplaced {
        /// The transaction in the mempool.
        conflict: Txid,
    },
    /// Returned when it does not pay enough to replace what it conflicts with: all their fees and its own relay
    /// (BIP 125, rules 3 and 4), and a feerate strictly above that of each direct conflict.
    #[error("the fee is {found}, expected at least {needed} to replace what it conflicts with")]
    ReplacementFee {
        /// The least fee that would be enough.
        needed: Amount,
        /// Its fee.
        found: Amount,
    },
}

/// Returned when a witness does not satisfy the output that is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WitnessError {
    /// Returned when the output is neither pay-to-taproot nor pay-to-witness-script-hash.
    #[error("outputs of this type can be created here, but not spent: expected P2TR or P2WSH")]
    OutputType,
    /// Returned when the input has a `scriptSig`.
    #[error("the script_sig has {found} bytes, expected none")]
    ScriptSig {
        /// Its length.
        found: usize,
    },
    /// Returned when there is no witness.
    #[error("the witness is empty")]
    Empty,
    /// Returned when the witness has an annex (BIP 341), which is nonstandard.
    #[error("the witness has an annex, which has no meaning here")]
    Annex,
    /// Returned when a signature has the wrong length or is not strict DER.
    #[error("a signature of {found} bytes is not well-formed")]
    SignatureEncoding {
        /// Its length.
        found: usize,
    },
    /// Returned when a signature has an unknown sighash type, or one that needs an output which is not there.
    #[error("sighash type {found:#04x} is not valid here")]
    SighashType {
        /// The type's byte.
        found: u8,
    },
    /// Returned when a public key is not valid, or not of the kind that the script's version asks for.
    #[error("a public key of {found} bytes is not valid")]
    Key {
        /// Its length.
        found: usize,
    },
    /// Returned when a signature is not the key's.
    #[error("the signature is not valid for its key")]
    Signature,
    /// Returned when the control block has a length that BIP 341 does not allow.
    #[error("the control block has {found} bytes, expected 33 + 32k up to k = 128")]
    ControlBlock {
        /// Its length.
        found: usize,
    },
    /// Returned when the leaf is not a tapscript (BIP 342).
    #[error("leaf version {found:#04x} is not known here, expected 0xc0")]
    LeafVersion {
        /// The version.
        found: u8,
    },
    /// Returned when the output does not commit to the script.
    #[error("the output does not commit to this script")]
    Commitment,
    /// Returned when the script has an opcode that the interpreter does not have.
    #[error("opcode {opcode} is not known here")]
    Opcode {
        /// The opcode.
        opcode: Opcode,
    },
    /// Returned when a push goes beyond the end of the script.
    #[error("the script ends within a push")]
    Truncated,
    /// Returned when an opcode needs more elements than there are.
    #[error("the stack has too few elements")]
    Underflow,
    /// Returned when a limit of BIP 141 or BIP 342 is exceeded.
    #[error("{what}: {found}, expected at most {limit}")]
    Limit {
        /// What is limited.
        what: &'static str,
        /// How much there is.
        found: usize,
        /// How much there may be.
        limit: usize,
    },
    /// Returned when a number is too long, not minimal, or out of range.
    #[error("an element of {found} bytes is not a number that may be here")]
    Number {
        /// Its length.
        found: usize,
    },
    /// Returned when an opcode that must find something true does not.
    #[error("{opcode} fails")]
    Verify {
        /// The opcode.
        opcode: Opcode,
    },
    /// Returned when the first element of a multisig is not empty (BIP 147).
    #[error("the extra element of OP_CHECKMULTISIG has {found} bytes, expected none")]
    NullDummy {
        /// Its length.
        found: usize,
    },
    /// Returned when an absolute lock in the script has not passed (BIP 65).
    #[error("OP_CHECKLOCKTIMEVERIFY asks for nLockTime {expected} or later and an input that is not final")]
    LockTime {
        /// What the script asks for: a height.
        expected: i64,
    },
    /// Returned when a relative lock in the script has not passed (BIP 112).
    #[error("OP_CHECKSEQUENCEVERIFY asks for a relative lock of {expected} or more blocks")]
    Sequence {
        /// What the script asks for: a number of blocks.
        expected: i64,
    },
    /// Returned when a lock in the script is by time.
    #[error("locks by time are not supported here, expected locks by height")]
    TimeLock,
    /// Returned when an `OP_IF` has no end, or an end has no `OP_IF`.
    #[error("OP_IF and OP_ENDIF do not match")]
    Unbalanced,
    /// Returned when the script does not leave exactly one true element.
    #[error("the script leaves {found} elements, expected exactly one, and that true")]
    NotTrue {
        /// Number of elements.
        found: usize,
    },
}

/// Returned when more blocks are to be taken away than were mined here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot take {found} blocks away, expected at most the {most} that were mined here")]
pub struct ReorgError {
    /// How many blocks were to go.
    pub found: u32,
    /// How many there are.
    pub most: u32,
}
