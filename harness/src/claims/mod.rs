//! What the proposal claims, and what each node says to it.
//!
//! Every claim is tied to scenarios: some show that it holds, some that it fails, and some under which condition. All of
//! them are run on each kind of node, and their verdicts are the claim's. A claim of which a scenario did not run, or did
//! not pass, has no verdict.

mod file;
mod judge;
mod markdown;

pub use file::{Claim, Claims, ClaimsError, Evidence, Measure, Shows};
pub use judge::{ClaimReport, ClaimsReport, Verdict, run};
pub use markdown::{NoBlock, markdown, update};
