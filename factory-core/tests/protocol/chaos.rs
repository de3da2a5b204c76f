//! Whatever both sides of a channel ask for, whatever is lost, and whoever crashes: each side reckons with every state
//! that the other one holds, and in the end they agree.

use factory_core::protocol::{Command, Phase};
use factory_core::{Change, Offer, TxName};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

use crate::world::{M0, OPERATOR, World, add, capacity, pay, preimage, sat};

struct Chaos {
    rng: ChaCha20Rng,
    world: World,
    /// How often what was asked for was begun, and how many states there were in question at most.
    begun: usize,
    most: usize,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        // Nobody gives up here: that is tested elsewhere.
        let mut world = World::audited_with(1, Offer { patience: 100, ..Offer::default() });
        world.open();
        world.pay(OPERATOR, M0, 50_000);
        Chaos { rng: ChaCha20Rng::seed_from_u64(seed), world, begun: 0, most: 0 }
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.rng.next_u64().is_multiple_of(one_in)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.rng.next_u64() % limit
    }

    fn ask(&mut self) {
        let (party, with) = if self.chance(2) { (OPERATOR, M0) } else { (M0, OPERATOR) };
        let htlcs = self.world.end(party, 0).enforceable().last().unwrap().htlcs().to_vec();
        let offered = htlcs.iter().find(|htlc| htlc.offerer == with);
        let byte = |hash: &[u8; 32]| (0..8).find(|byte| factory_core::hash_of(&preimage(*byte)) == *hash).unwrap();
        let command = match (self.below(5), offered) {
            (0, Some(htlc)) => Command::Update { with, change: Change::FailHtlc { id: htlc.id } },
            (1, Some(htlc)) => Command::Claim { with, id: htlc.id, preimage: preimage(byte(&htlc.hash)) },
            (2, Some(htlc)) => {
                let change = Change::FulfilHtlc { id: htlc.id, preimage: preimage(byte(&htlc.hash)) };
                Command::Update { with, change }
            }
            (3 | 4, _) => {
                let (amount, byte) = (1_000 + self.below(5_000), self.below(8) as u8);
                Command::Update { with, change: add(amount, byte, 100_000) }
            }
            _ => Command::Update { with, change: pay(1 + self.below(3_000)) },
        };
        // It may well be refused.
        self.begun += usize::from(self.world.command(party, command).is_ok());
        self.check();
    }

    /// What one side holds, the other reckons with; and nobody's money is lost.
    fn check(&mut self) {
        let (operator, member) = (self.world.end(OPERATOR, 0), self.world.end(M0, 0));
        for (one, other) in [(operator, member), (member, operator)] {
            let held = one.agreed().unwrap();
            // A state older than what the other side holds is no danger to it: its refund can come first.
            let old = held.number() < other.agreed().unwrap().number();
            let known = other.enforceable().any(|state| state == held);
            assert!(old || known, "state {} is not reckoned with", held.number());
            let numbers: Vec<_> = one.enforceable().map(|state| state.number()).collect();
            assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
            for state in one.enforceable() {
                let htlcs: bitcoin::Amount = state.htlcs().iter().map(|htlc| htlc.amount).sum();
                assert_eq!(state.member() + state.operator() + htlcs, capacity(0));
            }
            self.most = self.most.max(numbers.len());
        }
        assert_eq!(self.world.refused, []);
    }

    fn run(&mut self) {
        for _ in 0..120 {
            self.ask();
            for _ in 0..self.below(6) {
                let lost = self.chance(6);
                if lost {
                    self.world.tamper = Some(Box::new(|_, _, _| None));
                }
                self.world.deliver();
                self.world.tamper = None;
                self.check();
                if self.chance(15) {
                    let party = if self.chance(2) { OPERATOR } else { M0 };
                    self.world.restart(party);
                    self.check();
                }
            }
            if self.chance(8) {
                self.world.mine_without_running(&[]);
                self.check();
            }
        }
        // In peace, they agree within a few blocks.
        for _ in 0..3 {
            self.world.blocks(1);
            self.check();
        }
    }
}

#[test]
fn each_side_reckons_with_what_the_other_holds() {
    let (mut begun, mut most) = (0, 0);
    for seed in 0..30 {
        let mut chaos = Chaos::new(seed);
        chaos.run();
        let world = &mut chaos.world;
        let agreed = world.end(OPERATOR, 0).agreed().unwrap().clone();
        assert_eq!(world.end(M0, 0).agreed(), Some(&agreed), "seed {seed}");
        for party in [OPERATOR, M0] {
            assert_eq!(world.end(party, 0).enforceable().count(), 1, "seed {seed}, {party}");
        }
        // What is pending is given back, as far as there are states left, and the channel closed.
        for htlc in agreed.htlcs() {
            let party = if htlc.offerer == OPERATOR { M0 } else { OPERATOR };
            let with = htlc.offerer;
            let _ = world.command(party, Command::Update { with, change: Change::FailHtlc { id: htlc.id } });
            world.run();
        }
        let agreed = world.end(M0, 0).agreed().unwrap().clone();
        if agreed.htlcs().is_empty() {
            world.operate(Command::SignCloses);
            world.assert_phase(Phase::ClosesSigned);
            let close = world.find(TxName::Close(0));
            let paid = close.output.iter().map(|output| output.value).next().unwrap();
            assert!(agreed.member() < sat(330) || paid == agreed.member(), "seed {seed}");
        }
        begun += chaos.begun;
        most = most.max(chaos.most);
    }
    assert!(begun > 30 * 20, "{begun} changes");
    assert!(most >= 3, "{most} candidates at once");
}
