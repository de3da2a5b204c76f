//! Scenarios: the YAML language, and the runner.
