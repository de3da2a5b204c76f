//! A plan as a Mermaid flowchart.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use factory_core::TxName;

use super::Plan;
use super::rows::rows;
use super::table::lock;

impl Plan {
    /// The transactions as a Mermaid flowchart: what stands at the beginning of an arrow is spent by what stands at its
    /// end.
    pub fn mermaid(&self) -> String {
        let rows = rows(self);
        let mut text = "flowchart LR\n".to_owned();
        for (number, row) in rows.iter().enumerate() {
            let each = if row.count > 1 { " each" } else { "" };
            let planned = row.first;
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "    t{number}[\"{}<br/>{} vB, {} sat{each}\"]",
                row.name, planned.vsize, planned.fee_sat
            );
        }
        let mut arrows = BTreeSet::new();
        for (number, row) in rows.iter().enumerate() {
            for planned in [row.first, row.last] {
                for name in planned.spends.iter().filter_map(|spent| spent.parse::<TxName>().ok()) {
                    if let Some(spent) = rows.iter().position(|row| row.has(name)) {
                        arrows.insert((spent, number));
                    }
                }
            }
        }
        for (spent, number) in arrows {
            let lock = lock(rows[number].first);
            let arrow = if lock.is_empty() { "-->".to_owned() } else { format!("-->|\"{lock}\"|") };
            let _ = writeln!(text, "    t{spent} {arrow} t{number}");
        }
        text
    }
}
