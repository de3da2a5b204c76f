//! Empty: Cargo wants every package to have a target.
