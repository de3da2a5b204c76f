//! The transactions of a run, and which spends what, as a picture.

use indexmap::IndexMap;

use super::super::model::{RunReport, TransactionReport};
use super::super::text::grouped;
use super::{Page, escaped};

/// How many transactions of one sort and one standing are drawn.
const ALIKE: usize = 3;
const WIDTH: usize = 250;
const HEIGHT: usize = 64;
const GAP_X: usize = 92;
const GAP_Y: usize = 14;

/// A box of the picture: a transaction, or how many more there are of its sort.
struct Box<'a> {
    name: String,
    tx: Option<&'a TransactionReport>,
    column: usize,
    row: usize,
}

pub(super) fn graph(page: &mut Page, run: &RunReport) {
    let boxes = boxes(run);
    let places: IndexMap<&str, (usize, usize)> =
        boxes.iter().map(|one| (one.name.as_str(), (one.column, one.row))).collect();
    let columns = boxes.iter().map(|one| one.column + 1).max().unwrap_or(1);
    let rows = boxes.iter().map(|one| one.row + 1).max().unwrap_or(1);
    let (width, height) = (columns * (WIDTH + GAP_X), rows * (HEIGHT + GAP_Y) + GAP_Y);
    page.raw(&format!("<div class=\"wide\"><svg class=\"graph\" role=\"img\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" aria-label=\"Which transaction spends which\">\n"));
    for one in &boxes {
        let Some(tx) = one.tx else { continue };
        let amount: u64 = tx.outputs.iter().map(|output| output.sat).sum::<u64>() + tx.fee_sat;
        for parent in tx.spends.iter().filter_map(|parent| places.get(parent.as_str())) {
            let ((from_x, from_y), (to_x, to_y)) = (right(*parent), left((one.column, one.row)));
            let middle = (from_x + to_x) / 2;
            page.raw(&format!("<path d=\"M{from_x} {from_y} C{middle} {from_y} {middle} {to_y} {to_x} {to_y}\"/>\n"));
        }
        if !tx.spends.is_empty() {
            let (x, y) = left((one.column, one.row));
            page.raw(&format!("<text class=\"amount\" x=\"{}\" y=\"{}\">{}</text>\n", x - 4, y - 5, grouped(amount)));
        }
    }
    for one in &boxes {
        draw(page, one);
    }
    page.raw("</svg></div>\n");
}

fn draw(page: &mut Page, one: &Box<'_>) {
    let (x, y) = corner((one.column, one.row));
    let Some(tx) = one.tx else {
        page.raw(&format!("<text class=\"more\" x=\"{}\" y=\"{}\">", x + 10, y + 20));
        page.text(&one.name);
        page.raw("</text>\n");
        return;
    };
    let standing = tx.standing();
    let status = tx.status.values().next().map_or("signed", |status| status.status.as_str());
    let agreed = tx.status.values().all(|other| other.status == status);
    let class = if agreed { escaped(status) } else { "mixed".to_owned() };
    let lock = match (tx.relative_lock, tx.absolute_lock) {
        (Some(blocks), _) => format!(" · after {blocks} blocks"),
        (None, Some(height)) => format!(" · from height {height}"),
        (None, None) => String::new(),
    };
    page.raw(&format!(
        "<g class=\"{class}\"><rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"4\"/>"
    ));
    let lines = [
        ("name", one.name.clone()),
        ("size", format!("{} vB · {} sat{lock}", grouped(tx.vsize), grouped(tx.fee_sat))),
        ("status", if agreed { shortened(&standing) } else { "differs by node".to_owned() }),
    ];
    for (index, (class, text)) in lines.into_iter().enumerate() {
        page.raw(&format!("<text class=\"{class}\" x=\"{}\" y=\"{}\">", x + 10, y + 18 + index * 18));
        page.text(text);
        page.raw("</text>");
    }
    page.raw("</g>\n");
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(32) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The transactions in columns: what spends what is left of it. Of many alike, the first are drawn.
fn boxes(run: &RunReport) -> Vec<Box<'_>> {
    let mut rows: Vec<usize> = Vec::new();
    let mut alike: IndexMap<(usize, &str, String), usize> = IndexMap::new();
    let mut boxes = Vec::new();
    for (name, tx) in &run.transactions {
        let (column, sort) = sort(name);
        let count = alike.entry((column, sort, tx.standing())).or_default();
        *count += 1;
        if *count <= ALIKE {
            boxes.push(Box { name: name.clone(), tx: Some(tx), column, row: next(&mut rows, column) });
        }
    }
    for ((column, sort, _), count) in alike {
        if count > ALIKE {
            let name = format!("… and {} more {sort}", count - ALIKE);
            boxes.push(Box { name, tx: None, column, row: next(&mut rows, column) });
        }
    }
    boxes
}

fn next(rows: &mut Vec<usize>, column: usize) -> usize {
    if rows.len() <= column {
        rows.resize(column + 1, 0);
    }
    rows[column] += 1;
    rows[column] - 1
}

fn sort(name: &str) -> (usize, &'static str) {
    match name.split('-').next().unwrap_or_default() {
        "funding" => (0, "fundings"),
        "allocation" => (1, "allocations"),
        "factory" => (1, "factory closes"),
        "close" => (2, "closes"),
        "refund" => (2, "refunds"),
        _ => (3, "claims of HTLCs"),
    }
}

fn corner((column, row): (usize, usize)) -> (usize, usize) {
    (column * (WIDTH + GAP_X) + 2, row * (HEIGHT + GAP_Y) + GAP_Y)
}

fn left(place: (usize, usize)) -> (usize, usize) {
    let (x, y) = corner(place);
    (x, y + HEIGHT / 2)
}

fn right(place: (usize, usize)) -> (usize, usize) {
    let (x, y) = left(place);
    (x + WIDTH, y)
}
