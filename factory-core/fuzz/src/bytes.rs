//! The fuzzer's bytes, read as choices.

use bitcoin::Amount;

/// What is left of the input. Past its end every choice is 0.
pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Bytes(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Up to so many bytes.
    pub fn some(&mut self, most: usize) -> &'a [u8] {
        let (some, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        some
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    /// One of `count` things; `None` if there are none.
    pub fn index(&mut self, count: usize) -> Option<usize> {
        (count > 0).then(|| usize::from(self.byte()) % count)
    }

    pub fn of<'b, T>(&mut self, things: &'b [T]) -> Option<&'b T> {
        things.get(self.index(things.len())?)
    }

    /// A number that is likely to be awkward where `near` is right.
    pub fn number(&mut self, near: u32) -> u32 {
        match self.byte() % 12 {
            0 => 0,
            1 => 1,
            2 => u32::MAX,
            3 => u32::MAX - 1,
            4 => i32::MAX as u32,
            5 => near.wrapping_add(1),
            6 => near.wrapping_sub(1),
            7 => near.wrapping_add(u32::from(self.byte())),
            8 => near.wrapping_sub(u32::from(self.byte())),
            // The first number that is a time and no height (BIP 65).
            9 => 500_000_000,
            10 => u32::from(self.byte()),
            _ => u32::from_le_bytes(self.array()),
        }
    }

    /// An amount that is likely to be awkward where `near` is right.
    pub fn amount(&mut self, near: Amount) -> Amount {
        let near = near.to_sat();
        Amount::from_sat(match self.byte() % 12 {
            0 => 0,
            1 => 1,
            2 => u64::MAX,
            3 => u64::MAX - 1,
            4 => i64::MAX as u64,
            5 => Amount::MAX_MONEY.to_sat(),
            6 => Amount::MAX_MONEY.to_sat() + 1,
            7 => near.wrapping_add(u64::from(self.byte())),
            8 => near.wrapping_sub(u64::from(self.byte())),
            9 => 329 + u64::from(self.byte() % 3),
            10 => u64::from(u16::from_le_bytes(self.array())),
            _ => u64::from_le_bytes(self.array()),
        })
    }
}
