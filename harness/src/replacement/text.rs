//! An answer for who reads it on a terminal.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};

use super::Answer;
use crate::report::grouped;

/// One answer in full: what is in the mempool, every rule, and what came of it.
pub fn told(answer: &Answer) -> String {
    let mut text = String::new();
    let mut line = |words: String| writeln!(text, "{words}").expect("a string takes all that is written");
    let Answer { kind, version, members, closes, factory_close_vsize, .. } = answer;
    let held = match &answer.allocation_refused {
        Some(why) => format!("the mempool holds nothing: the allocation is refused ({why})"),
        None => format!("the mempool holds the allocation and {closes} of {members} closes"),
    };
    line(format!("{kind}: {members} members, version {version}, {} sat/vB; {held}", answer.feerate_sat_per_vb));
    if let Some(why) = &answer.closes_refused {
        line(format!("  close-m{closes} is refused: {why}"));
    }
    let mut rules = Table::new();
    rules.load_style(presets::NOTHING);
    rules.set_header(["  rule", "asks for", "offered", "met", ""]);
    for row in &answer.rules {
        let met = if row.met { "yes" } else { "NO" };
        let decides = if row.decides { "decides" } else { "" };
        rules.add_row([&format!("  {}", row.rule), &row.requires, &row.offers, met, decides]);
    }
    for column in [1, 2] {
        rules.column_mut(column).expect("the table has five columns").set_cell_alignment(CellAlignment::Right);
    }
    line(rules.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n"));
    let verdict = |accepted: bool, reason: &Option<String>| match reason {
        Some(why) if !accepted => format!("refused: {why}"),
        _ => "accepted".to_owned(),
    };
    line(format!(
        "  the factory close, {factory_close_vsize} vB, at its exact fee of {} sat: {}",
        grouped(answer.exact_fee_sat),
        verdict(answer.exact_accepted, &answer.reject_reason)
    ));
    for offer in &answer.offers {
        line(format!("  at {} sat: {}", grouped(offer.fee_sat), verdict(offer.accepted, &offer.reject_reason)));
    }
    let sat = |fee: Option<u64>| fee.map_or("none".to_owned(), |fee| format!("{} sat", grouped(fee)));
    let found = match (answer.min_fee_predicted_sat, answer.min_fee_measured_sat) {
        (_, Some(fee)) => {
            format!("measured {}, which replaced {} transactions", sat(Some(fee)), answer.evicted)
        }
        (Some(_), None) if answer.differences.is_empty() => "which is more than it can pay".to_owned(),
        (_, None) => "measured none".to_owned(),
    };
    line(format!("  the smallest fee: predicted {}, {found}", sat(answer.min_fee_predicted_sat)));
    for difference in &answer.differences {
        line(format!("  THE MODEL AND THE NODE DIFFER: {difference}"));
    }
    text
}

/// Many answers in a line each.
pub fn table(answers: &[Answer]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "node",
        "version",
        "members",
        "sat/vB",
        "in the mempool",
        "exact fee (sat)",
        "at the exact fee",
        "smallest fee (sat)",
        "decided by",
    ]);
    for answer in answers {
        let held = match (&answer.allocation_refused, answer.closes) {
            (Some(_), _) => "nothing".to_owned(),
            (None, 0) => "A".to_owned(),
            (None, closes) if closes == answer.members => format!("A and all {closes}"),
            (None, closes) if closes < answer.closes_asked => format!("A and {closes}, no more"),
            (None, closes) => format!("A and {closes}"),
        };
        let at_exact = match &answer.reject_reason {
            Some(why) => why.split([',', ':']).next().unwrap_or(why).to_owned(),
            None => "accepted".to_owned(),
        };
        let smallest = match (answer.min_fee_predicted_sat, answer.min_fee_measured_sat) {
            (_, None) => "none".to_owned(),
            (predicted, Some(measured)) if predicted == Some(measured) => grouped(measured),
            (predicted, Some(measured)) => {
                format!("{} (predicted {})", grouped(measured), predicted.map_or("none".to_owned(), grouped))
            }
        };
        let decides = answer.rules.iter().find(|row| row.decides).map_or("", |row| row.rule);
        table.add_row([
            &answer.kind,
            &answer.version.to_string(),
            &answer.members.to_string(),
            &answer.feerate_sat_per_vb.to_string(),
            &held,
            &grouped(answer.exact_fee_sat),
            &at_exact,
            &smallest,
            decides,
        ]);
    }
    for column in [1, 2, 3, 5, 7] {
        table.column_mut(column).expect("the table has nine columns").set_cell_alignment(CellAlignment::Right);
    }
    format!("{table}\n")
}
