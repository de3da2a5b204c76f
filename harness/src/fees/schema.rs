//! The JSON Schema of what factories cost.

use schemars::Schema;
use schemars::generate::SchemaSettings;

use super::report::FeesReport;

/// The JSON Schema of what `shopfloor fees --json` writes.
pub fn schema() -> Schema {
    SchemaSettings::draft07().for_serialize().into_generator().into_root_schema_for::<FeesReport>()
}
