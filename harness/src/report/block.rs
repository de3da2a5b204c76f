//! A block in a Markdown file that is kept up to date.

/// Returned when a file has no place for a block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a line `<!-- {0}: begin -->` and after it a line `<!-- {0}: end -->`, found none")]
pub struct NoBlock(String);

/// The same file with `block` in the place that is marked with this name.
///
/// # Errors
///
/// [`NoBlock`], if there is no such place.
pub fn update_block(file: &str, name: &str, block: &str) -> Result<String, NoBlock> {
    let (begin, end) = (format!("<!-- {name}: begin -->"), format!("<!-- {name}: end -->"));
    let none = || NoBlock(name.to_owned());
    let (before, rest) = file.split_once(&begin).ok_or_else(none)?;
    let (_, after) = rest.split_once(&end).ok_or_else(none)?;
    Ok(format!("{before}{begin}\n\n{block}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_marked_block_is_changed() {
        let file = "above\n<!-- a: begin -->\nold\n<!-- a: end -->\nbelow\n";
        let new = update_block(file, "a", "new\n").unwrap();
        assert_eq!(new, "above\n<!-- a: begin -->\n\nnew\n\n<!-- a: end -->\nbelow\n");
        assert_eq!(update_block(&new, "a", "new\n").unwrap(), new);
        let error = update_block(file, "b", "new").unwrap_err().to_string();
        assert!(error.starts_with("expected a line `<!-- b: begin -->`"), "{error}");
    }
}
