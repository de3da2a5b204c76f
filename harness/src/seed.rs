//! Where a run's randomness comes from.

use bitcoin::hashes::{Hash as _, HashEngine as _, sha256};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

/// The random stream of one purpose in one run: the same for the same seed and purpose, and unrelated to all others.
pub fn stream(seed: u64, purpose: &str) -> ChaCha20Rng {
    let mut engine = sha256::Hash::engine();
    engine.input(b"shopfloor/stream");
    engine.input(&seed.to_le_bytes());
    engine.input(purpose.as_bytes());
    ChaCha20Rng::from_seed(sha256::Hash::from_engine(engine).to_byte_array())
}
