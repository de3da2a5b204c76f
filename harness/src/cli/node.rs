//! `shopfloor node`: the programs of the nodes.

use clap::Subcommand;

use super::{AnyError, Exit};
use crate::container::Engine;
use crate::node::provision::{self, Env, InstallError, LocateError, Tool};
use crate::node::snapshot;

/// What `node` can do.
#[derive(Debug, Subcommand)]
pub(super) enum NodeCommand {
    /// Show every program, with its version and where it comes from
    List,
    /// Make programs by their recipes and keep them in the user's cache
    Install {
        /// Which: core-31, core-30, core-29, core-28, knots-29, electrs; all of them if none is named
        #[arg(value_name = "KIND")]
        tools: Vec<Tool>,
    },
    /// Print the path of a program
    Path {
        /// Which
        #[arg(value_name = "KIND")]
        tool: Tool,
    },
    /// Print the system packages that are missing to install programs, one a line
    Needs {
        /// For which; for all of them if none is named
        #[arg(value_name = "KIND")]
        tools: Vec<Tool>,
    },
    /// Remove installed programs and pre-mined chains from the user's cache
    Clean {
        /// Which; all of them if none is named
        #[arg(value_name = "KIND")]
        tools: Vec<Tool>,
    },
}

pub(super) fn node(command: &NodeCommand) -> Result<Exit, AnyError> {
    let env = Env::from_process()?;
    let mut progress = provision::to_stderr();
    match command {
        NodeCommand::List => {
            for listing in provision::list(&env) {
                match listing.program {
                    Ok(program) => {
                        let (path, source) = (program.path.display(), program.source);
                        println!("{:10} {source:10} {}  {path}", listing.tool, program.version);
                    }
                    Err(LocateError::NotFound { .. }) => {
                        println!("{0:10} not installed: shopfloor node install {0}", listing.tool);
                    }
                    Err(error) => println!("{:10} {error}", listing.tool),
                }
            }
        }
        NodeCommand::Install { tools } => {
            let mut exit = Exit::Pass;
            for tool in named_or_all(tools) {
                match provision::install(&env, tool, progress.as_mut()) {
                    Ok(program) => println!("{}", program.path.display()),
                    Err(error @ InstallError::Missing(_)) => {
                        eprintln!("error: {error}");
                        exit = Exit::Error;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            return Ok(exit);
        }
        NodeCommand::Path { tool } => match provision::locate(&env, *tool) {
            Ok(program) => println!("{}", program.path.display()),
            Err(error @ LocateError::NotFound { .. }) => {
                eprintln!("{error}");
                return Ok(Exit::Skip);
            }
            Err(error) => return Err(error.into()),
        },
        NodeCommand::Needs { tools } => {
            for package in provision::missing_packages(&env, &named_or_all(tools))? {
                println!("{package}");
            }
        }
        NodeCommand::Clean { tools } => {
            for removed in provision::clean(&env, &named_or_all(tools), progress.as_mut())? {
                println!("{}: {} bytes removed", removed.tool, removed.bytes);
            }
            let bytes = snapshot::clean(&env.cache()?)?;
            println!("pre-mined chains: {bytes} bytes removed");
            remove_images(&named_or_all(tools))?;
        }
    }
    Ok(Exit::Pass)
}

/// Removes what was built out of the tools for containers. Without an engine there is nothing.
fn remove_images(tools: &[Tool]) -> Result<(), AnyError> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let Ok(engine) = Engine::connect().await else { return Ok(()) };
        for image in engine.remove_images(tools).await? {
            println!("{image}: image removed");
        }
        Ok(())
    })
}

fn named_or_all(tools: &[Tool]) -> Vec<Tool> {
    if tools.is_empty() { Tool::all() } else { tools.to_vec() }
}
