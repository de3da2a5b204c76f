//! Images: built from an installed program, without any registry, or named by the user.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use futures_util::StreamExt as _;
use testcontainers::bollard::body_full;
use testcontainers::bollard::errors::Error;
use testcontainers::bollard::query_parameters::{
    CreateImageOptions, CreateImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder,
};

use super::engine::{Engine, EngineError, cannot, is_absent};
use super::pack::{Pack, PackError};
use crate::node::provision::{CacheError, Program, Tool};

/// The label of every image that was built here: of which tool.
const TOOL_LABEL: &str = "org.shopfloor.tool";
/// The label that tells how an image was laid out.
const LAYOUT_LABEL: &str = "org.shopfloor.layout";
/// To be raised when images that were built before no longer serve.
const LAYOUT: &str = "1";
/// The program in images that others made.
const FOREIGN_PROGRAM: &str = "bitcoind";

/// An image that the engine has, and how a node is started from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    name: String,
    entrypoint: Vec<String>,
}

/// Returned when there is no image to start a node from.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Returned when the engine refuses.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Returned when it cannot be told what the program needs.
    #[error("cannot put {tool} into an image: {source}")]
    Pack {
        /// The program's tool.
        tool: Tool,
        /// What is wrong.
        source: PackError,
    },
    /// Returned when the program's hash cannot be read.
    #[error("cannot put {tool} into an image: {source}")]
    Cache {
        /// The program's tool.
        tool: Tool,
        /// What is wrong.
        source: CacheError,
    },
    /// Returned when the lock that is held while an image is built cannot be had.
    #[error("{}: {source}", .path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Returned when the engine has no image of this name and cannot fetch it.
    #[error("image {name} is not there and cannot be fetched: {source}")]
    Absent {
        /// The image that the user named.
        name: String,
        /// What the engine said.
        source: Box<Error>,
    },
}

impl Image {
    /// What the engine calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The command that starts the node; its arguments follow.
    pub fn entrypoint(&self) -> &[String] {
        &self.entrypoint
    }
}

impl Engine {
    /// An image of an installed program: `shopfloor/<tool>:<start of the program's SHA-256>`. It is built once, out of
    /// the files on this machine and nothing else; whoever else wants it meanwhile waits, by a lock in `cache`.
    ///
    /// # Errors
    ///
    /// [`ImageError`], if the program cannot be packed, or the engine does not take the image.
    pub async fn image_of(&self, program: &Program, cache: &Path) -> Result<Image, ImageError> {
        let tool = program.tool;
        let program = program.clone();
        let packed = blocking(move || {
            let hash = program.sha256().map_err(|source| ImageError::Cache { tool, source })?;
            let pack = Pack::of(&program.path).map_err(|source| ImageError::Pack { tool, source })?;
            Ok((hash, pack))
        });
        let (hash, pack) = packed.await?;
        let image =
            Image { name: format!("shopfloor/{tool}:{}", hash.get(..16).unwrap_or(&hash)), entrypoint: pack.command() };
        if self.has_built(&image.name).await? {
            return Ok(image);
        }
        let _lock = lock(cache.join("images"), tool).await?;
        if self.has_built(&image.name).await? {
            return Ok(image);
        }
        let archive = blocking(move || pack.tar().map_err(|source| ImageError::Pack { tool, source })).await?;
        let (repository, tag) = image.name.split_once(':').unwrap_or((&image.name, "latest"));
        let labels = [(TOOL_LABEL, tool.name()), (LAYOUT_LABEL, LAYOUT)];
        let changes = labels.map(|(label, value)| format!("LABEL {label}={value}")).to_vec();
        let options = CreateImageOptionsBuilder::new().from_src("-").repo(repository).tag(tag).changes(changes).build();
        self.create_image(options, Some(archive)).await.map_err(cannot(format!("build image {}", image.name)))?;
        Ok(image)
    }

    /// An image that the user names. The engine has it, or fetches it. Its program is the `bitcoind` in its `PATH`, at
    /// least of version 28; whatever the image would start by itself is not started.
    ///
    /// # Errors
    ///
    /// [`ImageError::Absent`] with the engine's words, if it neither has it nor can fetch it.
    pub async fn image_named(&self, name: &str) -> Result<Image, ImageError> {
        let image = Image { name: name.to_owned(), entrypoint: vec![FOREIGN_PROGRAM.to_owned()] };
        match self.docker().inspect_image(name).await {
            Ok(_) => return Ok(image),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(cannot(format!("inspect image {name}"))(error).into()),
        }
        // Without a tag, the engine would fetch every one that there is.
        let last = name.rsplit('/').next().unwrap_or(name);
        let tag = if last.contains([':', '@']) { "" } else { "latest" };
        let options = CreateImageOptionsBuilder::new().from_image(name).tag(tag).build();
        let absent = |source| ImageError::Absent { name: name.to_owned(), source: Box::new(source) };
        self.create_image(options, None).await.map_err(absent)?;
        Ok(image)
    }

    /// Removes every image that was built here of these tools; not those that users name. Returns the names.
    ///
    /// # Errors
    ///
    /// [`EngineError`], if one cannot be removed, for instance because a container runs from it.
    pub async fn remove_images(&self, tools: &[Tool]) -> Result<Vec<String>, EngineError> {
        let mut removed = Vec::new();
        for tool in tools {
            let filters = HashMap::from([("label", vec![format!("{TOOL_LABEL}={tool}")])]);
            let options = ListImagesOptionsBuilder::new().filters(&filters).build();
            let found = self.docker().list_images(Some(options)).await.map_err(cannot("list images"))?;
            for image in found {
                let named = image.repo_tags.into_iter().filter(|name| name != "<none>:<none>");
                let mut names: Vec<_> = named.collect();
                if names.is_empty() {
                    // It has lost its name to one that was built anew.
                    names.push(image.id);
                }
                for name in names {
                    let options = RemoveImageOptionsBuilder::new().build();
                    match self.docker().remove_image(&name, Some(options), None).await {
                        Ok(_) => removed.push(name),
                        Err(error) if is_absent(&error) => {}
                        Err(error) => return Err(cannot(format!("remove image {name}"))(error)),
                    }
                }
            }
        }
        Ok(removed)
    }

    /// Whether an image of this name is there and laid out as it would be built now.
    async fn has_built(&self, name: &str) -> Result<bool, EngineError> {
        match self.docker().inspect_image(name).await {
            Ok(found) => {
                let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
                Ok(labels.get(LAYOUT_LABEL).is_some_and(|layout| layout == LAYOUT))
            }
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(cannot(format!("inspect image {name}"))(error)),
        }
    }

    async fn create_image(&self, options: CreateImageOptions, archive: Option<Vec<u8>>) -> Result<(), Error> {
        let body = archive.map(|archive| body_full(archive.into()));
        let mut progress = self.docker().create_image(Some(options), body, None);
        while let Some(step) = progress.next().await {
            step?;
        }
        Ok(())
    }
}

/// Does what takes a while on a thread that may wait.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // The work is not cancelled by anybody, so it panicked.
        Err(join) => std::panic::resume_unwind(join.into_panic()),
    }
}

/// Whoever holds this builds the images of a tool alone.
async fn lock(folder: PathBuf, tool: Tool) -> Result<fs::File, ImageError> {
    blocking(move || {
        let path = folder.join(format!("{tool}.lock"));
        let lock = || {
            fs::create_dir_all(&folder)?;
            let file = fs::File::create(&path)?;
            file.lock()?;
            Ok(file)
        };
        lock().map_err(|source| ImageError::Lock { path, source })
    })
    .await
}
