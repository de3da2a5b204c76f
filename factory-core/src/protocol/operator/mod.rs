//! The operator: funds the factory, is a side of every channel, coordinates every signature.

mod batch;
mod signing;

use std::sync::Arc;

use bitcoin::{Amount, FeeRate, TxOut};
use rand_core::CryptoRng;

use crate::factory::Factory;
use crate::keys::{MemberPublic, OperatorKeys, Wallet};
use crate::name::{Party, TxName};
use crate::protocol::ceremony::{Coordinator, Task};
use crate::protocol::channel_end::ChannelEnd;
use crate::protocol::message::{Body, Exchange, Joint};
use crate::protocol::record::{Key, Snapshot};
use crate::protocol::roster::Roster;
use crate::protocol::stake::{Core, Stake};
use crate::protocol::{Block, Cause, Command, Effect, Event, Input, Message, Phase, ProtocolError, Reason, user};
use crate::terms::{Budget, MemberTerms, Offer, Terms, party};
use crate::tx::funding::{self, Coin};
use crate::tx::{Complete, FactoryClose};

type Effects = Result<Vec<Effect>, Reason>;

/// The operator of one factory.
#[derive(Debug)]
pub struct Operator {
    keys: OperatorKeys,
    wallet: Wallet,
    coins: Vec<Coin>,
    offer: Offer,
    capacities: Vec<Amount>,
    funding_feerate: FeeRate,
    /// How far it is while there is no factory, for how many blocks, and the last block's height.
    early: (Phase, u32, u32),
    roster: Roster,
    stake: Option<Stake>,
    /// The signing sessions, by [`Joint`].
    coordinators: [Option<Coordinator>; 2],
}

impl Operator {
    /// An operator that will make a factory with one channel for each of `capacities`, out of `coins` of its `wallet`.
    /// The funding pays `funding_feerate`, everything else pays what the `offer` says.
    pub fn new(
        keys: OperatorKeys,
        wallet: Wallet,
        coins: Vec<Coin>,
        offer: Offer,
        capacities: Vec<Amount>,
        funding_feerate: FeeRate,
    ) -> Self {
        Operator {
            early: (Phase::New, 0, 0),
            roster: Roster::new(&keys.public(), capacities.len()),
            stake: None,
            coordinators: [None, None],
            keys,
            wallet,
            coins,
            offer,
            capacities,
            funding_feerate,
        }
    }

    /// This operator, new otherwise, as it was when it stored `snapshot`. What it holds is verified again. Its random
    /// numbers must not be those that it drew before.
    ///
    /// # Errors
    ///
    /// [`ProtocolError`], if the records are malformed or not its own.
    pub fn restore(mut self, snapshot: &Snapshot) -> Result<Self, ProtocolError> {
        let restored = Stake::restore(Party::Operator, &self.keys.factory.public_key(), self.channel_keys(), snapshot);
        let error = |reason| ProtocolError { phase: Phase::New, culprit: None, reason };
        self.stake = restored.map_err(error)?;
        if let Some(stake) = &self.stake {
            let terms = stake.factory.terms();
            let capacities = terms.members().iter().map(|member| member.capacity);
            if *terms.offer() != self.offer || !capacities.eq(self.capacities.iter().copied()) {
                return Err(error(Reason::Records("the factory is not on this operator's terms")));
            }
            self.coordinators = signing::unfinished(stake);
        }
        Ok(self)
    }

    /// What it needs of its keys in its channels.
    fn channel_keys(&self) -> (secp256k1::Keypair, bitcoin::ScriptBuf) {
        (self.keys.channel, self.keys.payout.clone())
    }

    /// The record under `key`, as it is now; `None` if there is nothing to store.
    pub fn record(&self, key: Key) -> Option<Vec<u8>> {
        self.stake.as_ref()?.record(key)
    }

    /// All records.
    pub fn snapshot(&self) -> Snapshot {
        self.stake.as_ref().map(Stake::snapshot).unwrap_or_default()
    }

    /// What must be watched on the chain, as all [`Effect::Watch`] so far have said: for who drives a restored party.
    pub fn watched(&self) -> Vec<bitcoin::OutPoint> {
        self.stake.as_ref().map(Stake::watched).unwrap_or_default()
    }

    /// After a restart: blocks up to `height` are there already, and will only be shown late. They count for locks and
    /// confirmations, but not as time in which others have failed to answer.
    pub fn catch_up_until(&mut self, height: u32) {
        if let Some(stake) = &mut self.stake {
            stake.catch_up_until(height);
        }
    }

    /// How far the operator is.
    pub fn phase(&self) -> Phase {
        self.stake.as_ref().map_or(self.early.0, |stake| stake.core.phase)
    }

    /// The height of the last block that it was shown.
    pub fn height(&self) -> u32 {
        self.stake.as_ref().map_or(self.early.2, |stake| stake.core.height)
    }

    /// The factory, once all have joined.
    pub fn factory(&self) -> Option<&Arc<Factory>> {
        self.stake.as_ref().map(|stake| &stake.factory)
    }

    /// A transaction that the operator holds complete.
    pub fn transaction(&self, name: TxName) -> Option<&Arc<Complete>> {
        self.stake.as_ref()?.transaction(name)
    }

    /// The operator's end of the channel with a member, once all have joined.
    pub fn channel(&self, member: u32) -> Option<&ChannelEnd> {
        self.stake.as_ref()?.end(member)
    }

    /// Takes one input and says what to do about it. Every random number comes from `rng`.
    ///
    /// # Errors
    ///
    /// [`ProtocolError`], if the input is refused. The state is then as it was.
    pub fn handle(&mut self, input: Input, rng: &mut dyn CryptoRng) -> Result<Vec<Effect>, ProtocolError> {
        let phase = self.phase();
        let (culprit, result) = match input {
            Input::Message { from, message } => (Some(from), self.on_message(from, message, rng)),
            Input::Command(command) => (None, self.on_command(command, rng)),
            Input::Block(block) => (None, self.on_block(&block, rng)),
        };
        let effects = result.map_err(|reason| ProtocolError { phase, culprit, reason })?;
        Ok(match &mut self.stake {
            Some(stake) => stake.flush(effects),
            None => effects,
        })
    }

    fn known(&mut self) -> Result<&mut Stake, Reason> {
        match &mut self.stake {
            Some(stake) => Ok(stake),
            None => Err(Reason::Unexpected("what concerns a factory that is not there yet")),
        }
    }

    fn on_command(&mut self, command: Command, rng: &mut dyn CryptoRng) -> Effects {
        match (command, self.phase()) {
            (Command::Open, Phase::New | Phase::Joining) => self.invite(),
            (Command::Open, Phase::SigningRefunds | Phase::SigningAllocation) => self.ask_again(0, rng),
            (Command::Open, _) => Err(Reason::Unexpected("to open")),
            (Command::SignCloses, Phase::Live) => self.sign_closes(rng),
            (Command::SignCloses, Phase::Funding) => {
                let not_live = self.known()?.ends.iter().find(|end| !end.is_live());
                Err(Reason::NotLive(not_live.map_or(0, ChannelEnd::member)))
            }
            (Command::SignFactoryClose, Phase::ClosesSigned) => self.sign_factory_close(rng),
            (Command::SignCloses, Phase::SigningCloses)
            | (Command::SignFactoryClose, Phase::SigningFactoryClose | Phase::FactoryCloseSigned) => {
                self.ask_again(0, rng)
            }
            (Command::SignCloses, _) => Err(Reason::Unexpected("to sign the closes")),
            (Command::SignFactoryClose, _) => Err(Reason::Unexpected("to sign the factory close")),
            (command, _) => user::command(self.stake.as_mut(), command, rng),
        }
    }

    /// Invites whoever has not joined.
    fn invite(&mut self) -> Effects {
        let budget = Budget::new(&self.offer, &self.capacities)?;
        // The factory's script is not known yet, but any script of its kinds costs the same.
        let output = TxOut { value: budget.factory_value, script_pubkey: self.wallet.script_pubkey().clone() };
        funding::build(&self.wallet, &self.coins, output, self.funding_feerate)?;
        if self.early.0 == Phase::New {
            (self.early.0, self.early.1) = (Phase::Joining, 0);
        }
        let missing = self.capacities.iter().enumerate().filter(|(member, _)| !self.roster.has(*member));
        let offer = Arc::new(self.offer.clone());
        let invite = |(member, &capacity): (usize, _)| {
            let member = member as u32;
            send(member, Message::Invite { member, capacity, offer: offer.clone() })
        };
        Ok(missing.map(invite).collect())
    }

    fn sign_closes(&mut self, rng: &mut dyn CryptoRng) -> Effects {
        let stake = self.known()?;
        stake.ends.iter().try_for_each(ChannelEnd::check_quiescent)?;
        let everybody = (0..stake.ends.len() as u32).map(|member| (member, ())).collect();
        let proposed = stake.in_channels(everybody, rng, |end, context, (), rng| end.propose_close(context, rng));
        let effects = proposed.into_iter().collect::<Result<Vec<_>, _>>()?;
        stake.advance(Phase::SigningCloses);
        Ok(effects.into_iter().flatten().collect())
    }

    fn sign_factory_close(&mut self, rng: &mut dyn CryptoRng) -> Effects {
        let stake = self.known()?;
        let balances: Vec<_> = stake.ends.iter().filter_map(ChannelEnd::agreed).map(|state| state.member()).collect();
        let close = Arc::new(FactoryClose::new(&stake.factory, balances)?);
        stake.close = Some(close.clone());
        stake.touch(Key::Joint(Joint::FactoryClose));
        stake.advance(Phase::SigningFactoryClose);
        let task = Task::factory_close(&stake.factory, &close);
        self.begin(task, rng)
    }

    fn on_message(&mut self, from: Party, message: Message, rng: &mut dyn CryptoRng) -> Effects {
        let member = match from {
            Party::Member(member) if (member as usize) < self.capacities.len() => member,
            _ => return Err(Reason::UnknownSender(from)),
        };
        match message {
            Message::Join(public) => self.on_join(member, *public, rng),
            Message::About { factory, body } => {
                let stake = self.known()?;
                let expected = stake.factory.digest();
                if factory != expected {
                    return Err(Reason::OtherFactory { expected, found: factory });
                }
                match body {
                    Body::Sign { joint, session, step } => self.on_step(member, joint, session, step),
                    Body::Channel(exchange) => self.on_exchange(member, *exchange, rng),
                    Body::Ready => self.on_ready(member),
                }
            }
            Message::Invite { .. } | Message::Factory(_) => {
                Err(Reason::Unexpected("a message that only the operator sends"))
            }
        }
    }

    fn on_join(&mut self, member: u32, public: MemberPublic, rng: &mut dyn CryptoRng) -> Effects {
        if let Some(stake) = &self.stake {
            let same = stake.factory.terms().members()[member as usize].public == public;
            return if same { Ok(Vec::new()) } else { Err(Reason::Contradiction("join")) };
        }
        if self.early.0 != Phase::Joining {
            return Err(Reason::Unexpected("a join before the invitation"));
        }
        let index = member as usize;
        if !self.roster.check(index, &public)? {
            return Ok(Vec::new());
        }
        let joined = Effect::Report(Event::Joined { member });
        if !self.roster.completed_by(index) {
            self.roster.enter(index, public);
            return Ok(vec![joined]);
        }
        let everybody = self.roster.with(index, &public).zip(&self.capacities);
        let members = everybody.map(|(public, &capacity)| MemberTerms { public: public.clone(), capacity }).collect();
        let terms = Terms::new(self.offer.clone(), self.keys.public(), members)?;
        let funding = funding::build(&self.wallet, &self.coins, terms.factory_output(), self.funding_feerate)?;
        let factory = Arc::new(Factory::new(terms, funding.transaction())?);

        self.roster.enter(index, public);
        let rules = |member| factory.terms().channel_rules(member).expect("it is one of the members");
        let members = 0..self.capacities.len() as u32;
        let ends = members.map(|member| ChannelEnd::new(Party::Operator, member, rules(member))).collect();
        let core = Core::new(Party::Operator, Phase::SigningRefunds, self.early.2);
        let mut stake = Stake::new(Party::Operator, factory.clone(), self.channel_keys(), ends, core);
        stake.funding = Some(Arc::new(funding));
        for key in [Key::Factory, Key::Funding, Key::Core] {
            stake.touch(key);
        }
        let mut effects = vec![joined];
        effects.extend(stake.watched().into_iter().map(Effect::Watch));
        let everybody: Vec<_> = (0..self.capacities.len() as u32).map(|member| (member, ())).collect();
        effects.extend(everybody.iter().map(|(member, ())| send(*member, Message::Factory(factory.clone()))));
        for proposed in stake.in_channels(everybody, rng, |end, context, (), rng| end.propose_first(context, rng)) {
            effects.extend(proposed?);
        }
        self.stake = Some(stake);
        Ok(effects)
    }

    fn on_exchange(&mut self, member: u32, exchange: Exchange, rng: &mut dyn CryptoRng) -> Effects {
        let stake = self.known()?;
        user::check_exchange(stake.core.phase, member, &exchange)?;
        let (end, context) = stake.end_mut(member)?;
        let mut effects = end.on_exchange(context, exchange, rng)?;
        effects.extend(self.after_exchange(rng)?);
        Ok(effects)
    }

    /// What follows once every channel is as far as the phase wants it.
    fn after_exchange(&mut self, rng: &mut dyn CryptoRng) -> Effects {
        let stake = self.known()?;
        match stake.core.phase {
            Phase::SigningRefunds if stake.ends.iter().all(ChannelEnd::is_acknowledged) => {
                stake.advance(Phase::SigningAllocation);
                let task = Task::allocation(&stake.factory);
                self.begin(task, rng)
            }
            Phase::SigningCloses if stake.ends.iter().all(ChannelEnd::is_close_acknowledged) => {
                stake.advance(Phase::ClosesSigned);
                Ok(Vec::new())
            }
            _ => Ok(Vec::new()),
        }
    }

    fn on_ready(&mut self, member: u32) -> Effects {
        let stake = self.known()?;
        if stake.core.phase < Phase::Funding {
            return Err(Reason::Unexpected("news of the funding before it is broadcast"));
        }
        if stake.core.phase >= Phase::OnChain {
            return Ok(Vec::new());
        }
        let digest = stake.factory.digest();
        let (end, _) = stake.end_mut(member)?;
        if end.is_live() {
            // That it comes again shows that the answer was lost.
            let again =
                end.repeats_ready().then(|| send(member, Message::About { factory: digest, body: Body::Ready }));
            return Ok(again.into_iter().collect());
        }
        let live = end.other_ready();
        stake.touch(Key::Channel(member));
        Ok(if live { went_live(stake, member) } else { Vec::new() })
    }

    fn on_block(&mut self, block: &Block, rng: &mut dyn CryptoRng) -> Effects {
        let Some(stake) = &mut self.stake else {
            self.early.1 = self.early.1.saturating_add(1);
            self.early.2 = block.height;
            if self.early.0 == Phase::Joining && self.early.1 > self.offer.patience {
                self.early.0 = Phase::Aborted;
                let (phase, cause) = (Phase::Joining, Cause::Silence);
                let missing = (0..self.capacities.len()).filter(|member| !self.roster.has(*member));
                let culprits = missing.map(party).collect();
                return Ok(vec![Effect::Report(Event::Aborted { phase, cause, culprits })]);
            }
            return if self.early.0 == Phase::Joining { self.invite() } else { Ok(Vec::new()) };
        };
        let (deep, mut effects) = stake.on_block(block);
        let passed = stake.tick();
        if deep.contains(&TxName::Funding) && (Phase::Funding..Phase::OnChain).contains(&stake.core.phase) {
            stake.core.waited = 0;
            let digest = stake.factory.digest();
            for member in 0..stake.ends.len() as u32 {
                stake.touch(Key::Channel(member));
                if stake.end_mut(member)?.0.ready() {
                    effects.extend(went_live(stake, member));
                    // A member that saw it first has to be told; the others are, as long as they have not answered.
                    effects.push(send(member, Message::About { factory: digest, body: Body::Ready }));
                }
            }
        }
        if passed {
            if let (Some(culprits), stake) = (self.late(), self.known()?) {
                effects.extend(stake.fall_back(Cause::Silence, culprits));
            }
            effects.extend(self.ask_again(1, rng)?);
        }
        let stake = self.known()?;
        effects.extend(stake.rebroadcast());
        effects.extend(stake.close_if_settled());
        Ok(effects)
    }

    /// Who has kept the operator waiting for too long, if anybody has.
    fn late(&self) -> Option<Vec<Party>> {
        let stake = self.stake.as_ref()?;
        let of_ends = |is_late: &dyn Fn(&ChannelEnd) -> bool| {
            let late = stake.ends.iter().filter(|end| is_late(end));
            late.map(|end| Party::Member(end.member())).collect::<Vec<_>>()
        };
        let patience = self.offer.patience;
        let stalled = |end: &ChannelEnd| end.waiting() > patience;
        let missing = |joint| self.coordinators[joint as usize].as_ref().map(Coordinator::missing).unwrap_or_default();
        if stake.core.phase == Phase::Live || stake.core.phase == Phase::ClosesSigned {
            return Some(of_ends(&stalled)).filter(|late| !late.is_empty());
        }
        if stake.core.waited <= patience {
            return None;
        }
        match stake.core.phase {
            Phase::SigningRefunds => Some(of_ends(&|end| !end.is_acknowledged())),
            Phase::SigningAllocation => Some(missing(Joint::Allocation)),
            Phase::Funding => Some(of_ends(&|end| end.is_ready() && !end.is_live())).filter(|late| !late.is_empty()),
            Phase::SigningCloses => Some(of_ends(&|end| !end.is_close_acknowledged())),
            Phase::SigningFactoryClose => Some(missing(Joint::FactoryClose)),
            Phase::FactoryCloseSigned => Some(Vec::new()),
            _ => None,
        }
    }
}

fn went_live(stake: &mut Stake, channel: u32) -> Vec<Effect> {
    if stake.ends.iter().all(ChannelEnd::is_live) {
        stake.advance(Phase::Live);
    }
    vec![Effect::Report(Event::Live { channel })]
}

fn send(member: u32, message: Message) -> Effect {
    Effect::Send { to: party(member as usize), message }
}
