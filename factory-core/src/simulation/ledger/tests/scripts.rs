//! Witnesses and scripts.

use bitcoin::hashes::sha256;
use bitcoin::opcodes::{Opcode, all as op};
use bitcoin::script::Builder;

use super::*;

fn why(result: Result<Vec<Txid>, Refusal>) -> WitnessError {
    match result {
        Err(Refusal::BadWitness { input: 0, why }) => why,
        other => panic!("expected a bad witness of input 0, found {other:?}"),
    }
}

/// A coin of `script_pubkey`, spent to key 9 without a witness.
fn coin(script_pubkey: &ScriptBuf) -> (Ledger, Transaction) {
    let mut ledger = ledger();
    let outpoint = ledger.mint(output(script_pubkey.clone(), COIN));
    (ledger, unsigned(&[outpoint], vec![output(pays(9), COIN - 1000)]))
}

fn submit(ledger: &mut Ledger, tx: &Transaction, witness: Witness) -> Result<Vec<Txid>, Refusal> {
    let mut tx = tx.clone();
    tx.input[0].witness = witness;
    ledger.submit(&Arc::new(tx))
}

#[test]
fn key_path_takes_the_signature_and_no_changed_byte() {
    let (mut ledger, tx) = coin(&pays(1));
    let good = schnorr(&tx, 0, &[output(pays(1), COIN)], 1, None, TapSighashType::Default);
    for index in [0, 31, 32, 63] {
        let mut bad = good.clone();
        bad[index] ^= 1;
        assert_eq!(why(submit(&mut ledger, &tx, Witness::from_slice(&[bad]))), WitnessError::Signature);
    }
    let wrong_key = schnorr(&tx, 0, &[output(pays(1), COIN)], 2, None, TapSighashType::Default);
    assert_eq!(why(submit(&mut ledger, &tx, Witness::from_slice(&[wrong_key]))), WitnessError::Signature);
    let wrong_value = schnorr(&tx, 0, &[output(pays(1), COIN + 1)], 1, None, TapSighashType::Default);
    assert_eq!(why(submit(&mut ledger, &tx, Witness::from_slice(&[wrong_value]))), WitnessError::Signature);
    for length in [0, 63, 66] {
        let error = why(submit(&mut ledger, &tx, Witness::from_slice(&[vec![1; length]])));
        assert_eq!(error, WitnessError::SignatureEncoding { found: length });
    }
    let explicit_default = [good.clone(), vec![0]].concat();
    let error = why(submit(&mut ledger, &tx, Witness::from_slice(&[explicit_default])));
    assert_eq!(error, WitnessError::SighashType { found: 0 });
    assert_eq!(why(submit(&mut ledger, &tx, Witness::new())), WitnessError::Empty);
    let annex = Witness::from_slice(&[good.clone(), vec![0x50]]);
    assert_eq!(why(submit(&mut ledger, &tx, annex)), WitnessError::Annex);
    assert_eq!(submit(&mut ledger, &tx, Witness::from_slice(&[good])), Ok(Vec::new()));
}

#[test]
fn sighash_types_cover_what_they_say() {
    use TapSighashType::{All, AllPlusAnyoneCanPay, None as NoOutput, Single, SinglePlusAnyoneCanPay};
    for sighash_type in [All, AllPlusAnyoneCanPay, NoOutput, Single, SinglePlusAnyoneCanPay] {
        let (mut ledger, mut tx) = coin(&pays(1));
        tx.output.push(output(pays(8), 500));
        let signature = schnorr(&tx, 0, &[output(pays(1), COIN)], 1, None, sighash_type);
        // Only the types that cover all outputs notice that the second one changes.
        tx.output[1].script_pubkey = pays(7);
        let result = submit(&mut ledger, &tx, Witness::from_slice(&[signature]));
        match sighash_type {
            All | AllPlusAnyoneCanPay => assert_eq!(why(result), WitnessError::Signature),
            _ => assert_eq!(result, Ok(Vec::new()), "{sighash_type}"),
        }
    }
}

#[test]
fn every_input_is_verified() {
    let mut ledger = ledger();
    let spent = [output(pays(1), COIN), output(pays(2), COIN)];
    let coins = spent.clone().map(|output| ledger.mint(output));
    let mut tx = unsigned(&coins, vec![output(pays(9), COIN)]);
    let signatures = [(0, 1), (1, 2)].map(|(input, n)| schnorr(&tx, input, &spent, n, None, TapSighashType::Default));
    for input in 0..2 {
        tx.input[input].witness = Witness::from_slice(&[&signatures[0]]);
    }
    let refusal = Refusal::BadWitness { input: 1, why: WitnessError::Signature };
    assert_eq!(ledger.submit(&Arc::new(tx.clone())), Err(refusal.clone()));
    assert_eq!(ledger.mine_these(&[Arc::new(tx.clone())]).unwrap_err(), refusal);
    tx.input[1].witness = Witness::from_slice(&[&signatures[1]]);
    assert_eq!(ledger.submit(&Arc::new(tx)), Ok(Vec::new()));
}

fn chain_of_three() -> ScriptBuf {
    Builder::new()
        .push_slice(x_only(1))
        .push_opcode(op::OP_CHECKSIGVERIFY)
        .push_slice(x_only(2))
        .push_opcode(op::OP_CHECKSIGVERIFY)
        .push_slice(x_only(3))
        .push_opcode(op::OP_CHECKSIG)
        .into_script()
}

#[test]
fn tapscript_chain_needs_all_three() {
    let leaf = chain_of_three();
    let other = Builder::new().push_int(1).into_script();
    for leaves in [vec![leaf.clone()], vec![other.clone(), leaf.clone(), other.clone()]] {
        let (script_pubkey, info) = tree(&leaves);
        let (mut ledger, tx) = coin(&script_pubkey);
        let spent = [output(script_pubkey, COIN)];
        let by = |n| schnorr(&tx, 0, &spent, n, Some(&leaf), TapSighashType::Default);
        let mut submit = |stack: &[Vec<u8>]| submit(&mut ledger, &tx, leaf_witness(&info, &leaf, stack));
        assert_eq!(why(submit(&[by(2), by(3), by(1)])), WitnessError::Signature);
        assert_eq!(why(submit(&[by(2), by(1)])), WitnessError::Underflow);
        let error = why(submit(&[by(3), vec![], by(1)]));
        assert_eq!(error, WitnessError::Verify { opcode: op::OP_CHECKSIGVERIFY });
        assert_eq!(why(submit(&[vec![], by(2), by(1)])), WitnessError::NotTrue { found: 1 });
        assert_eq!(why(submit(&[vec![], by(3), by(2), by(1)])), WitnessError::NotTrue { found: 2 });
        let key_path = schnorr(&tx, 0, &spent, 3, None, TapSighashType::Default);
        assert_eq!(why(submit(&[key_path, by(2), by(1)])), WitnessError::Signature);
        assert_eq!(submit(&[by(3), by(2), by(1)]), Ok(Vec::new()));
    }
}

#[test]
fn control_block_must_prove_the_leaf() {
    let leaf = Builder::new().push_int(1).into_script();
    let (script_pubkey, info) = tree(&[leaf.clone(), chain_of_three()]);
    let (mut ledger, tx) = coin(&script_pubkey);
    let good = leaf_witness(&info, &leaf, &[]);
    let with = |control: &[u8]| Witness::from_slice(&[leaf.as_bytes(), control]);
    let control = good.last().unwrap();
    let changed = |index: usize, bits: u8| {
        let mut control = control.to_vec();
        control[index] ^= bits;
        with(&control)
    };
    assert_eq!(why(submit(&mut ledger, &tx, changed(0, 1))), WitnessError::Commitment);
    assert_eq!(why(submit(&mut ledger, &tx, changed(40, 1))), WitnessError::Commitment);
    assert_eq!(why(submit(&mut ledger, &tx, changed(0, 2))), WitnessError::LeafVersion { found: 0xc2 });
    for length in [32, 64] {
        let error = why(submit(&mut ledger, &tx, with(&control[..length])));
        assert_eq!(error, WitnessError::ControlBlock { found: length });
    }
    let other_script = Witness::from_slice(&[&[op::OP_PUSHNUM_2.to_u8()][..], control]);
    assert_eq!(why(submit(&mut ledger, &tx, other_script)), WitnessError::Commitment);
    assert_eq!(submit(&mut ledger, &tx, good), Ok(Vec::new()));
}

#[test]
fn multisig_needs_both_in_order_and_no_dummy() {
    let script = Builder::new()
        .push_int(2)
        .push_slice(key(1).public_key().serialize())
        .push_slice(key(2).public_key().serialize())
        .push_int(2)
        .push_opcode(op::OP_CHECKMULTISIG)
        .into_script();
    let (mut ledger, tx) = coin(&script.to_p2wsh());
    let by = |n| ecdsa(&tx, n, &script);
    let mut submit = |stack: &[Vec<u8>], script: &ScriptBuf| {
        let mut witness = Witness::from_slice(stack);
        witness.push(script.as_bytes());
        submit(&mut ledger, &tx, witness)
    };
    assert_eq!(why(submit(&[vec![], by(2), by(1)], &script)), WitnessError::Signature);
    assert_eq!(why(submit(&[vec![], by(1), by(3)], &script)), WitnessError::Signature);
    assert_eq!(why(submit(&[vec![], by(1), by(1)], &script)), WitnessError::Signature);
    assert_eq!(why(submit(&[vec![], vec![], by(2)], &script)), WitnessError::Signature);
    assert_eq!(why(submit(&[vec![], vec![], vec![]], &script)), WitnessError::NotTrue { found: 1 });
    assert_eq!(why(submit(&[vec![1], by(1), by(2)], &script)), WitnessError::NullDummy { found: 1 });
    assert_eq!(why(submit(&[by(1), by(2)], &script)), WitnessError::Underflow);
    let mut long = by(2);
    long.insert(long.len() - 1, 0);
    let found = long.len();
    assert_eq!(why(submit(&[vec![], by(1), long], &script)), WitnessError::SignatureEncoding { found });
    let mut odd_type = by(2);
    *odd_type.last_mut().unwrap() = 4;
    assert_eq!(why(submit(&[vec![], by(1), odd_type], &script)), WitnessError::SighashType { found: 4 });
    assert_eq!(why(submit(&[vec![], by(1), by(2)], &chain_of_three())), WitnessError::Commitment);
    assert_eq!(submit(&[vec![], by(1), by(2)], &script), Ok(Vec::new()));
}

#[test]
fn one_ecdsa_key_takes_no_high_s() {
    let script = Builder::new().push_slice(key(1).public_key().serialize()).push_opcode(op::OP_CHECKSIG).into_script();
    let (mut ledger, tx) = coin(&script.to_p2wsh());
    let good = ecdsa(&tx, 1, &script);
    // The other S of the same signature: the group order less S.
    let compact = ::secp256k1::ecdsa::Signature::from_der(&good[..good.len() - 1]).unwrap().serialize_compact();
    let s = ::secp256k1::SecretKey::from_secret_bytes(compact[32..].try_into().unwrap()).unwrap();
    let high = [&compact[..32], &s.negate().to_secret_bytes()].concat();
    let high = ::secp256k1::ecdsa::Signature::from_compact(&high).unwrap();
    let high = [&high.serialize_der()[..], &[1]].concat();
    let with = |signature: &[u8]| Witness::from_slice(&[signature, script.as_bytes()]);
    let error = why(submit(&mut ledger, &tx, with(&high)));
    assert_eq!(error, WitnessError::SignatureEncoding { found: high.len() });
    let wrong_key = ecdsa(&tx, 2, &script);
    assert_eq!(why(submit(&mut ledger, &tx, with(&wrong_key))), WitnessError::Signature);
    assert_eq!(why(submit(&mut ledger, &tx, with(&[]))), WitnessError::NotTrue { found: 1 });
    assert_eq!(submit(&mut ledger, &tx, with(&good)), Ok(Vec::new()));
}

/// The two leaves of an output that key 1 takes with a preimage, or key 2 from height 105 on.
fn htlc(preimage: &[u8]) -> [ScriptBuf; 2] {
    let claim = Builder::new()
        .push_opcode(op::OP_SIZE)
        .push_int(32)
        .push_opcode(op::OP_EQUALVERIFY)
        .push_opcode(op::OP_SHA256)
        .push_slice(sha256::Hash::hash(preimage).to_byte_array())
        .push_opcode(op::OP_EQUALVERIFY)
        .push_slice(x_only(1))
        .push_opcode(op::OP_CHECKSIG);
    let refund = Builder::new()
        .push_int(105)
        .push_opcode(op::OP_CLTV)
        .push_opcode(op::OP_DROP)
        .push_slice(x_only(2))
        .push_opcode(op::OP_CHECKSIG);
    [claim.into_script(), refund.into_script()]
}

#[test]
fn htlc_pays_for_the_preimage() {
    let preimage = [7; 32];
    let leaves = htlc(&preimage);
    let (script_pubkey, info) = tree(&leaves);
    let (mut ledger, tx) = coin(&script_pubkey);
    let by = |n| schnorr(&tx, 0, &[output(script_pubkey.clone(), COIN)], n, Some(&leaves[0]), TapSighashType::Default);
    let mut submit = |stack: &[Vec<u8>]| submit(&mut ledger, &tx, leaf_witness(&info, &leaves[0], stack));
    let unequal = WitnessError::Verify { opcode: op::OP_EQUALVERIFY };
    assert_eq!(why(submit(&[by(1), vec![8; 32]])), unequal);
    assert_eq!(why(submit(&[by(1), vec![7; 31]])), unequal);
    assert_eq!(why(submit(&[by(2), preimage.to_vec()])), WitnessError::Signature);
    assert_eq!(submit(&[by(1), preimage.to_vec()]), Ok(Vec::new()));

    // A preimage of another length is refused even if its hash is right.
    let leaves = htlc(&[7; 33]);
    let (script_pubkey, info) = tree(&leaves);
    let (mut ledger, tx) = coin(&script_pubkey);
    let spent = [output(script_pubkey, COIN)];
    let signature = schnorr(&tx, 0, &spent, 1, Some(&leaves[0]), TapSighashType::Default);
    let witness = leaf_witness(&info, &leaves[0], &[signature, vec![7; 33]]);
    assert_eq!(why(super::scripts::submit(&mut ledger, &tx, witness)), unequal);
}

#[test]
fn htlc_refunds_from_its_expiry_on() {
    let leaves = htlc(&[7; 32]);
    let (script_pubkey, info) = tree(&leaves);
    let (mut ledger, tx) = coin(&script_pubkey);
    let spent = [output(script_pubkey, COIN)];
    let refund = |lock: u32, sequence: Sequence| {
        let mut tx = tx.clone();
        tx.lock_time = LockTime::from_consensus(lock);
        tx.input[0].sequence = sequence;
        let signature = schnorr(&tx, 0, &spent, 2, Some(&leaves[1]), TapSighashType::Default);
        tx.input[0].witness = leaf_witness(&info, &leaves[1], &[signature]);
        Arc::new(tx)
    };
    let (rbf, early) = (Sequence::ENABLE_RBF_NO_LOCKTIME, WitnessError::LockTime { expected: 105 });
    assert_eq!(why(ledger.submit(&refund(100, rbf))), early);
    assert_eq!(why(ledger.submit(&refund(0, Sequence::MAX))), early);
    // A final input would switch the transaction's lock off: then the script must not count on it.
    assert_eq!(why(ledger.submit(&refund(105, Sequence::MAX))), early);
    let in_time = refund(105, rbf);
    for found in START + 1..=105 {
        assert_eq!(ledger.submit(&in_time), Err(Refusal::NotFinal { found, expected: 105 }));
        assert!(ledger.mine_these(&[Arc::clone(&in_time)]).is_err());
        ledger.mine();
    }
    assert_eq!(ledger.height(), 105);
    assert_eq!(ledger.submit(&in_time), Ok(Vec::new()));
    assert_eq!(ledger.mine().height, 106);
}

#[test]
fn script_relative_lock_asks_for_the_inputs() {
    let leaf = Builder::new()
        .push_int(3)
        .push_opcode(op::OP_CSV)
        .push_opcode(op::OP_DROP)
        .push_slice(x_only(1))
        .push_opcode(op::OP_CHECKSIG)
        .into_script();
    let (script_pubkey, info) = tree(std::slice::from_ref(&leaf));
    let (mut ledger, tx) = coin(&script_pubkey);
    let spend = |sequence: u32, version: i32| {
        let mut tx = tx.clone();
        tx.version = Version(version);
        tx.input[0].sequence = Sequence(sequence);
        let spent = [output(script_pubkey.clone(), COIN)];
        let signature = schnorr(&tx, 0, &spent, 1, Some(&leaf), TapSighashType::Default);
        tx.input[0].witness = leaf_witness(&info, &leaf, &[signature]);
        Arc::new(tx)
    };
    ledger.mine();
    ledger.mine();
    let early = WitnessError::Sequence { expected: 3 };
    for (sequence, version) in [(2, 2), (3, 1), (0xffff_fffd, 2)] {
        assert_eq!(why(ledger.submit(&spend(sequence, version))), early, "sequence {sequence:#x}, version {version}");
    }
    assert_eq!(ledger.submit(&spend(4, 2)), Err(Refusal::Immature { input: 0, found: 103, expected: 104 }));
    assert_eq!(ledger.submit(&spend(3, 2)), Ok(Vec::new()));
}

#[test]
fn unknown_opcodes_and_outputs_are_refused() {
    let success = Opcode::from(0xfe);
    for (opcode, skipped) in [(op::OP_DUP, false), (op::OP_CHECKMULTISIG, false), (success, false), (success, true)] {
        let mut leaf = Builder::new();
        if skipped {
            leaf = leaf.push_int(0).push_opcode(op::OP_IF);
        }
        leaf = leaf.push_opcode(opcode);
        if skipped {
            leaf = leaf.push_opcode(op::OP_ENDIF);
        }
        let leaf = leaf.push_int(1).into_script();
        let (script_pubkey, info) = tree(std::slice::from_ref(&leaf));
        let (mut ledger, tx) = coin(&script_pubkey);
        let error = why(submit(&mut ledger, &tx, leaf_witness(&info, &leaf, &[])));
        assert_eq!(error, WitnessError::Opcode { opcode });
    }
    let (mut ledger, tx) = coin(&ScriptBuf::new_op_return([1]));
    assert_eq!(why(submit(&mut ledger, &tx, Witness::from_slice(&[[1]]))), WitnessError::OutputType);
}

#[test]
fn branches_run_one_side() {
    // Either key 1, or key 2.
    let leaf = Builder::new()
        .push_opcode(op::OP_IF)
        .push_slice(x_only(1))
        .push_opcode(op::OP_ELSE)
        .push_slice(x_only(2))
        .push_opcode(op::OP_ENDIF)
        .push_opcode(op::OP_CHECKSIG)
        .into_script();
    let (script_pubkey, info) = tree(std::slice::from_ref(&leaf));
    for (n, choice, accepted) in
        [(1, &[1][..], true), (2, &[], true), (1, &[], false), (2, &[1], false), (1, &[2], false)]
    {
        let (mut ledger, tx) = coin(&script_pubkey);
        let spent = [output(script_pubkey.clone(), COIN)];
        let signature = schnorr(&tx, 0, &spent, n, Some(&leaf), TapSighashType::Default);
        let result = submit(&mut ledger, &tx, leaf_witness(&info, &leaf, &[signature, choice.to_vec()]));
        assert_eq!(result.is_ok(), accepted, "key {n}, choice {choice:?}");
    }
}
