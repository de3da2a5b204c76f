//! Comma-separated values (RFC 4180).

/// A table that is being written.
#[derive(Debug, Default)]
pub(crate) struct Csv(String);

impl Csv {
    /// Adds a line.
    pub(crate) fn line(&mut self, values: impl IntoIterator<Item = String>) {
        let values: Vec<String> = values.into_iter().map(quoted).collect();
        self.0.push_str(&values.join(","));
        self.0.push('\n');
    }

    /// All lines.
    pub(crate) fn text(self) -> String {
        self.0
    }
}

/// A value, or nothing.
pub(crate) fn number(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// A value as it is written: in quotes, where it has to be.
fn quoted(value: String) -> String {
    match value.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", value.replace('"', "\"\"")),
        false => value,
    }
}
