//! Nodes in containers, whose partitions are real: a container is taken off the network.
//!
//! The client is the crate `bollard`, as `testcontainers` hands it on. That crate's own runner is of no use here: it
//! asks for one version of the engine's interface and never for the one that the engine has (Debian's engines refuse
//! it), knows no second network, cannot put a container back at its address, and panics where a container is dropped
//! outside a runtime. What it promises is kept all the same: whatever is dropped is removed.
//!
//! Everything is labelled with the run that it belongs to, so that [`Engine::remove_all`], and after a harness that was
//! killed the [`reaper`](crate::reaper), find it.

mod engine;
mod guard;
mod image;
mod life;
mod net;
mod node;
mod pack;
mod subnet;

pub use engine::{Engine, EngineError, NoEngine, RUN_LABEL};
pub use image::{Image, ImageError};
pub use net::{ContainerNet, NetError};
pub use node::{ContainerConfig, ContainerError, ContainerNode};
pub use pack::PackError;
