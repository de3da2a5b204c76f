//! The first blocks as each node program keeps them: taken in once, so that every run starts from them at once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::{Address, Amount, BlockHash, Network, OutPoint, Txid};
use factory_core::Wallet;
use factory_core::tx::funding::Coin;
use serde::{Deserialize, Serialize};

pub use super::first_blocks::BLOCK_INTERVAL;
use super::first_blocks::{BLOCKS, first_blocks, time_at};
pub(crate) use super::first_blocks::{header, subsidy};
use super::process::{Node, NodeConfig, StartError, StopError};
use super::rpc::{BlockSubmission, RpcError};
use crate::seed;

/// The height of the last of the first blocks.
pub const HEIGHT: u64 = BLOCKS;
/// The rewards of the last so many blocks cannot be spent yet (`COINBASE_MATURITY`, less the block to come).
const IMMATURE: usize = 99;
/// To be raised when a snapshot that was made before no longer serves.
const FORMAT: u32 = 2;

/// A chain in a node's data directory, to be copied.
#[derive(Clone, Debug)]
pub struct Snapshot {
    dir: PathBuf,
    facts: Facts,
}

/// What the chain holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Facts {
    height: u64,
    tip: BlockHash,
    time: u64,
    rewards: Vec<Reward>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Reward {
    txid: Txid,
    sat: u64,
}

/// Returned when a snapshot can be neither found nor made.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Returned when a file or folder cannot be read or written.
    #[error("the pre-mined chain in {}: {source}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Returned when the node that is given the blocks does not start.
    #[error("preparing the chain that runs start from: {0}")]
    Start(#[from] StartError),
    /// Returned when the node does not answer.
    #[error("preparing the chain that runs start from: {0}")]
    Rpc(#[from] RpcError),
    /// Returned when the node does not take a block.
    #[error("the pre-mined block {height}: {} says {answer:?}, expected it to be taken", .program.display())]
    Refused {
        /// The node's program.
        program: PathBuf,
        /// The block's height.
        height: u64,
        /// The node's judgement.
        answer: BlockSubmission,
    },
    /// Returned when the node does not write what it was given.
    #[error("preparing the chain that runs start from: {0}")]
    Stop(#[from] StopError),
}

impl Snapshot {
    /// The chain for `program`. It is prepared if it is not in the cache yet; whoever else wants it meanwhile waits.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`], if it can be neither found nor made.
    pub async fn of(program: &Path, cache: &Path, ports: &Path) -> Result<Snapshot, SnapshotError> {
        let folder = cache.join("snapshots");
        let dir = folder.join(key(program).map_err(at(program))?);
        if let Some(found) = Snapshot::read(&dir)? {
            return Ok(found);
        }
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        let lock_path = dir.with_extension("lock");
        let lock = fs::File::create(&lock_path).map_err(at(&lock_path))?;
        let locked = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await;
        let _lock = locked.unwrap_or_else(|join| Err(io::Error::other(join))).map_err(at(&lock_path))?;
        if let Some(found) = Snapshot::read(&dir)? {
            return Ok(found);
        }
        let prefix = format!(".mining-{}-", dir.file_name().unwrap_or_default().display());
        for path in entries(&folder)? {
            // Left by a miner that was killed: the lock is ours.
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)) {
                fs::remove_dir_all(&path).map_err(at(&path))?;
            }
        }
        let staging = tempfile::Builder::new().prefix(&prefix).tempdir_in(&folder).map_err(at(&folder))?;
        let facts = mine(program, staging.path(), ports).await?;
        let mined = staging.path().join("mined");
        copy_chain(&staging.path().join("data"), &mined).map_err(at(&mined))?;
        trim(&mined.join("regtest").join("blocks")).map_err(at(&mined))?;
        let facts_path = mined.join("snapshot.json");
        let text = serde_json::to_string_pretty(&facts).map_err(|error| at(&facts_path)(error.into()))?;
        fs::write(&facts_path, text).map_err(at(&facts_path))?;
        fs::rename(&mined, &dir).map_err(at(&dir))?;
        Ok(Snapshot { dir, facts })
    }

    /// Copies the chain into a node's data directory.
    ///
    /// # Errors
    ///
    /// If a file cannot be copied.
    pub fn copy_to(&self, datadir: &Path) -> io::Result<()> {
        copy_chain(&self.dir, datadir)
    }

    /// The height of its tip.
    pub fn height(&self) -> u64 {
        self.facts.height
    }

    /// The hash of its tip.
    pub fn tip(&self) -> BlockHash {
        self.facts.tip
    }

    /// The time of its tip, in seconds since 1970.
    pub fn time(&self) -> u64 {
        self.facts.time
    }

    /// The rewards that can be spent in the next block, with [`faucet`]'s key.
    pub fn coins(&self) -> Vec<Coin> {
        let mature = self.facts.rewards.len().saturating_sub(IMMATURE);
        let coin =
            |reward: &Reward| Coin { outpoint: OutPoint::new(reward.txid, 0), value: Amount::from_sat(reward.sat) };
        self.facts.rewards[..mature].iter().map(coin).collect()
    }

    fn read(dir: &Path) -> Result<Option<Snapshot>, SnapshotError> {
        let path = dir.join("snapshot.json");
        match fs::read(&path) {
            Ok(text) => {
                let facts = serde_json::from_slice(&text).map_err(|error| at(&path)(error.into()))?;
                Ok(Some(Snapshot { dir: dir.to_owned(), facts }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&path)(error)),
        }
    }
}

/// Removes every snapshot from the cache. Returns how many bytes that frees.
///
/// # Errors
///
/// [`SnapshotError`], if one cannot be removed.
pub fn clean(cache: &Path) -> Result<u64, SnapshotError> {
    let folder = cache.join("snapshots");
    let mut bytes = 0;
    for path in entries(&folder)? {
        if path.extension().is_some_and(|extension| extension == "lock") {
            // Whoever mines this one finishes first. The lock file stays, so that everybody locks the same.
            let _lock = fs::File::open(&path).and_then(|lock| lock.lock().map(|()| lock)).map_err(at(&path))?;
            let dir = path.with_extension("");
            if dir.exists() {
                bytes += size(&dir).map_err(at(&dir))?;
                fs::remove_dir_all(&dir).map_err(at(&dir))?;
            }
        }
    }
    Ok(bytes)
}

/// The entries of a folder; none if it is not there.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, SnapshotError> {
    match fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        result => result.map_err(at(folder)),
    }
}

fn size(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { size(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

/// What can be spent of the first blocks' rewards in the next block.
pub fn spendable() -> Amount {
    (1..=BLOCKS - IMMATURE as u64).map(subsidy).sum()
}

/// The wallet that mined every snapshot. Its key is no secret: whoever runs a regtest chain can mine.
pub fn faucet() -> Wallet {
    Wallet::generate(&mut seed::stream(0, "faucet"))
}

/// Gives the blocks to a node of `program`, which writes them in its own way.
async fn mine(program: &Path, dir: &Path, ports: &Path) -> Result<Facts, SnapshotError> {
    let config = NodeConfig {
        name: "keeper of the first blocks".to_owned(),
        program: program.to_owned(),
        dir: dir.to_owned(),
        ports: ports.to_owned(),
        args: Vec::new(),
        time: time_at(BLOCKS),
        listen: false,
    };
    let node = Node::start(&config).await?;
    let mut rewards = Vec::new();
    for (block, height) in first_blocks(faucet().script_pubkey()).iter().zip(1..) {
        match node.rpc().submit_block(block).await? {
            BlockSubmission::Accepted => {}
            answer => return Err(SnapshotError::Refused { program: program.to_owned(), height, answer }),
        }
        let coinbase = &block.txdata[0];
        rewards.push(Reward { txid: coinbase.compute_txid(), sat: coinbase.output[0].value.to_sat() });
    }
    let chain = node.rpc().chain().await?;
    node.stop().await?;
    Ok(Facts { height: chain.blocks, tip: chain.tip, time: chain.time, rewards })
}

/// The regtest address that pays to a wallet.
pub fn address(wallet: &Wallet) -> Address {
    Address::from_script(wallet.script_pubkey(), Network::Regtest).expect("a pay-to-taproot script has an address")
}

/// What tells one program's snapshot from another's: the program file as it is now.
fn key(program: &Path) -> io::Result<String> {
    let path = fs::canonicalize(program)?;
    let facts = fs::metadata(&path)?;
    let text = format!("{FORMAT} {} {} {:?}", path.display(), facts.len(), facts.modified()?);
    Ok(sha256::Hash::hash(text.as_bytes()).to_string()[..16].to_owned())
}

/// Copies what a node knows of the chain, and nothing else of its data directory.
fn copy_chain(from: &Path, to: &Path) -> io::Result<()> {
    for folder in ["blocks", "chainstate"] {
        copy_folder(&from.join("regtest").join(folder), &to.join("regtest").join(folder))?;
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Cuts off the zeros that a node lays out ahead in its block files (16 MiB at a time), so that copies are small. A node
/// lays them out again when it needs them.
fn trim(blocks: &Path) -> io::Result<()> {
    for entry in fs::read_dir(blocks)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_some_and(|extension| extension == "dat") && name != "xor.dat" {
            let content = fs::read(&path)?;
            let used = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            // The last block itself may end in zeros.
            let kept = content.len().min(used + 4096);
            fs::File::options().write(true).open(&path)?.set_len(kept as u64)?;
        }
    }
    Ok(())
}

fn at(path: &Path) -> impl Fn(io::Error) -> SnapshotError {
    move |source| SnapshotError::Io { path: path.to_owned(), source }
}
