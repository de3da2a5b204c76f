//! Looking over all tools at once: what is there, and removing it.

use super::Program;
use super::cache::{CacheError, Shelf};
use super::env::Env;
use super::locate::{LocateError, locate};
use super::progress::{Event, Progress};
use super::tool::Tool;

/// One line of the list of tools.
#[derive(Debug)]
pub struct Listing {
    /// The tool.
    pub tool: Tool,
    /// The program, or why there is none and what to do about it.
    pub program: Result<Program, LocateError>,
}

/// Looks for every tool.
pub fn list(env: &Env) -> Vec<Listing> {
    Tool::all().into_iter().map(|tool| Listing { tool, program: locate(env, tool) }).collect()
}

/// What `clean` removed of one tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The tool.
    pub tool: Tool,
    /// The bytes of all files that were removed.
    pub bytes: u64,
}

/// Removes these tools from the cache, in every revision, with their logs and what killed installers left; waits for an
/// installer that is at work on one. Programs that run already go on running.
///
/// # Errors
///
/// Returned when a file or folder cannot be removed; what came before is removed all the same.
pub fn clean(env: &Env, tools: &[Tool], progress: &mut dyn Progress) -> Result<Vec<Removed>, CacheError> {
    let mut removed = Vec::new();
    for &tool in tools {
        let shelf = Shelf::new(env, tool)?;
        if !shelf.exists()? {
            continue;
        }
        let bytes = shelf.lock("removing", progress)?.empty()?;
        progress.event(tool, Event::Done);
        if bytes > 0 {
            removed.push(Removed { tool, bytes });
        }
    }
    Ok(removed)
}
