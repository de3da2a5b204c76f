//! The blocks that every run starts from. The harness mines them itself, so that they are the same for every node kind:
//! nodes of different kinds can be linked from the first moment.

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::constants::genesis_block;
use bitcoin::hashes::Hash as _;
use bitcoin::opcodes::OP_0;
use bitcoin::params::Params;
use bitcoin::script::Builder;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut,
    Witness, transaction,
};

/// How many blocks are mined. All but the last 99 rewards can be spent in the next block.
pub(super) const BLOCKS: u64 = 200;
/// The time from which blocks are counted, in seconds since 1970. All runs begin in the same simulated moment.
const START_TIME: u64 = 1_767_225_600;
/// The time between blocks, in seconds.
pub const BLOCK_INTERVAL: u64 = 600;
/// After so many blocks the reward is halved on regtest.
const HALVING_INTERVAL: u64 = 150;
/// The lowest difficulty of regtest, which all its blocks have.
const BITS: u32 = 0x207f_ffff;

/// The blocks from height 1 on. Their rewards go to `reward_to`.
pub(super) fn first_blocks(reward_to: &ScriptBuf) -> Vec<Block> {
    let mut blocks = Vec::with_capacity(BLOCKS as usize);
    let mut previous = genesis_block(Params::REGTEST).header;
    for height in 1..=BLOCKS {
        let block = mine(&previous, height, reward_to);
        previous = block.header;
        blocks.push(block);
    }
    blocks
}

/// The time of the block at `height`, in seconds since 1970.
pub(super) fn time_at(height: u64) -> u64 {
    START_TIME + height * BLOCK_INTERVAL
}

fn mine(previous: &Header, height: u64, reward_to: &ScriptBuf) -> Block {
    let coinbase = coinbase(height, reward_to);
    // The root of a tree of one is that one.
    let root = TxMerkleNode::from_byte_array(coinbase.compute_txid().to_byte_array());
    let time = u32::try_from(time_at(height)).expect("simulated time begins in 2026");
    Block { header: header(previous.block_hash(), root, time), txdata: vec![coinbase] }
}

/// The header of a block, mined.
pub(crate) fn header(previous: BlockHash, merkle_root: TxMerkleNode, time: u32) -> Header {
    let header = Header {
        version: Version::from_consensus(0x2000_0000),
        prev_blockhash: previous,
        merkle_root,
        time,
        bits: CompactTarget::from_consensus(BITS),
        nonce: 0,
    };
    // Always the lowest number that does it, so that the chain is always the same.
    (0..=u32::MAX)
        .map(|nonce| Header { nonce, ..header })
        .find(|header| header.validate_pow(header.target()).is_ok())
        .expect("every other header meets the target of regtest")
}

fn coinbase(height: u64, reward_to: &ScriptBuf) -> Transaction {
    let height_number = i64::try_from(height).expect("the first blocks are few");
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            // The height comes first (BIP 34). A second item, because one of a single byte is shorter than consensus
            // allows.
            script_sig: Builder::new().push_int(height_number).push_opcode(OP_0).into_script(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output: vec![TxOut { value: subsidy(height), script_pubkey: reward_to.clone() }],
    }
}

/// The reward of the block at `height`.
pub(crate) fn subsidy(height: u64) -> Amount {
    Amount::from_sat(Amount::from_int_btc(50).to_sat() >> (height / HALVING_INTERVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blocks_are_a_chain_and_always_the_same() {
        let blocks = first_blocks(&ScriptBuf::new());
        assert_eq!(blocks.len() as u64, BLOCKS);
        let mut previous = genesis_block(Params::REGTEST).block_hash();
        for (block, height) in blocks.iter().zip(1..) {
            assert_eq!(block.header.prev_blockhash, previous);
            // The crate does not read the opcodes of the small numbers.
            assert!(height <= 16 || block.bip34_block_height() == Ok(height), "{height}");
            assert!(block.check_merkle_root());
            previous = block.block_hash();
        }
        assert_eq!(blocks, first_blocks(&ScriptBuf::new()));
    }

    #[test]
    fn the_reward_is_halved_every_150_blocks() {
        let rewards = [1, 149, 150, 299, 300].map(|height| subsidy(height).to_sat());
        assert_eq!(rewards, [5_000_000_000, 5_000_000_000, 2_500_000_000, 2_500_000_000, 1_250_000_000]);
    }
}
