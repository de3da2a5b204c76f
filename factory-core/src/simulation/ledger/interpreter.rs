//! A small interpreter of scripts: the opcodes that channels and factories need, and no others.
//!
//! Where consensus and the standardness rules of Core differ, it keeps to the stricter.

use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::opcodes::{Opcode, all as op};
use bitcoin::script::{Instruction, Script};

use super::refusal::WitnessError;
use super::script::Checker;

/// The longest element of the stack, in bytes.
pub(super) const MAX_ELEMENT: usize = 520;
/// The most elements on the stack.
const MAX_STACK: usize = 1000;
/// The most opcodes other than pushes that a script of version 0 may run, the keys of a multisig included.
const MAX_OPS: usize = 201;
/// The most keys of a multisig.
const MAX_KEYS: usize = 20;
/// Lengths of numbers, in bytes: locks go beyond the 4 of other numbers (BIP 65, BIP 112).
const NUMBER: usize = 4;
const LOCK_NUMBER: usize = 5;

/// Runs `script` on `stack`, the top of which is its last element.
///
/// # Errors
///
/// [`WitnessError`], unless it ends with exactly one true element.
pub(super) fn run(script: &Script, stack: Vec<Vec<u8>>, checker: &mut Checker<'_, '_>) -> Result<(), WitnessError> {
    let mut machine = Machine { stack, branches: Vec::new(), ops: 0 };
    for instruction in script.instructions() {
        match instruction.map_err(|_| WitnessError::Truncated)? {
            Instruction::PushBytes(bytes) => {
                limit("bytes of a stack element", bytes.len(), MAX_ELEMENT)?;
                if machine.runs() {
                    machine.stack.push(bytes.as_bytes().to_vec());
                }
            }
            Instruction::Op(opcode) => machine.step(opcode, checker)?,
        }
        limit("stack elements", machine.stack.len(), MAX_STACK)?;
    }
    match machine.stack.as_slice() {
        _ if !machine.branches.is_empty() => Err(WitnessError::Unbalanced),
        [last] if is_true(last) => Ok(()),
        stack => Err(WitnessError::NotTrue { found: stack.len() }),
    }
}

/// Refuses more than `limit` of something.
pub(super) fn limit(what: &'static str, found: usize, limit: usize) -> Result<(), WitnessError> {
    if found > limit { Err(WitnessError::Limit { what, found, limit }) } else { Ok(()) }
}

#[derive(Debug)]
struct Machine {
    stack: Vec<Vec<u8>>,
    /// Of each `OP_IF` around here, whether its branch is the one that runs.
    branches: Vec<bool>,
    ops: usize,
}

impl Machine {
    fn runs(&self) -> bool {
        self.branches.iter().all(|taken| *taken)
    }

    fn pop(&mut self) -> Result<Vec<u8>, WitnessError> {
        self.stack.pop().ok_or(WitnessError::Underflow)
    }

    fn top(&self) -> Result<&[u8], WitnessError> {
        self.stack.last().map(Vec::as_slice).ok_or(WitnessError::Underflow)
    }

    fn push_bool(&mut self, value: bool) {
        self.stack.push(if value { vec![1] } else { Vec::new() });
    }

    fn pop_count(&mut self, most: usize) -> Result<usize, WitnessError> {
        let bytes = self.pop()?;
        let count = usize::try_from(number(&bytes, NUMBER)?).ok().filter(|count| *count <= most);
        count.ok_or(WitnessError::Number { found: bytes.len() })
    }

    fn step(&mut self, opcode: Opcode, checker: &mut Checker<'_, '_>) -> Result<(), WitnessError> {
        let small_number = opcode.to_u8().wrapping_sub(op::OP_PUSHNUM_1.to_u8()).saturating_add(1);
        let small = opcode == op::OP_PUSHNUM_NEG1 || (1..=16).contains(&small_number);
        if !small {
            self.count_ops(1, checker)?;
        }
        if !self.runs() && !matches!(opcode, op::OP_IF | op::OP_NOTIF | op::OP_ELSE | op::OP_ENDIF) {
            // An unknown opcode is refused wherever it is: in a tapscript it might be OP_SUCCESSx, which would make the
            // whole script succeed for nodes that do not know it.
            return if small || is_known(opcode) { Ok(()) } else { Err(WitnessError::Opcode { opcode }) };
        }
        let verify = |holds: bool| if holds { Ok(()) } else { Err(WitnessError::Verify { opcode }) };
        match opcode {
            op::OP_PUSHNUM_NEG1 => self.stack.push(vec![0x81]),
            _ if small => self.stack.push(vec![small_number]),
            op::OP_IF | op::OP_NOTIF => {
                let mut taken = false;
                if self.runs() {
                    // Minimal, so that nobody else can change the witness (BIP 342; policy for version 0).
                    taken = match self.pop()?.as_slice() {
                        [] => false,
                        [1] => true,
                        _ => return Err(WitnessError::Verify { opcode }),
                    } != (opcode == op::OP_NOTIF);
                }
                self.branches.push(taken);
            }
            op::OP_ELSE => {
                let last = self.branches.last_mut().ok_or(WitnessError::Unbalanced)?;
                *last = !*last;
            }
            op::OP_ENDIF => drop(self.branches.pop().ok_or(WitnessError::Unbalanced)?),
            op::OP_VERIFY => verify(is_true(&self.pop()?))?,
            op::OP_DROP => drop(self.pop()?),
            op::OP_SIZE => self.stack.push(encode(self.top()?.len())),
            op::OP_EQUAL | op::OP_EQUALVERIFY => {
                let equal = self.pop()? == self.pop()?;
                if opcode == op::OP_EQUAL { self.push_bool(equal) } else { verify(equal)? }
            }
            op::OP_SHA256 => {
                let digest = sha256::Hash::hash(&self.pop()?);
                self.stack.push(digest.to_byte_array().to_vec());
            }
            op::OP_CHECKSIG | op::OP_CHECKSIGVERIFY => {
                let (key, signature) = (self.pop()?, self.pop()?);
                let valid = checker.signature(&signature, &key)?;
                if opcode == op::OP_CHECKSIG { self.push_bool(valid) } else { verify(valid)? }
            }
            op::OP_CHECKMULTISIG if !checker.is_tapscript() => {
                let valid = self.multisig(checker)?;
                self.push_bool(valid);
            }
            op::OP_CLTV => checker.lock_time(self.lock()?)?,
            op::OP_CSV => checker.sequence(self.lock()?)?,
            _ => return Err(WitnessError::Opcode { opcode }),
        }
        Ok(())
    }

    /// Counts what a script of version 0 runs; tapscripts have no such limit.
    fn count_ops(&mut self, ops: usize, checker: &Checker<'_, '_>) -> Result<(), WitnessError> {
        self.ops += ops;
        if checker.is_tapscript() { Ok(()) } else { limit("opcodes", self.ops, MAX_OPS) }
    }

    /// The number of a lock, which stays on the stack.
    fn lock(&self) -> Result<i64, WitnessError> {
        let bytes = self.top()?;
        let lock = number(bytes, LOCK_NUMBER)?;
        if lock < 0 { Err(WitnessError::Number { found: bytes.len() }) } else { Ok(lock) }
    }

    /// `OP_CHECKMULTISIG`: whether the signatures are of so many of the keys, in the same order.
    fn multisig(&mut self, checker: &mut Checker<'_, '_>) -> Result<bool, WitnessError> {
        let n = self.pop_count(MAX_KEYS)?;
        self.count_ops(n, checker)?;
        let keys = (0..n).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        let m = self.pop_count(n)?;
        let signatures = (0..m).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        let dummy = self.pop()?;
        if !dummy.is_empty() {
            return Err(WitnessError::NullDummy { found: dummy.len() });
        }
        let mut keys = keys.iter();
        let mut valid = true;
        for (done, signature) in signatures.iter().enumerate() {
            loop {
                let enough = keys.len() >= m - done;
                match keys.next() {
                    Some(key) if enough => {
                        if checker.ecdsa(signature, key)? {
                            break;
                        }
                    }
                    _ => {
                        valid = false;
                        break;
                    }
                }
            }
        }
        // Signatures that fail must be empty, or others could change them (BIP 146).
        match valid || signatures.iter().all(Vec::is_empty) {
            true => Ok(valid),
            false => Err(WitnessError::Signature),
        }
    }
}

/// Whether [`Machine::step`] has this opcode.
fn is_known(opcode: Opcode) -> bool {
    matches!(
        opcode,
        op::OP_VERIFY
            | op::OP_DROP
            | op::OP_SIZE
            | op::OP_EQUAL
            | op::OP_EQUALVERIFY
            | op::OP_SHA256
            | op::OP_CHECKSIG
            | op::OP_CHECKSIGVERIFY
            | op::OP_CHECKMULTISIG
            | op::OP_CLTV
            | op::OP_CSV
    )
}

/// Whether an element counts as true: any bit but the sign is set.
fn is_true(bytes: &[u8]) -> bool {
    match bytes.split_last() {
        Some((last, rest)) => last & 0x7f != 0 || rest.iter().any(|byte| *byte != 0),
        None => false,
    }
}

/// The number that an element encodes: little-endian, the highest bit is the sign, no byte more than needed.
fn number(bytes: &[u8], most: usize) -> Result<i64, WitnessError> {
    let invalid = WitnessError::Number { found: bytes.len() };
    let Some((last, rest)) = bytes.split_last() else { return Ok(0) };
    let padded = last & 0x7f == 0 && rest.last().is_none_or(|byte| byte & 0x80 == 0);
    if bytes.len() > most.min(LOCK_NUMBER) || padded {
        return Err(invalid);
    }
    let magnitude = rest.iter().rev().fold(i64::from(last & 0x7f), |sum, byte| sum << 8 | i64::from(*byte));
    Ok(if last & 0x80 == 0 { magnitude } else { -magnitude })
}

/// The element that encodes the length of another.
fn encode(length: usize) -> Vec<u8> {
    let mut bytes = length.to_le_bytes().to_vec();
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    if bytes.last().is_some_and(|byte| byte & 0x80 != 0) {
        bytes.push(0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_minimal_and_signed() {
        for (bytes, value) in [
            (&[][..], 0),
            (&[1], 1),
            (&[0x81], -1),
            (&[0xff, 0], 255),
            (&[0x2c, 0x01], 300),
            (&[0, 0x80, 0x80], -32768),
        ] {
            assert_eq!(number(bytes, NUMBER), Ok(value), "{bytes:?}");
        }
        for bytes in [&[0][..], &[0x80], &[1, 0], &[1, 2, 3, 4, 5]] {
            assert_eq!(number(bytes, NUMBER), Err(WitnessError::Number { found: bytes.len() }), "{bytes:?}");
        }
        assert_eq!(number(&[0, 0, 0, 0, 1], LOCK_NUMBER), Ok(1 << 32));
        for length in [0, 1, 32, 127, 128, 255, 256, 520] {
            assert_eq!(number(&encode(length), NUMBER), Ok(i64::try_from(length).unwrap()));
        }
    }

    #[test]
    fn truth_is_any_bit_but_the_sign() {
        assert!(is_true(&[1]) && is_true(&[0, 1]) && is_true(&[0x80, 0]));
        assert!(!is_true(&[]) && !is_true(&[0, 0]) && !is_true(&[0, 0x80]));
    }
}
