//! The JSON Schema of a suite's report.

use schemars::Schema;
use schemars::generate::SchemaSettings;

use super::model::SuiteReport;

/// The JSON Schema of what `shopfloor run --json` writes.
pub fn schema() -> Schema {
    SchemaSettings::draft07().into_generator().into_root_schema_for::<SuiteReport>()
}
