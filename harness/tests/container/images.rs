//! Images of installed programs, and of the user's choice.

use std::fs;
use std::process::Command;

use futures_util::StreamExt as _;
use shopfloor::container::{ContainerConfig, ContainerNode, Engine, ImageError};
use shopfloor::node::Kind;
use shopfloor::node::provision::{Program, Source, Tool};
use testcontainers::bollard::body_full;
use testcontainers::bollard::query_parameters::{CreateImageOptionsBuilder, RemoveImageOptions};

use crate::run::{Run, engine, program};

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_built_once_however_many_ask_and_removed_on_demand() {
    let Some(engine) = engine().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("true");
    let mut content = fs::read("/bin/true").unwrap();
    // Another program than any before.
    content.extend(dir.path().to_str().unwrap().bytes());
    fs::write(&path, content).unwrap();
    let tool = Tool::Electrs;
    let program = Program { tool, path, source: Source::Path, ..program(Kind::Core31) };
    let build = || async { engine.image_of(&program, dir.path()).await.unwrap() };
    let (first, second) = tokio::join!(build(), build());
    assert_eq!(first, second);
    assert_eq!(first.name(), format!("shopfloor/electrs:{}", &program.sha256().unwrap()[..16]));
    // A second one of the same name would have left the first without any.
    let removed = engine.remove_images(&[tool]).await.unwrap();
    assert_eq!(removed, [first.name()]);
    assert!(engine.remove_images(&[tool]).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_nowhere_is_named_with_the_engines_words() {
    let Some(engine) = engine().await else { return };
    // Nobody listens there, so no registry is asked.
    let error = engine.image_named("localhost:1/absent:1").await.unwrap_err();
    assert!(matches!(error, ImageError::Absent { .. }), "{error}");
    let text = error.to_string();
    assert!(text.starts_with("image localhost:1/absent:1 is not there and cannot be fetched: "), "{text}");
    assert!(text.contains("refused"), "{text}");
}

/// An image as others make them: `bitcoind` is in its `PATH`, with its libraries where its loader looks.
async fn foreign_image(engine: &Engine, name: &str) {
    let program = program(Kind::Core31).path;
    let root = tempfile::tempdir().unwrap();
    let script = "mkdir -p usr/bin && cp \"$1\" usr/bin/bitcoind && \
        ldd \"$1\" | grep -o '/[^ ]*' | while read -r file; do cp --parents -L \"$file\" .; done && \
        tar -cf archive.tar --exclude=archive.tar .";
    let packed = Command::new("sh").args(["-ec", script, "sh"]).arg(program).current_dir(root.path()).status().unwrap();
    assert!(packed.success(), "{packed}");
    let archive = fs::read(root.path().join("archive.tar")).unwrap();
    let (repo, tag) = name.split_once(':').unwrap();
    let options = CreateImageOptionsBuilder::new().from_src("-").repo(repo).tag(tag);
    let options = options.changes(vec!["ENTRYPOINT [\"/no/such/entrypoint\"]".to_owned()]).build();
    let mut made = std::pin::pin!(engine.docker().create_image(Some(options), Some(body_full(archive.into())), None));
    while let Some(step) = made.next().await {
        step.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_runs_from_an_image_that_the_user_names() {
    let Some(engine) = engine().await else { return };
    let run = Run::new(engine).await;
    let name = format!("shopfloor-test/foreign:{}", std::process::id());
    foreign_image(&run.engine, &name).await;
    let config = ContainerConfig {
        image: run.engine.image_named(&name).await.unwrap(),
        ..run.config("alice", Kind::Core31).await
    };
    let node = ContainerNode::start(&run.net, &config).await;
    let agent = match &node {
        Ok(node) => node.rpc().user_agent().await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    drop(node);
    run.engine.docker().remove_image(&name, None::<RemoveImageOptions>, None).await.unwrap();
    assert!(agent.as_ref().is_ok_and(|agent| agent.starts_with("/Satoshi:31.")), "{agent:?}");
}
