//! Where a lifecycle begins, and how it gets there.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};

use bitcoin::{Amount, FeeRate};
use factory_core::protocol::{Command, Phase};
use factory_core::{Change, FeeRule, LockKind, Offer, Party, RefundLocks, TxName, TxVersion};

use crate::bytes::Bytes;
use crate::world::{Past, World};

/// The capacities of the channels.
pub const CAPACITIES: [Amount; 2] = [Amount::from_sat(100_000), Amount::from_sat(60_001)];

/// How many stages of each kind of factory there are.
pub const STAGES: u8 = ALL.len() as u8;

/// The kind of factory, and how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stage {
    kind: u8,
    at: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    Start,
    Refunds,
    Allocation,
    Funding,
    Live,
    /// HTLCs both ways, and one proposal that is not answered.
    Pending,
    /// No further update is possible, and an HTLC is pending.
    Exhausted,
    ClosesSigned,
    Signed,
    /// The allocation is confirmed while HTLCs are pending.
    OnChain,
    /// The refunds are confirmed, too.
    Refunded,
}

const ALL: [At; 11] = [
    At::Start,
    At::Refunds,
    At::Allocation,
    At::Funding,
    At::Live,
    At::Pending,
    At::Exhausted,
    At::ClosesSigned,
    At::Signed,
    At::OnChain,
    At::Refunded,
];

impl Stage {
    /// The stage that the next bytes mean.
    pub fn choose(bytes: &mut Bytes<'_>) -> Self {
        let at = ALL[usize::from(bytes.byte()) % ALL.len()];
        Stage { kind: bytes.byte() % 3, at }
    }

    /// Terms with small locks: a few updates exhaust a channel.
    pub fn offer(self) -> Offer {
        let rate = FeeRate::from_sat_per_vb_u32;
        let (lock, version, close_fee) = match self.kind {
            0 => (LockKind::MuSig2, TxVersion::Two, FeeRule::Ladder(vec![FeeRate::ZERO, rate(1)])),
            1 => (LockKind::Tapscript, TxVersion::Three, FeeRule::Exact),
            _ => (LockKind::Wsh, TxVersion::Two, FeeRule::Premium(rate(1))),
        };
        let refund_locks = RefundLocks { initial: 12, step: 2, minimum: 4 };
        Offer { version, lock, feerate: rate(1), close_fee, confirmations: 2, refund_locks, patience: 3 }
    }

    /// What the parties have been through at this stage.
    pub fn past(self) -> &'static Past {
        static PASTS: OnceLock<Mutex<BTreeMap<Stage, &'static Past>>> = OnceLock::new();
        let pasts = PASTS.get_or_init(Mutex::default);
        let known = |stage| pasts.lock().expect("no thread has panicked").get(&stage).copied();
        if let Some(past) = known(self) {
            return past;
        }
        // It lives as long as the process: there are few stages.
        let past: &'static Past = Box::leak(Box::new(self.play()));
        pasts.lock().expect("no thread has panicked").insert(self, past);
        past
    }

    fn play(self) -> Past {
        let mut world = World::new(self);
        self.play_on(&mut world);
        world.into_past()
    }

    fn play_on(self, world: &mut World) {
        let [m0, m1] = [Party::Member(0), Party::Member(1)];
        if self.at == At::Start {
            return;
        }
        world.command(Party::Operator, Command::Open);
        if self.at < At::Funding {
            let phase = if self.at == At::Refunds { Phase::SigningRefunds } else { Phase::SigningAllocation };
            while world.phase(Party::Operator) < phase && world.deliver_first() {}
            return;
        }
        world.settle();
        if self.at == At::Funding {
            return;
        }
        (0..3).for_each(|_| world.mine());
        assert!([Party::Operator, m0, m1].iter().all(|party| world.phase(*party) == Phase::Live));
        world.update(Party::Operator, m0, Change::Pay { amount: Amount::from_sat(30_000) });
        match self.at {
            At::Pending | At::Exhausted | At::OnChain | At::Refunded => {
                world.offer_htlc(Party::Operator, m0);
                world.offer_htlc(m0, Party::Operator);
            }
            At::ClosesSigned | At::Signed => {
                world.command(Party::Operator, Command::SignCloses);
                world.settle();
            }
            _ => {}
        }
        match self.at {
            At::Pending => {
                let amount = Amount::from_sat(5_000);
                world.command(m0, Command::Update { with: Party::Operator, change: Change::Pay { amount } });
            }
            At::Exhausted => world.update(Party::Operator, m0, Change::Pay { amount: Amount::from_sat(1_000) }),
            At::Signed => {
                world.command(Party::Operator, Command::SignFactoryClose);
                world.settle();
                world.command(m1, Command::Publish(TxName::FactoryClose(0)));
            }
            At::OnChain => {
                world.command(m0, Command::FallBack);
                world.mine();
            }
            At::Refunded => {
                world.command(m0, Command::FallBack);
                (0..14).for_each(|_| world.mine());
            }
            _ => {}
        }
    }
}
