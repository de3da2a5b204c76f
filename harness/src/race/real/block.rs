//! Blocks that are put together by hand, out of any transactions, on any other block.

use bitcoin::hashes::Hash as _;
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::{
    Amount, Block, BlockHash, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut, WPubkeyHash,
    Witness, WitnessMerkleNode, absolute, transaction,
};

use crate::node::snapshot::header;

/// What begins the script of the output that commits to the witnesses, after `OP_RETURN` (BIP 141).
const COMMITMENT: [u8; 4] = [0xaa, 0x21, 0xa9, 0xed];
/// The value that the coinbase's own witness holds.
const RESERVED: [u8; 32] = [0; 32];

/// What a block is to be, beside its transactions.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The block before it.
    pub(super) previous: BlockHash,
    /// Its height.
    pub(super) height: u64,
    /// Its time, in seconds since 1970.
    pub(super) time: u64,
    /// What tells its coinbase from every other one.
    pub(super) number: u64,
    /// Who gets the reward.
    pub(super) reward_to: ScriptBuf,
    /// How much that is.
    pub(super) reward: Amount,
}

/// The block with these transactions, parents before children. `None`, if its time is past what a header can say.
pub(super) fn build(plan: Plan, transactions: impl IntoIterator<Item = Transaction>) -> Option<Block> {
    let Plan { previous, height, time, number, reward_to, reward } = plan;
    let (height, time) = (i64::try_from(height).ok()?, u32::try_from(time).ok()?);
    let coinbase = Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            // The height comes first (BIP 34).
            script_sig: Builder::new().push_int(height).push_slice(number.to_le_bytes()).into_script(),
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[RESERVED]),
        }],
        output: vec![TxOut { value: reward, script_pubkey: reward_to }],
    };
    let unmined = header(previous, TxMerkleNode::all_zeros(), time);
    let mut block = Block { header: unmined, txdata: [coinbase].into_iter().chain(transactions).collect() };
    let witnesses = block.witness_root()?;
    block.txdata[0].output.push(commitment(&witnesses));
    block.header = header(previous, block.compute_merkle_root()?, time);
    Some(block)
}

/// The script that pays to a miner. Nobody has its key.
pub(super) fn miner_script(miner: usize) -> ScriptBuf {
    let mut hash = [0xff; 20];
    hash[..8].copy_from_slice(&(miner as u64).to_le_bytes());
    ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array(hash))
}

fn commitment(witnesses: &WitnessMerkleNode) -> TxOut {
    let hash = Block::compute_witness_commitment(witnesses, &RESERVED);
    let mut data = PushBytesBuf::from(COMMITMENT);
    data.extend_from_slice(hash.as_ref()).expect("36 bytes can be pushed");
    TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::new_op_return(data) }
}
