//! What a miner puts into its block.

use super::{Course, background_of, spends_funding};
use crate::race::item::Item;
use crate::race::language::Side;
use crate::race::nodes::{BlockId, Nodes};
use crate::race::record::Margin;
use crate::race::setup::Chooses;

/// What a miner would mine.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) items: Vec<Item>,
    /// Something else that is worth the same to it.
    pub(super) other: Option<Vec<Item>>,
    /// What the sides are worth to it, if it compares them.
    pub(super) margin: Option<Margin>,
}

impl<N: Nodes> Course<'_, N> {
    /// What a miner would mine now.
    pub(super) async fn choose(&mut self, miner: usize) -> Result<Choice, N::Error> {
        let node = self.setup.miners[miner].node;
        let only = |items| Choice { items, other: None, margin: None };
        Ok(match self.setup.miners[miner].policy {
            Chooses::Template => only(self.nodes.template(node, self.now).await?),
            Chooses::Nothing => only(Vec::new()),
            Chooses::Better { second } => self.better(node, second).await?,
            Chooses::Replaced => {
                let own = self.nodes.template(node, self.now).await?;
                match self.replaced(node).await? {
                    Some(items) => only(self.with_side(node, &items).await?),
                    None => only(own),
                }
            }
            Chooses::Bribed { side, payment } => {
                let own = self.nodes.template(node, self.now).await?;
                let tip = self.tips[node];
                let published = self.published(side);
                if self.blocks[tip.0].decided.is_some() || published.is_empty() {
                    return Ok(only(own));
                }
                // It would be paid for its own template too, were the side in it.
                let paid = |items: &[Item]| if holds(items, side) { payment.to_sat() } else { 0 };
                let wanted = self.with_side(node, &published).await?;
                let better = self.fees(&wanted) + paid(&wanted) > self.fees(&own) + paid(&own);
                only(if better { wanted } else { own })
            }
        })
    }

    /// The better of two templates.
    async fn better(&mut self, first: usize, second: usize) -> Result<Choice, N::Error> {
        let (one, other) = (self.nodes.template(first, self.now).await?, self.nodes.template(second, self.now).await?);
        let tip = self.tips[first];
        // Until both nodes have the same tip, the miner goes by its own.
        if self.tips[second] != tip {
            return Ok(Choice { items: one, other: None, margin: None });
        }
        let margin = match self.blocks[tip.0].decided {
            Some(_) => None,
            None => self.margin(tip, (first, &one), (second, &other)).await?,
        };
        let (worth, other_worth) = (self.fees(&one), self.fees(&other));
        Ok(match worth.cmp(&other_worth) {
            std::cmp::Ordering::Greater => Choice { items: one, other: None, margin },
            std::cmp::Ordering::Less => Choice { items: other, other: None, margin },
            std::cmp::Ordering::Equal => Choice { items: one, other: Some(other), margin },
        })
    }

    /// What the factory close is worth, if one of the nodes holds it and the other the allocation.
    async fn margin(
        &mut self,
        tip: BlockId,
        one: (usize, &[Item]),
        other: (usize, &[Item]),
    ) -> Result<Option<Margin>, N::Error> {
        let (held, others) = (self.nodes.holds(one.0).await?, self.nodes.holds(other.0).await?);
        let (close, allocation, side) = match (holds(&held, Side::FactoryClose), holds(&others, Side::FactoryClose)) {
            (true, false) => (one, other, others),
            (false, true) => (other, one, held),
            _ => return Ok(None),
        };
        if !holds(&side, Side::Allocation) {
            return Ok(None);
        }
        let mined: usize = self.branch(tip).map(|block| background_of(&self.blocks[block.0].items)).sum();
        let waiting = self.seen[close.0].background.saturating_sub(mined);
        let background = close.1.iter().filter(|item| item.side().is_none());
        let rates = background.map(|item| self.facts(*item).feerate());
        let marginal = match waiting > background_of(close.1) {
            true => rates.fold(f64::INFINITY, f64::min),
            false => 0.0,
        };
        let marginal = if marginal.is_finite() { marginal } else { 0.0 };
        let own = self.setup.sides.factory_close;
        let fees = own.fee.to_sat() as f64 - self.fees(&side) as f64;
        let sizes: u64 = side.iter().map(|item| self.facts(*item).vsize()).sum();
        let measured = self.fees(close.1) as i64 - self.fees(allocation.1) as i64;
        let formula_sat = fees + marginal * (sizes as f64 - own.vsize() as f64);
        Ok(Some(Margin { measured_sat: measured, formula_sat, marginal }))
    }

    /// What a node took once, and has no more since the other side took its place.
    async fn replaced(&mut self, node: usize) -> Result<Option<Vec<Item>>, N::Error> {
        let tip = self.tips[node];
        if self.blocks[tip.0].decided.is_some() {
            return Ok(None);
        }
        let held = self.nodes.holds(node).await?;
        let accepted = &self.seen[node].accepted;
        let gone = accepted.iter().find_map(|item| spends_funding(*item).filter(|_| !held.contains(item)));
        Ok(gone.map(|side| accepted.iter().copied().filter(|item| item.side() == Some(side)).collect()))
    }

    /// What of a side has been published up to now.
    fn published(&self, side: Side) -> Vec<Item> {
        let until = self.setup.publish.iter().filter(|(time, ..)| *time <= self.now);
        let mut items: Vec<Item> =
            until.flat_map(|(_, _, items)| items).copied().filter(|item| item.side() == Some(side)).collect();
        items.sort_unstable();
        items.dedup();
        // Nobody can mine what spends from something unknown.
        if items.iter().any(|item| spends_funding(*item).is_some()) { items } else { Vec::new() }
    }

    /// A block with a side, as far as there is room, and then with the best of the background that the node knows.
    async fn with_side(&mut self, node: usize, side: &[Item]) -> Result<Vec<Item>, N::Error> {
        let tip = self.tips[node];
        let mut sorted = side.to_vec();
        // Parents come before children.
        sorted.sort_unstable();
        let mined: std::collections::HashSet<Item> =
            self.branch(tip).flat_map(|block| self.blocks[block.0].items.iter().copied()).collect();
        let known = u32::try_from(self.seen[node].background).unwrap_or(u32::MAX);
        let mut background: Vec<Item> = (0..known).map(Item::Background).filter(|item| !mined.contains(item)).collect();
        background.sort_by_key(|item| (std::cmp::Reverse(self.facts(*item).fee), *item));
        let room = self.setup.room().to_wu();
        let (mut weight, mut block) = (0, Vec::new());
        for item in sorted.into_iter().chain(background) {
            let own = self.facts(item).weight.to_wu();
            let parent_in = item.parent().is_none_or(|parent| block.contains(&parent));
            if parent_in && weight + own < room {
                weight += own;
                block.push(item);
            }
        }
        Ok(block)
    }
}

/// Whether a side's transaction that spends the funding is among these.
fn holds(items: &[Item], side: Side) -> bool {
    items.iter().any(|item| spends_funding(*item) == Some(side))
}
