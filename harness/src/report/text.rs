//! A run for who reads it on a terminal.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};

use super::model::{MoneyReport, RefusedReport, RunReport, StatusReport, TransactionReport};

/// How many channel closes the table shows, of those that are only signed.
const CLOSES_SHOWN: usize = 5;
/// How many failures are told.
const FAILURES_SHOWN: usize = 12;
/// How many parties the table shows, of those that end with what was expected.
const BALANCES_SHOWN: usize = 6;

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (seed {}, {} ms", self.title(), self.verdict.word(), self.seed, self.duration_ms)?;
        for (name, node) in &self.nodes {
            write!(f, ", {name} is {} {}", node.kind, node.version)?;
        }
        writeln!(f, ")")?;
        if !self.transactions.is_empty() {
            writeln!(f, "\n{}", self.transaction_table())?;
        }
        if !self.balances.is_empty() {
            writeln!(f, "\n{}", self.balance_table())?;
        }
        self.money.map_or(Ok(()), |money| write!(f, "{money}"))?;
        for RefusedReport { tx, by, reason, times } in &self.refused {
            writeln!(f, "refused: {tx} by {by}: {reason} ({times} times)")?;
        }
        if !self.failures.is_empty() {
            writeln!(f)?;
        }
        for failure in self.failures.iter().take(FAILURES_SHOWN) {
            writeln!(f, "{}: {failure}", self.verdict.word())?;
        }
        if let Some(more) = self.failures.len().checked_sub(FAILURES_SHOWN).filter(|more| *more > 0) {
            writeln!(f, "{}: … and {more} more", self.verdict.word())?;
        }
        f.write_str(&self.logs)?;
        if let Some(files) = &self.files {
            writeln!(f, "files: {}", files.display())?;
        }
        if !self.failures.is_empty() {
            writeln!(f, "again: {}", self.replay)?;
        }
        Ok(())
    }
}

impl fmt::Display for MoneyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (funding, outputs, fees) = (grouped(self.funding_sat), grouped(self.outputs_sat), grouped(self.fees_sat));
        writeln!(f, "\nfunding {funding} sat = outputs {outputs} sat + fees {fees} sat")?;
        if self.outstanding_sat > 0 {
            writeln!(f, "{} sat of the outputs are in HTLCs that nobody has taken", grouped(self.outstanding_sat))?;
        }
        if self.unsettled_sat > 0 {
            writeln!(f, "{} sat of the outputs are in what nothing has settled", grouped(self.unsettled_sat))?;
        }
        Ok(())
    }
}

impl fmt::Display for StatusReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.replaced_by, self.height) {
            (Some(by), _) => write!(f, "replaced by {by}"),
            (None, Some(height)) => write!(f, "confirmed in block {height}"),
            (None, None) => f.write_str(&self.status),
        }
    }
}

impl TransactionReport {
    /// Where it stands, in a few words: once, if all nodes agree.
    pub fn standing(&self) -> String {
        let mut each = self.status.values();
        match each.next() {
            Some(first) if each.all(|other| other == first) => first.to_string(),
            _ => {
                let each = self.status.iter().map(|(node, status)| format!("{node}: {status}"));
                each.collect::<Vec<_>>().join(", ")
            }
        }
    }
}

impl RunReport {
    fn transaction_table(&self) -> Table {
        let mut table = table(["transaction", "txid", "vB", "WU", "fee, sat", "status"], 2..5);
        let mut hidden = 0;
        for (name, tx) in &self.transactions {
            let standing = tx.standing();
            let is_close = name.starts_with("close-") && standing == "signed";
            if is_close && name.trim_start_matches("close-m").parse().is_ok_and(|index: usize| index >= CLOSES_SHOWN) {
                hidden += 1;
                continue;
            }
            if hidden > 0 && !is_close {
                table.add_row([format!("… {hidden} more closes")]);
                hidden = 0;
            }
            let (vsize, weight, fee) = (grouped(tx.vsize), grouped(tx.weight), grouped(tx.fee_sat));
            table.add_row([name.clone(), tx.txid.clone(), vsize, weight, fee, standing]);
        }
        if hidden > 0 {
            table.add_row([format!("… {hidden} more closes")]);
        }
        table
    }

    fn balance_table(&self) -> Table {
        let mut table = table(["party", "expected, sat", "final, sat", ""], 1..3);
        let (mut shown, mut hidden) = (0, 0);
        for (name, balance) in &self.balances {
            let difference = i128::from(balance.final_sat) - i128::from(balance.expected_sat);
            if difference == 0 && shown == BALANCES_SHOWN {
                hidden += 1;
                continue;
            }
            let remark = if difference == 0 { String::new() } else { format!("{difference:+} sat") };
            table.add_row([name.clone(), grouped(balance.expected_sat), grouped(balance.final_sat), remark]);
            shown += usize::from(difference == 0);
        }
        if hidden > 0 {
            table.add_row([format!("… {hidden} more as expected")]);
        }
        table
    }
}

fn table<const N: usize>(header: [&str; N], numbers: std::ops::Range<usize>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for index in numbers {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A number with its digits in groups of three.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
