//! What factories cost, as comma-separated values (RFC 4180). Names of columns say the unit; parts are from 0 to 1.

use super::report::{FeesReport, Shape};
use crate::csv::Csv;

/// A line for each kind of transaction of each factory, and the header.
///
/// The columns are `members`, `lock`, `version`, `feerate_sat_per_vb`, `transaction`, `count`, `vb`, `least_vb`, `most_vb`,
/// `formula_vb`, `witness_wu` and `fee_sat`: `vb` and `fee_sat` of all of them together, `witness_wu` of the largest.
pub fn transactions_csv(report: &FeesReport) -> String {
    let mut table = Csv::default();
    header(&mut table, "transaction,count,vb,least_vb,most_vb,formula_vb,witness_wu,fee_sat");
    for factory in &report.factories {
        for tx in &factory.transactions {
            let values = [
                tx.name.name().to_owned(),
                tx.count.to_string(),
                tx.vb.to_string(),
                tx.least_vb.to_string(),
                tx.most_vb.to_string(),
                tx.formula_vb.to_string(),
                tx.witness_wu.to_string(),
                tx.fee_sat.to_string(),
            ];
            table.line(factory.shape.columns().into_iter().chain(values));
        }
    }
    table.text()
}

/// A line for each way of each factory, and the header.
///
/// The columns are `members`, `lock`, `version`, `feerate_sat_per_vb`, `way`, `transactions`, `vb`, `vb_per_member`,
/// `vb_saved_of_separate`, `vb_saved_of_batched`, `fee_sat`, `fee_sat_per_member`, `fee_saved_of_separate`,
/// `fee_saved_of_batched`, and `fee_by_size_sat`: what the way would cost if FC paid by its size.
pub fn ways_csv(report: &FeesReport) -> String {
    let mut table = Csv::default();
    header(
        &mut table,
        "way,transactions,vb,vb_per_member,vb_saved_of_separate,vb_saved_of_batched,fee_sat,fee_sat_per_member,\
         fee_saved_of_separate,fee_saved_of_batched,fee_by_size_sat",
    );
    for factory in &report.factories {
        for way in &factory.ways {
            let values = [
                way.way.name().to_owned(),
                way.transactions.to_string(),
                way.vb.to_string(),
                way.vb_per_member.to_string(),
                way.vb_saved_of_separate.to_string(),
                way.vb_saved_of_batched.to_string(),
                way.fee_sat.to_string(),
                way.fee_sat_per_member.to_string(),
                way.fee_saved_of_separate.to_string(),
                way.fee_saved_of_batched.to_string(),
                factory.fee_by_size(way).to_string(),
            ];
            table.line(factory.shape.columns().into_iter().chain(values));
        }
    }
    table.text()
}

fn header(table: &mut Csv, columns: &str) {
    let columns = "members,lock,version,feerate_sat_per_vb".split(',').chain(columns.split(','));
    table.line(columns.map(str::to_owned));
}

impl Shape {
    fn columns(&self) -> [String; 4] {
        let Shape { members, lock, version, .. } = self;
        [members.to_string(), lock.to_string(), version.to_string(), self.sat_per_vb().to_string()]
    }
}
