//! What factories cost, for who reads it: tables that are Markdown as well.

use std::collections::BTreeSet;

use comfy_table::{CellAlignment, Table, presets};

use super::report::{FactoryReport, FeesReport, Published, Shape, Tx, Way, WayReport};
use crate::report::grouped;

/// What makes the difference between the literature's figures and ours.
const PUBLISHED_NOTE: &str = "\
A group saves the more, the more channels its parties have with each other: of 20 parties with 100 channels, each takes part \
in ten. In a single-funded factory each member has one channel, and the factory close an output of 43 vB for it, of the 308 \
vB that the channel takes alone: with however many members, no more than 86.0 % is saved. The factor 0.4 is read off the \
published figure, a cost of 8 where 100 channels have 200 shares; Bitcoin aggregates signatures within an input only, so the \
group's funding, when it is signed, still has p of them.";

/// The tables, with what they have in common before them.
pub fn markdown(report: &FeesReport) -> String {
    let named = Named::of(report);
    let common = named.common(report);
    let mut page = format!("{common}\n\n{}\n", ways(report, &named));
    page.push_str(
        "\nThe factory close pays what the allocation and the closes would have paid together, so in fees it saves \
         what the fallback saves. Its size would cost less:\n\n",
    );
    page.push_str(&format!("{}\n", closes(report, &named)));
    page.push_str(
        "\nBeside the figures of Burchert, Decker and Wattenhofer, of p parties with n channels; their formulas are our \
         reading of their counting:\n\n",
    );
    page.push_str(&format!("{}\n\n{PUBLISHED_NOTE}\n", published(&report.published)));
    for left_out in &report.left_out {
        page.push_str(&format!("\nleft out: {left_out}\n"));
    }
    page
}

/// Of which parts of a shape there are several, so that they have to be told apart.
struct Named {
    lock: bool,
    version: bool,
    feerate: bool,
}

impl Named {
    fn of(report: &FeesReport) -> Self {
        let several = |part: fn(&Shape) -> String| {
            report.factories.iter().map(|factory| part(&factory.shape)).collect::<BTreeSet<_>>().len() > 1
        };
        Named {
            lock: several(|shape| shape.lock.to_string()),
            version: several(|shape| shape.version.to_string()),
            feerate: several(|shape| shape.sat_per_vb().to_string()),
        }
    }

    /// What all factories have in common.
    fn common(&self, report: &FeesReport) -> String {
        let Some(FactoryReport { shape, .. }) = report.factories.first() else { return String::new() };
        let mut words = Vec::new();
        if !self.lock {
            words.push(shape.lock.to_string());
        }
        if !self.version {
            words.push(format!("version {}", shape.version));
        }
        if !self.feerate {
            words.push(format!("{} sat/vB", shape.sat_per_vb()));
        }
        words.push(format!("seed {}", report.seed));
        format!("With {}, and every transaction signed:", words.join(", "))
    }

    fn titles(&self) -> Vec<&'static str> {
        let some = |named: bool, title| named.then_some(title);
        let named = [some(self.lock, "lock"), some(self.version, "version"), some(self.feerate, "sat/vB")];
        named.into_iter().flatten().chain(["members"]).collect()
    }

    fn cells(&self, shape: &Shape) -> Vec<String> {
        let lock = self.lock.then(|| shape.lock.to_string());
        let version = self.version.then(|| shape.version.to_string());
        let feerate = self.feerate.then(|| shape.sat_per_vb().to_string());
        [lock, version, feerate].into_iter().flatten().chain([grouped(shape.members.into())]).collect()
    }
}

/// A line for each way.
fn ways(report: &FeesReport, named: &Named) -> Table {
    let columns = [
        "what is confirmed",
        "transactions",
        "vB",
        "vB per member",
        "saved, %",
        "of a batch, %",
        "fee, sat",
        "fee per member",
        "fee saved, %",
        "of a batch's, %",
    ];
    let mut table = table(named.titles().into_iter().chain(columns));
    for factory in &report.factories {
        for way in &factory.ways {
            let cells = [
                confirmed(way.way).to_owned(),
                grouped(way.transactions.into()),
                grouped(way.vb),
                tenths(way.vb_per_member),
                part(way, Way::Separate, way.vb_saved_of_separate),
                part(way, Way::Batched, way.vb_saved_of_batched),
                grouped(way.fee_sat),
                tenths(way.fee_sat_per_member),
                part(way, Way::Separate, way.fee_saved_of_separate),
                part(way, Way::Batched, way.fee_saved_of_batched),
            ];
            table.add_row(named.cells(&factory.shape).into_iter().chain(cells));
        }
    }
    aligned(table, named, &[named.titles().len()])
}

/// What is confirmed on a way, in the names of the protocol.
fn confirmed(way: Way) -> &'static str {
    match way {
        Way::Cooperative => "F, FC",
        Way::Fallback => "F, A, every C",
        Way::Unilateral => "F, A, every R",
        Way::Batched => "no factory: one open, every close",
        Way::Separate => "no factory: every open, every close",
    }
}

/// What a way saves of another one; nothing, where it is the same.
fn part(way: &WayReport, of: Way, saved: f64) -> String {
    if way.way == of { String::new() } else { percent(saved) }
}

/// What the factory close pays.
fn closes(report: &FeesReport, named: &Named) -> Table {
    let columns = ["FC, vB", "pays, sat", "sat/vB", "its size costs, sat", "left, sat", "left per member, sat"];
    let mut table = table(named.titles().into_iter().chain(columns));
    for factory in &report.factories {
        let fee = &factory.factory_close;
        let cells = [
            factory.tx(Tx::FactoryClose).map_or(String::new(), |tx| grouped(tx.vb)),
            grouped(fee.exact_sat),
            format!("{:.2}", fee.feerate_sat_per_vb),
            grouped(fee.by_size_sat),
            grouped(fee.left_sat),
            tenths(fee.left_sat_per_member),
        ];
        table.add_row(named.cells(&factory.shape).into_iter().chain(cells));
    }
    aligned(table, named, &[])
}

fn published(all: &[Published]) -> Table {
    let mut table = table([
        "factory",
        "p",
        "n",
        "published, %",
        "formula",
        "gives, %",
        "signed with",
        "vB",
        "without it, vB",
        "saved, %",
    ]);
    for one in all {
        table.add_row([
            one.factory.to_owned(),
            one.parties.to_string(),
            one.channels.to_string(),
            one.published.map_or(String::new(), |saved| format!("{:.0}", saved * 100.0)),
            one.formula.to_owned(),
            percent(one.by_formula),
            one.lock.to_string(),
            grouped(one.factory_vb),
            grouped(one.separate_vb),
            percent(one.signed),
        ]);
    }
    for column in [1, 2, 3, 5, 7, 8, 9] {
        right(&mut table, column);
    }
    table
}

fn table<'a>(titles: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(titles);
    table
}

/// Numbers to the right: all columns but the lock's and those of `texts`.
fn aligned(mut table: Table, named: &Named, texts: &[usize]) -> Table {
    let first = usize::from(named.lock);
    for column in (first..table.column_count()).filter(|column| !texts.contains(column)) {
        right(&mut table, column);
    }
    table
}

fn right(table: &mut Table, column: usize) {
    if let Some(column) = table.column_mut(column) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

fn percent(part: f64) -> String {
    let text = format!("{:.1}", part * 100.0);
    if text == "-0.0" { "0.0".to_owned() } else { text }
}

/// A number with one digit after the point.
fn tenths(number: f64) -> String {
    let tenths = (number * 10.0).round() as u64;
    format!("{}.{}", grouped(tenths / 10), tenths % 10)
}
