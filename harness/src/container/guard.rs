//! The engine's container of one node. It is removed when nobody holds it any more.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;

use futures_util::StreamExt as _;
use testcontainers::bollard::models::{
    ContainerCreateBody, HostConfig, Mount, MountType, NetworkingConfig, PortBinding,
};
use testcontainers::bollard::query_parameters::{CreateContainerOptionsBuilder, LogsOptionsBuilder};

use super::engine::{EngineError, RUN_LABEL, cannot, to_the_end};
use super::net::{ContainerNet, P2P_PORT, endpoint};
use super::node::{ContainerConfig, ContainerError, data, refused};
use crate::node::node_arguments;

/// The port of a node's RPC in its container: the default of regtest.
const RPC_PORT: u16 = 18443;
/// The data directory in the container.
const DATADIR: &str = "/data";

/// A container that is removed with this.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) net: ContainerNet,
    /// Set when it is known to be gone.
    pub(super) removed: bool,
    node: String,
}

impl Container {
    /// Makes a container on the control network, at this address. It does not run yet.
    pub(super) async fn create(
        net: &ContainerNet,
        config: &ContainerConfig,
        address: Ipv4Addr,
    ) -> Result<Container, ContainerError> {
        let (engine, control) = (net.engine(), net.control());
        let rpc_port = format!("{RPC_PORT}/tcp");
        // Without a number, the engine takes a free one.
        let loopback = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(String::new()) };
        let data = Mount {
            typ: Some(MountType::BIND),
            source: Some(data(&config.dir).display().to_string()),
            target: Some(DATADIR.to_owned()),
            ..Default::default()
        };
        let body = ContainerCreateBody {
            image: Some(config.image.name().to_owned()),
            entrypoint: Some(config.image.entrypoint().to_vec()),
            cmd: Some(arguments(config, address, control.subnet)),
            user: Some(engine.user().to_owned()),
            labels: Some(HashMap::from([(RUN_LABEL.to_owned(), net.run().to_owned())])),
            exposed_ports: Some(vec![rpc_port.clone()]),
            host_config: Some(HostConfig {
                mounts: Some(vec![data]),
                network_mode: Some(control.name.clone()),
                port_bindings: Some(HashMap::from([(rpc_port, Some(vec![loopback]))])),
                cap_drop: Some(vec!["ALL".to_owned()]),
                security_opt: Some(vec!["no-new-privileges".to_owned()]),
                ..Default::default()
            }),
            networking_config: Some(NetworkingConfig {
                endpoints_config: Some(HashMap::from([(control.name.clone(), endpoint(address))])),
            }),
            ..Default::default()
        };
        let name = format!("shopfloor-{}-{}", net.run(), config.name);
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let made = engine.docker().create_container(Some(options), body).await;
        let made = made.map_err(cannot(format!("create container {name}"))).map_err(refused(&config.name))?;
        Ok(Container { id: made.id, node: config.name.clone(), net: net.clone(), removed: false })
    }

    /// The port of this machine at which the node's RPC is.
    pub(super) async fn rpc_port(&self) -> Result<Option<u16>, EngineError> {
        let docker = self.net.engine().docker();
        let facts = docker.inspect_container(&self.id, None).await.map_err(cannot("inspect its container"))?;
        let mut ports = facts.network_settings.and_then(|settings| settings.ports).unwrap_or_default();
        let bindings = ports.remove(&format!("{RPC_PORT}/tcp")).flatten().unwrap_or_default();
        Ok(bindings.into_iter().find_map(|binding| binding.host_port?.parse().ok()))
    }

    /// Writes what the program printed to where the output of every node is.
    pub(super) async fn save_output(&self, dir: &Path) -> Result<(), ContainerError> {
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).build();
        let mut output = self.net.engine().docker().logs(&self.id, Some(options));
        let mut text = Vec::new();
        while let Some(piece) = output.next().await {
            let piece = piece.map_err(cannot("read its output")).map_err(refused(&self.node))?;
            text.extend_from_slice(&piece.into_bytes());
        }
        let write = || fs::File::create(dir.join("output.log"))?.write_all(&text);
        write().map_err(|source| ContainerError::Prepare { name: self.node.clone(), dir: dir.to_owned(), source })
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if !self.removed {
            match to_the_end(self.net.engine().remove_container(&self.id)) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => eprintln!("shopfloor: node {}: {error}", self.node),
                Err(error) => eprintln!("shopfloor: node {}: cannot remove its container: {error}", self.node),
            }
        }
        self.net.leave_seat(&self.node);
    }
}

/// The arguments of a node in a container.
fn arguments(config: &ContainerConfig, address: Ipv4Addr, control: impl std::fmt::Display) -> Vec<String> {
    // The clock is in the configuration file: a container's arguments stay what they were when it is started again.
    let common = node_arguments(config.time, true).into_iter().filter(|argument| !argument.starts_with("-mocktime="));
    let own = [
        format!("-datadir={DATADIR}"),
        "-server=1".to_owned(),
        format!("-rpcport={RPC_PORT}"),
        // From the harness, and not from the other nodes.
        format!("-rpcbind={address}"),
        format!("-rpcallowip={control}"),
        "-listen=1".to_owned(),
        // The address changes with the network.
        format!("-bind=0.0.0.0:{P2P_PORT}"),
        // The network is the run's own. Such peers are told of transactions at once, whatever the simulated clock says.
        "-whitelist=noban,in,out@0.0.0.0/0".to_owned(),
    ];
    common.chain(own).chain(config.args.iter().cloned()).collect()
}
