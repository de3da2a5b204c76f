//! Transactions that are alike but for their member, as one row.

use factory_core::TxName;

use super::{Plan, Planned};

/// Transactions that are alike.
pub(super) struct Row<'a> {
    /// Such as `close-m0`, or `close-m2..m199`.
    pub(super) name: String,
    /// The first of them.
    pub(super) first: &'a Planned,
    /// How many they are.
    pub(super) count: usize,
    /// What they spend, by the kind of transaction, as rows are sorted.
    pub(super) last: &'a Planned,
}

/// The kind of a transaction, its number in its channel, and its member.
fn place(name: TxName) -> (u8, u32, u32) {
    match name {
        TxName::Funding => (0, 0, 0),
        TxName::Allocation => (1, 0, 0),
        TxName::Refund(member, state) => (2, state, member),
        TxName::HtlcSuccess(member, htlc) => (3, htlc, member),
        TxName::HtlcTimeout(member, htlc) => (4, htlc, member),
        TxName::Close(member) => (5, 0, member),
        TxName::FactoryClose(rung) => (6, rung.into(), 0),
        TxName::Spend(number) => (7, number, 0),
    }
}

/// Whether two transactions look alike, but for their member.
fn alike(one: &Planned, other: &Planned) -> bool {
    let amounts = |planned: &Planned| -> Vec<u64> { planned.outputs.iter().map(|output| output.amount_sat).collect() };
    let facts = |planned: &Planned| {
        (planned.vsize, planned.fee_sat, planned.relative_lock, planned.absolute_lock, planned.signed)
    };
    facts(one) == facts(other) && amounts(one) == amounts(other)
}

/// All transactions, in the order of a lifecycle.
pub(super) fn rows(plan: &Plan) -> Vec<Row<'_>> {
    let mut sorted: Vec<&Planned> = plan.transactions.values().collect();
    sorted.sort_by_key(|planned| place(planned.name.0));
    let mut rows: Vec<Row<'_>> = Vec::new();
    for planned in sorted {
        let (kind, number, member) = place(planned.name.0);
        match rows.last_mut() {
            Some(row)
                if place(row.last.name.0) == (kind, number, member.wrapping_sub(1)) && alike(row.first, planned) =>
            {
                row.last = planned;
                row.count += 1;
            }
            _ => rows.push(Row { name: planned.name.0.to_string(), first: planned, last: planned, count: 1 }),
        }
    }
    for row in rows.iter_mut().filter(|row| row.count > 1) {
        let (_, _, last) = place(row.last.name.0);
        let (_, _, first) = place(row.first.name.0);
        row.name = row.name.replacen(&format!("-m{first}"), &format!("-m{first}..m{last}"), 1);
    }
    rows
}

impl Row<'_> {
    /// Whether a transaction of that name is one of them.
    pub(super) fn has(&self, name: TxName) -> bool {
        let (kind, number, member) = place(name);
        let (first_kind, first_number, first) = place(self.first.name.0);
        let (_, _, last) = place(self.last.name.0);
        (kind, number) == (first_kind, first_number) && (first..=last).contains(&member)
    }
}
