//! The figures of Burchert, Decker and Wattenhofer beside this protocol's.
//!
//! *Scalable Funding of Bitcoin Micropayment Channel Networks* (SSS 2017; Royal Society Open Science 5: 180089, 2018) names
//! the part of the chain space that a group saves: 50 % for 3 parties with 3 channels, 90 % for 20 with 100, and 96 % for
//! these with Schnorr signatures that are aggregated.
//!
//! Our reading: space is counted in shares of parties. Every channel has two parties, so n channels have 2n shares; the
//! group takes one share for each of its p parties, whatever their channels. That gives 1 − p/(2n), which are the first
//! two figures exactly. It assumes that all parties put money into the group (its *hook* has an input of each), that nothing
//! fails, and that what a transaction has only once counts for nothing. For the third figure they name a cost of 8, which is
//! 4 % of the 200 shares of 100 channels: 0.4 of a share for each party. This factor is read off the figure, not derived.
//!
//! Beside them stand the same group and the same channels as transactions that are really signed: p P2TR inputs to one
//! p-of-p output, and p P2TR outputs of it; for each channel two P2TR inputs to one 2-of-2 output, and two P2TR outputs of
//! it; no change, no fee. Bitcoin has no aggregation across inputs, so with MuSig2 the hook still has p signatures.

use bitcoin::{Amount, FeeRate, OutPoint, TxOut};
use factory_core::tx::funding::Coin;
use factory_core::tx::{Complete, Unsigned, transfer};
use factory_core::{Lock, LockKind, MemberKeys, TxVersion, Wallet};
use rayon::prelude::*;
use secp256k1::Keypair;

use super::measure::{self, saved};
use super::report::{Published, Shape, Way};
use super::sign::{Cast, Unsound, confirm, mint, refs};
use crate::{seed, signing};

/// What each party puts into something.
const SHARE: Amount = Amount::from_sat(1_000_000);

/// What a group saves by the authors' counting, each party's share being so much.
pub(super) fn counted(parties: u32, channels: u32, share: f64) -> f64 {
    1.0 - share * f64::from(parties) / (2.0 * f64::from(channels))
}

/// What a single-funded factory with MuSig2 saves: F has 154 vB, FC 111 + 43·N (two more from 252 members on), and a
/// channel without a factory 154 to open and 154 to close.
pub(super) fn single_funded(members: u32) -> f64 {
    let long_count = if members >= 252 { 2.0 } else { 0.0 };
    1.0 - (265.0 + long_count + 43.0 * f64::from(members)) / (308.0 * f64::from(members))
}

/// All that is compared.
pub(super) fn all(seed: u64) -> Result<Vec<Published>, Unsound> {
    let group = |factory, [parties, channels]: [u32; 2], published, (formula, share), lock| {
        let [factory_vb, separate_vb] = group(parties, channels, lock, seed)?;
        Ok::<_, Unsound>(Published {
            factory,
            parties,
            channels,
            published: Some(published),
            formula,
            by_formula: counted(parties, channels, share),
            lock,
            factory_vb,
            separate_vb,
            signed: saved(factory_vb, separate_vb),
        })
    };
    let own = |members| {
        let shape = Shape { members, lock: LockKind::MuSig2, version: TxVersion::Two, feerate: FeeRate::BROADCAST_MIN };
        let factory = measure::factory(&Cast::new(shape, seed)?)?;
        let vb = |way| factory.way(way).map_or(0, |report| report.vb);
        let (factory_vb, separate_vb) = (vb(Way::Cooperative), vb(Way::Separate));
        Ok::<_, Unsound>(Published {
            factory: "single-funded, one channel for each member",
            parties: members + 1,
            channels: members,
            published: None,
            formula: "1 − (265 + 43n)/(308n)",
            by_formula: single_funded(members),
            lock: shape.lock,
            factory_vb,
            separate_vb,
            signed: saved(factory_vb, separate_vb),
        })
    };
    let (each, aggregated) = ("Burchert et al., a signature of each party", "Burchert et al., signatures aggregated");
    Ok(vec![
        group(each, [3, 3], 0.50, ("1 − p/(2n)", 1.0), LockKind::Wsh)?,
        group(each, [20, 100], 0.90, ("1 − p/(2n)", 1.0), LockKind::Wsh)?,
        group(aggregated, [20, 100], 0.96, ("1 − 0.4p/(2n)", 0.4), LockKind::MuSig2)?,
        own(19)?,
        own(100)?,
    ])
}

/// The sizes of a group of `parties` that has `channels`, opened and closed, and of the same channels without a group.
fn group(parties: u32, channels: u32, kind: LockKind, seed: u64) -> Result<[u64; 2], Unsound> {
    let stream = |what: &str| seed::stream(seed, &format!("fees/group/{kind}/{parties}/{channels}/{what}"));
    let mut random = stream("keys");
    let wallet = Wallet::generate(&mut random);
    let payout = wallet.script_pubkey();
    let everybody: Vec<_> = (0..parties).map(|_| MemberKeys::generate(&mut random, payout.clone())).collect();
    let share = TxOut { value: SHARE, script_pubkey: payout.clone() };

    let open = |coins: &[Coin], lock: &Lock| {
        let value = SHARE * coins.len() as u64;
        let coins: Vec<_> = coins.iter().map(|coin| (&wallet, coin.clone())).collect();
        let output = TxOut { value, script_pubkey: lock.script_pubkey().clone() };
        transfer::build(&coins, TxVersion::Two, vec![output])
    };
    let close = |opened: &Complete, lock: &Lock, keys: &[&Keypair], what: &str| {
        let coin = Coin { outpoint: OutPoint::new(opened.txid(), 0), value: SHARE * keys.len() as u64 };
        let unsigned = Unsigned::of_coin(TxVersion::Two, lock, &coin, vec![share.clone(); keys.len()])?;
        let witness = signing::witness(&mut stream(what), lock, keys, unsigned.sighash());
        Ok::<_, Unsound>(unsigned.complete(lock, witness)?)
    };
    let lock_of = |keys: &[&Keypair]| {
        let keys: Vec<_> = keys.iter().map(|key| key.public_key()).collect();
        Lock::new(kind, &keys).map_err(|error| Unsound::Defect(error.to_string()))
    };

    let keys: Vec<&Keypair> = everybody.iter().map(|party| &party.factory).collect();
    let lock = lock_of(&keys)?;
    let coins = vec![share.clone(); parties as usize];
    let hook = open(&mint(&coins)?.coins, &lock)?;
    let settled = close(&hook, &lock, &keys, "settle")?;
    confirm(&coins, [&[&hook][..], &[&settled]], 0)?;

    let coins = vec![share.clone(); 2 * channels as usize];
    let minted = mint(&coins)?.coins;
    let signed = (0..channels)
        .into_par_iter()
        .map(|channel| {
            // Every pair of parties once, as far as they go.
            let first = channel % parties;
            let second = (first + 1 + channel / parties) % parties;
            let keys = [first, second].map(|party| &everybody[party as usize].channel);
            let lock = lock_of(&keys)?;
            let opened = open(&minted[2 * channel as usize..][..2], &lock)?;
            let closed = close(&opened, &lock, &keys, &format!("channel-{channel}"))?;
            Ok::<_, Unsound>((opened, closed))
        })
        .collect::<Result<Vec<_>, Unsound>>()?;
    let (opened, closed): (Vec<_>, Vec<_>) = signed.into_iter().unzip();
    confirm(&coins, [&refs(&opened)[..], &refs(&closed)], 0)?;
    let vb = |all: &[Complete]| all.iter().map(|tx| tx.transaction().vsize() as u64).sum::<u64>();
    Ok([vb(&[hook, settled]), vb(&opened) + vb(&closed)])
}
