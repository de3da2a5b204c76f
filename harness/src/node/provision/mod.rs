//! Where the programs of the nodes come from: found on this machine, or made by a recipe and kept in the user's cache.
//!
//! [`locate`] finds the program of a [`Tool`]; [`install`](install()) makes it; [`missing_packages`] tells what this
//! machine lacks for that; [`list`] and [`clean`] look after what is there. All of them see the machine through an
//! [`Env`], so that a test can hand in another.

mod ask;
mod cache;
mod env;
mod install;
mod locate;
mod needs;
mod program;
mod progress;
mod recipe;
mod shelves;
mod supervise;
#[cfg(test)]
mod tests;
mod tool;
mod version;

pub use ask::AskError;
pub use cache::{CacheError, Installed};
pub use env::{Env, KINDS_VARIABLE, NoCache, UnchosenKind};
pub use install::{InstallError, install, missing_packages};
pub use locate::{LocateError, locate};
pub use needs::{MissingNeeds, Need};
pub use program::{Program, Source};
pub use progress::{Event, Plain, Progress, Silent, to_stderr};
pub use recipe::BuildError;
pub use shelves::{Listing, Removed, clean, list};
pub use tool::{Tool, UnknownTool};
pub use version::{Family, Version};
