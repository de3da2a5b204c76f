//! Nodes in containers, on the engine of this machine. Without one, each test says that it is skipped, and fails if
//! `SHOPFLOOR_REQUIRE_CONTAINERS` is 1.

mod images;
mod kills;
mod nodes;
mod run;
