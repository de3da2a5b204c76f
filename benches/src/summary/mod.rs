//! What criterion has measured, put together: each operation of all who were measured, over N, with its growth.

pub mod fit;
pub mod json;
pub mod read;
pub mod table;

pub use read::{Measured, ReadError, read};

use std::collections::BTreeMap;

/// Measurements of one operation for one number of members, signers, or whatever it is measured over: by whom they are.
pub type BySize<'a> = BTreeMap<u32, BTreeMap<&'a str, &'a Measured>>;

/// The measurements that are over a number, by operation.
pub fn by_operation(measured: &[Measured]) -> BTreeMap<&str, BySize<'_>> {
    let mut operations: BTreeMap<&str, BySize<'_>> = BTreeMap::new();
    for one in measured {
        let Some(size) = one.size else { continue };
        let sizes = operations.entry(&one.operation).or_default();
        sizes.entry(size).or_default().insert(&one.who, one);
    }
    operations
}

/// The file with `block` in the place between its lines `<!-- NAME: begin -->` and `<!-- NAME: end -->`; `None` if there is
/// no such place.
pub fn update_block(file: &str, name: &str, block: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {name}: begin -->"), format!("<!-- {name}: end -->"));
    let (before, rest) = file.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n\n{block}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_marked_block_is_changed() {
        let file = "above\n<!-- a: begin -->\nold\n<!-- a: end -->\nbelow\n";
        let new = update_block(file, "a", "new\n").unwrap();
        assert_eq!(new, "above\n<!-- a: begin -->\n\nnew\n\n<!-- a: end -->\nbelow\n");
        assert_eq!(update_block(file, "b", "new\n"), None);
    }
}
