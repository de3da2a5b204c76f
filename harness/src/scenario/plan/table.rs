//! A plan as tables.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};

use super::rows::rows;
use super::{Output, Plan, Planned};

/// More outputs than these are not listed.
const OUTPUTS: usize = 4;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.scenario)?;
        for (place, value) in &self.cell {
            write!(f, " [{place}={value}]")?;
        }
        writeln!(f, ": {} members\n", self.members)?;
        writeln!(f, "{}\n", self.table().trim_fmt())?;
        writeln!(f, "{}", self.sums().trim_fmt())?;
        if let Some(fee) = self.cut_through_fee_sat {
            writeln!(f, "\nallocation and closes pay {fee} sat together")?;
            for (name, planned) in self.transactions.iter().filter(|(name, _)| name.starts_with("factory-close")) {
                let premium = planned.fee_sat.saturating_sub(fee);
                writeln!(f, "{name} pays {} sat = {fee} sat + a premium of {premium} sat", planned.fee_sat)?;
            }
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}

impl Plan {
    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["transaction", "spends", "vB", "WU", "fee, sat", "lock", "pays"]);
        for row in rows(self) {
            let each = if row.count > 1 { " each" } else { "" };
            table.add_row([
                format!("{}{}", row.name, if row.first.signed { "" } else { " (not signed)" }),
                spends(row.first, row.count),
                row.first.vsize.to_string(),
                row.first.weight.to_string(),
                format!("{}{each}", row.first.fee_sat),
                lock(row.first),
                outputs(&row.first.outputs, row.count),
            ]);
        }
        for column in [2, 3, 4] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }

    fn sums(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["way out", "transactions", "vB", "WU", "fees, sat"]);
        for path in &self.paths {
            let numbers =
                [path.transactions as u64, path.vsize, path.weight, path.fee_sat].map(|number| number.to_string());
            table.add_row([path.name.clone()].into_iter().chain(numbers));
        }
        for column in 1..5 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }
}

fn spends(planned: &Planned, count: usize) -> String {
    match planned.spends.as_slice() {
        [one] if count == 1 || !one.contains("-m") => one.clone(),
        [] => String::new(),
        [_, ..] if count > 1 => "its refund".to_owned(),
        several => several.join(" or "),
    }
}

/// What a transaction has to wait for.
pub(super) fn lock(planned: &Planned) -> String {
    match (planned.relative_lock, planned.absolute_lock) {
        (Some(blocks), _) => format!("{blocks} blocks"),
        (None, Some(height)) => format!("height {height}"),
        (None, None) => String::new(),
    }
}

fn outputs(outputs: &[Output], count: usize) -> String {
    let total: u64 = outputs.iter().map(|output| output.amount_sat).sum();
    if outputs.len() > OUTPUTS {
        return format!("{total} to {} outputs", outputs.len());
    }
    let to = |output: &Output| match output.to.strip_prefix('m') {
        Some(_) if count > 1 => "member".to_owned(),
        _ => output.to.clone(),
    };
    let parts: Vec<_> = outputs.iter().map(|output| format!("{} to {}", output.amount_sat, to(output))).collect();
    parts.join(", ")
}
