//! Who has joined: the operator's list of members while the factory is put together.

use std::collections::BTreeMap;

use secp256k1::PublicKey;

use super::{Mismatch, Reason};
use crate::keys::{MemberPublic, OperatorPublic};
use crate::name::Party;
use crate::terms::party;

#[derive(Debug)]
pub(super) struct Roster {
    members: Vec<Option<MemberPublic>>,
    missing: usize,
    factory_keys: BTreeMap<PublicKey, Party>,
    channel_keys: BTreeMap<PublicKey, Party>,
}

impl Roster {
    pub(super) fn new(operator: &OperatorPublic, members: usize) -> Self {
        Roster {
            members: vec![None; members],
            missing: members,
            factory_keys: BTreeMap::from([(operator.factory, Party::Operator)]),
            channel_keys: BTreeMap::from([(operator.channel, Party::Operator)]),
        }
    }

    pub(super) fn has(&self, member: usize) -> bool {
        self.members[member].is_some()
    }

    /// Checks what a member joins with. Says whether it is new.
    ///
    /// What would spoil the terms for everybody is refused here, while it is clear who sent it.
    pub(super) fn check(&self, member: usize, public: &MemberPublic) -> Result<bool, Reason> {
        if let Some(known) = &self.members[member] {
            return if known == public { Ok(false) } else { Err(Reason::Contradiction("join")) };
        }
        for (which, keys, key) in
            [("factory", &self.factory_keys, &public.factory), ("channel", &self.channel_keys, &public.channel)]
        {
            if let Some(&owner) = keys.get(key) {
                return Err(Reason::KeyTaken { which, owner });
            }
        }
        if !public.payout.is_p2tr() {
            let found = format!("{:x}", public.payout);
            return Err(Mismatch { field: "payout script", expected: "pay-to-taproot".to_owned(), found }.into());
        }
        Ok(true)
    }

    /// Whether everybody has joined once `member` has.
    pub(super) fn completed_by(&self, member: usize) -> bool {
        self.missing == usize::from(!self.has(member))
    }

    /// Everybody, if all have joined, with `member` joining as `public`.
    pub(super) fn with<'a>(
        &'a self,
        member: usize,
        public: &'a MemberPublic,
    ) -> impl Iterator<Item = &'a MemberPublic> {
        self.members
            .iter()
            .enumerate()
            .filter_map(move |(index, known)| known.as_ref().or((index == member).then_some(public)))
    }

    /// Enters a member that [`Roster::check`] found to be new.
    pub(super) fn enter(&mut self, member: usize, public: MemberPublic) {
        self.factory_keys.insert(public.factory, party(member));
        self.channel_keys.insert(public.channel, party(member));
        self.members[member] = Some(public);
        self.missing -= 1;
    }
}
