//! What happens in one simulated lifecycle, all of it from one seed.

use bitcoin::{Amount, FeeRate};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

use crate::fee::FeeRule;
use crate::lock::LockKind;
use crate::terms::{Offer, RefundLocks, TxVersion};

/// How a party behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// It keeps to the protocol.
    Honest,
    /// After so many messages it neither hears nor says anything any more. It follows the chain, and publishes what it
    /// holds.
    Silent {
        /// How many messages it takes in before.
        after: u32,
    },
    /// After so many messages it is gone for good.
    Gone {
        /// How many messages it takes in before.
        after: u32,
    },
    /// It changes, repeats and withholds messages, and publishes old states.
    Liar,
}

/// What goes wrong with messages, parties and the chain. Each is a chance out of 1,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Faults {
    /// That a message is lost.
    pub loss: u64,
    /// That a message is delivered twice.
    pub doubling: u64,
    /// That a message is overtaken by a later one on its link.
    pub overtaking: u64,
    /// That a party crashes in the middle of what it does.
    pub crash: u64,
    /// That the last one or two blocks are replaced when a block is mined.
    pub reorg: u64,
    /// That a block is mined though messages are under way.
    pub haste: u64,
}

/// One simulated lifecycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The seed of everything random in it.
    pub seed: u64,
    /// The terms.
    pub offer: Offer,
    /// The capacities of the channels.
    pub capacities: Vec<Amount>,
    /// The behaviour of the operator, then of the members.
    pub behaviours: Vec<Behaviour>,
    /// What goes wrong.
    pub faults: Faults,
    /// How many updates the users ask for.
    pub updates: u32,
    /// Whether messages pass through their encoding.
    pub wire: bool,
    /// A chance out of 1,000 for each step that some user gives up on the others.
    pub impatience: u64,
}

impl Plan {
    /// The plan that `seed` stands for.
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut below = |limit: u64| rng.next_u64() % limit;
        let members = 1 + below(4) as usize;
        let kind = [LockKind::MuSig2, LockKind::MuSig2, LockKind::Tapscript, LockKind::Wsh][below(4) as usize];
        let rate = FeeRate::from_sat_per_vb_u32;
        let close_fee = match below(3) {
            0 => FeeRule::Exact,
            1 => FeeRule::Premium(rate(1)),
            _ => FeeRule::Ladder(vec![FeeRate::ZERO, rate(1), rate(5)]),
        };
        let offer = Offer {
            version: if below(4) == 0 { TxVersion::Three } else { TxVersion::Two },
            lock: kind,
            feerate: rate(1 + below(3) as u32),
            close_fee,
            confirmations: 3,
            refund_locks: RefundLocks { initial: 16 + below(8) as u16, step: 2, minimum: 2 },
            patience: 3 + below(3) as u32,
        };
        let capacities = (0..members).map(|_| Amount::from_sat(20_000 + below(200_000))).collect();
        // Most lifecycles have at most one party that fails, so that there is somebody left to look at.
        let mut behaviours = vec![Behaviour::Honest; members + 1];
        if below(2) == 0 {
            let who = below(members as u64 + 1) as usize;
            let after = below(40) as u32;
            behaviours[who] =
                [Behaviour::Silent { after }, Behaviour::Gone { after }, Behaviour::Liar][below(3) as usize];
        }
        let faults = match below(4) {
            0 => Faults::default(),
            1 => Faults { loss: below(150), doubling: below(200), overtaking: below(500), ..Faults::default() },
            2 => Faults { crash: below(60), ..Faults::default() },
            _ => Faults {
                loss: below(80),
                doubling: below(100),
                overtaking: below(300),
                crash: below(30),
                reorg: below(100),
                haste: below(10),
            },
        };
        let impatience = if below(8) == 0 { 1 + below(10) } else { 0 };
        Plan { seed, offer, capacities, behaviours, faults, updates: below(12) as u32, wire: below(2) == 0, impatience }
    }

    /// One in which everybody keeps to the protocol and nothing goes wrong but what the caller adds.
    pub fn calm(seed: u64, members: usize, offer: Offer) -> Self {
        Plan {
            seed,
            offer,
            capacities: (0..members as u64).map(|member| Amount::from_sat(100_000 + member)).collect(),
            behaviours: vec![Behaviour::Honest; members + 1],
            faults: Faults::default(),
            updates: 4,
            wire: true,
            impatience: 0,
        }
    }
}
