//! criterion benches of the protocol library; see `benches/`.
