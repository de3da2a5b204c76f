//! Installing a tool: once, whole or not at all, however many ask for it.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Instant;

use super::ask::{self, AskError};
use super::cache::{CacheError, Installed, Shelf, failed_to};
use super::env::{Env, NoCache};
use super::needs::{MissingNeeds, packages};
use super::progress::{Event, Progress};
use super::recipe::{BuildError, Recipe, Site, recipe};
use super::tool::Tool;
use super::{Program, Source};

/// Returned when a tool could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// This machine lacks what the recipe needs; nothing was fetched.
    #[error(transparent)]
    Missing(#[from] MissingNeeds),
    /// A file or folder of the cache cannot be used.
    #[error("{tool}: {source}")]
    Cache {
        /// The tool.
        tool: Tool,
        /// What is wrong with which path.
        source: CacheError,
    },
    /// The recipe failed.
    #[error("{tool}: {source}")]
    Build {
        /// The tool.
        tool: Tool,
        /// The step and its log.
        source: BuildError,
    },
    /// The program that came out does not run, or is another one than the recipe promises.
    #[error("{tool}: the program was built, but asked for its version, {why}")]
    Answer {
        /// The tool.
        tool: Tool,
        /// What it answered.
        why: String,
    },
}

/// Makes sure that a tool is in the cache and returns it from there.
///
/// What is there already and runs is left as it is. Otherwise the recipe is followed in a staging folder, and the
/// result, once it has told the right version, is moved into its place by one rename: an interruption at any moment
/// leaves nothing or the whole. A second installer of the same tool waits for the first and then finds the work done.
///
/// It blocks, for minutes if there is much to compile. To abandon it, end the process: whatever it started ends too.
///
/// # Errors
///
/// Returned when something is missing on this machine, a step fails, or the program is not the one that was meant.
pub fn install(env: &Env, tool: Tool, progress: &mut dyn Progress) -> Result<Program, InstallError> {
    follow(env, tool, recipe(tool).as_ref(), progress)
}

/// The Debian packages that this machine lacks for installing these tools, each once; tools in the cache need none.
///
/// # Errors
///
/// Returned when the cache cannot be read.
pub fn missing_packages(env: &Env, tools: &[Tool]) -> Result<Vec<&'static str>, CacheError> {
    let mut needs = Vec::new();
    for &tool in tools {
        let recipe = recipe(tool);
        if usable(env, tool, &Shelf::new(env, tool)?, &recipe.revision())?.is_none() {
            needs.extend(recipe.needs().into_iter().filter(|need| !need.is_met(env)));
        }
    }
    Ok(packages(&needs))
}

/// Installs by this recipe.
pub(super) fn follow(
    env: &Env,
    tool: Tool,
    recipe: &dyn Recipe,
    progress: &mut dyn Progress,
) -> Result<Program, InstallError> {
    let cache_error = |source| InstallError::Cache { tool, source };
    let shelf = Shelf::new(env, tool).map_err(|source: NoCache| cache_error(source.into()))?;
    let revision = recipe.revision();
    if let Some(program) = usable(env, tool, &shelf, &revision).map_err(cache_error)? {
        return Ok(program);
    }
    let needs: Vec<_> = recipe.needs().into_iter().filter(|need| !need.is_met(env)).collect();
    if !needs.is_empty() {
        return Err(MissingNeeds { tool, needs }.into());
    }
    let lock = shelf.lock("installing", progress).map_err(cache_error)?;
    if let Some(program) = usable(env, tool, &shelf, &revision).map_err(cache_error)? {
        progress.event(tool, Event::Done);
        return Ok(program);
    }
    let start = Instant::now();
    let mut site = Site::new(tool, env, &lock, progress).map_err(cache_error)?;
    let payload = recipe.build(&mut site).map_err(|source| InstallError::Build { tool, source })?;
    site.step("asking for its version");
    let answer_error = |why: String| InstallError::Answer { tool, why };
    let version = ask::version(&site.executable(), tool.version_option(), env)
        .map_err(|error: AskError| answer_error(error.to_string()))?;
    if !recipe.promises(&version) {
        return Err(answer_error(format!("it is {} {version}, not what the recipe promises", version.family())));
    }
    let installed = Installed {
        tool: tool.name().to_owned(),
        revision: revision.clone(),
        version,
        made: recipe.made(),
        sha256: sha256(&site.out().join(payload)).map_err(cache_error)?,
        seconds: start.elapsed().as_secs(),
    };
    let out = site.out().to_owned();
    installed.write(&out).map_err(cache_error)?;
    lock.publish(&out, &revision).map_err(cache_error)?;
    lock.sweep().map_err(cache_error)?;
    progress.event(tool, Event::Done);
    Ok(program(tool, &shelf, installed))
}

/// The tool in the cache.
pub(super) fn program(tool: Tool, shelf: &Shelf, installed: Installed) -> Program {
    let path = shelf.finished(&installed.revision).join(tool.executable());
    Program { tool, path, version: installed.version, source: Source::Cache }
}

/// The tool in the cache, if it runs. One that does not, because a library it needs was removed, is as good as none.
fn usable(env: &Env, tool: Tool, shelf: &Shelf, revision: &str) -> Result<Option<Program>, CacheError> {
    let program = shelf.installed(revision)?.map(|installed| program(tool, shelf, installed));
    Ok(program.filter(|program| ask::version(&program.path, tool.version_option(), env).is_ok()))
}

/// The SHA-256 of a file, in hexadecimal.
pub(super) fn sha256(path: &Path) -> Result<String, CacheError> {
    use bitcoin::hashes::{Hash, sha256};
    let mut engine = sha256::Hash::engine();
    let mut read = || io::copy(&mut File::open(path)?, &mut engine);
    read().map_err(failed_to("read", path))?;
    Ok(sha256::Hash::from_engine(engine).to_string())
}
