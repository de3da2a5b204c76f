//! The networks of one run.
//!
//! All containers are on two of them. The *control* network is for the harness alone: containers on it do not see each
//! other, and each publishes its RPC on the loopback address of this machine. It is never taken away, so the harness
//! reaches a node in a partition too; a published port reaches it wherever the engine keeps its networks, which is not
//! so for the address of a container. The *common* network is for the nodes among themselves, and has no way out. In a
//! partition all but one of the groups are taken off it, each onto a network of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use testcontainers::bollard::errors::Error;
use testcontainers::bollard::models::{
    EndpointIpamConfig, EndpointSettings, Ipam, IpamConfig, NetworkConnectRequest, NetworkCreateRequest,
    NetworkDisconnectRequest,
};

use super::engine::{Engine, EngineError, RUN_LABEL, cannot, to_the_end};
use super::subnet::{NoSubnet, Subnet};
use crate::reaper::Reaper;

/// The port on which a node listens for its peers: the default of regtest.
pub(super) const P2P_PORT: u16 = 18444;
/// How often another range of addresses is asked for, if somebody else was faster.
const SUBNET_ATTEMPTS: usize = 20;

/// The networks of one run. They go when the last clone is dropped, and with them every container of the run.
#[derive(Clone, Debug)]
pub struct ContainerNet {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    engine: Engine,
    run: String,
    control: Network,
    common: Network,
    seats: Mutex<Seats>,
    /// Held by whoever moves containers.
    moving: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Seats {
    nodes: BTreeMap<String, Seat>,
    groups: Vec<Network>,
    /// How many networks there were for groups.
    serial: usize,
}

/// Where a node is.
#[derive(Clone, Debug)]
struct Seat {
    /// The same on every network.
    number: u32,
    container: Option<String>,
    network: Option<Network>,
}

/// A network of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Network {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) subnet: Subnet,
}

/// Returned when a network cannot be made or changed as asked.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// Returned when the engine refuses.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Returned when nobody would remove the networks after a harness that was killed.
    #[error("the process that cleans up after the run is gone: {0}")]
    Reaper(std::io::Error),
    /// Returned when no range of addresses stayed free between the asking and the taking.
    #[error("network {name}: {SUBNET_ATTEMPTS} ranges of addresses were taken that had been free")]
    NoSubnet {
        /// The network.
        name: String,
    },
    /// Returned when the engine gives a network other addresses than are expected.
    #[error("network {name}: {reason}")]
    Subnet {
        /// The network.
        name: String,
        /// What is wrong with them.
        reason: String,
    },
    /// Returned when a network has no address left.
    #[error("network {name} has no address left for {node}")]
    Full {
        /// The network.
        name: String,
        /// Who wants one.
        node: String,
    },
    /// Returned when a node of this name is there already.
    #[error("there is a node {node} in a container already")]
    Taken {
        /// The name.
        node: String,
    },
    /// Returned when the groups of a partition are not a division of the nodes.
    #[error("node {node} is {found}, expected every node in a container in exactly one group")]
    Groups {
        /// The node.
        node: String,
        /// What is wrong.
        found: &'static str,
    },
}

impl ContainerNet {
    /// Makes the networks of the run that `reaper` looks after.
    ///
    /// # Errors
    ///
    /// [`NetError`], if they cannot be made. What was made is removed.
    pub async fn create(engine: &Engine, reaper: &Reaper) -> Result<ContainerNet, NetError> {
        reaper.look_after(engine.socket()).map_err(NetError::Reaper)?;
        let run = reaper.run();
        let networks = async {
            let control = create_network(engine, run, "control", false).await?;
            Ok((control, create_network(engine, run, "common", true).await?))
        };
        let (control, common) = match networks.await {
            Ok(networks) => networks,
            Err(error) => {
                engine.remove_all(run).await?;
                return Err(error);
            }
        };
        let (engine, run) = (engine.clone(), run.to_owned());
        let seats = Mutex::default();
        let shared = Shared { engine, run, control, common, seats, moving: tokio::sync::Mutex::new(()) };
        Ok(ContainerNet { shared: Arc::new(shared) })
    }

    /// Cuts the network into groups. The largest (of several, the first) keeps the common network, with its addresses
    /// and its connections; every other group gets a network of its own, on which its nodes have other addresses and
    /// have to be linked anew. No node reaches one of another group.
    ///
    /// Nobody tells the nodes: connections that are cut look open to them until they notice that nothing arrives. Have
    /// the nodes close them, else they go on after [`ContainerNet::heal`], but only with the next retransmission.
    ///
    /// # Errors
    ///
    /// [`NetError`], if a node is in no group or in two, or the engine refuses; then [`ContainerNet::heal`] puts right
    /// what was done.
    pub async fn split(&self, groups: &[Vec<String>]) -> Result<(), NetError> {
        let _moving = self.shared.moving.lock().await;
        check(&self.seats().nodes, groups)?;
        let stale = self.seats().groups.clone();
        let staying = groups.iter().rev().max_by_key(|group| group.len());
        let mut targets = Vec::new();
        for group in groups {
            let network = if staying.is_some_and(|staying| std::ptr::eq(staying, group)) {
                self.shared.common.clone()
            } else {
                let serial = {
                    let mut seats = self.seats();
                    seats.serial += 1;
                    seats.serial
                };
                let name = format!("group-{serial}");
                let network = create_network(&self.shared.engine, &self.shared.run, &name, true).await?;
                self.seats().groups.push(network.clone());
                network
            };
            targets.extend(group.iter().map(|node| (node.clone(), network.clone())));
        }
        self.place(&targets).await?;
        self.remove_groups(&stale).await
    }

    /// Puts every node back onto the common network, at the address that it had there.
    ///
    /// # Errors
    ///
    /// [`NetError`], if the engine refuses.
    pub async fn heal(&self) -> Result<(), NetError> {
        let _moving = self.shared.moving.lock().await;
        let targets: Vec<_> =
            self.seats().nodes.keys().map(|node| (node.clone(), self.shared.common.clone())).collect();
        self.place(&targets).await?;
        let stale = self.seats().groups.clone();
        self.remove_groups(&stale).await
    }

    /// The run's name.
    pub fn run(&self) -> &str {
        &self.shared.run
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    pub(super) fn control(&self) -> &Network {
        &self.shared.control
    }

    /// Reserves the addresses of a node. Returns the one on the control network.
    pub(super) fn take_seat(&self, node: &str) -> Result<Ipv4Addr, NetError> {
        let mut seats = self.seats();
        if seats.nodes.contains_key(node) {
            return Err(NetError::Taken { node: node.to_owned() });
        }
        let taken: BTreeSet<_> = seats.nodes.values().map(|seat| seat.number).collect();
        let number = (0..).find(|number| !taken.contains(number)).expect("fewer nodes than numbers");
        let address = address(&self.shared.control, number, node)?;
        seats.nodes.insert(node.to_owned(), Seat { number, container: None, network: None });
        Ok(address)
    }

    /// Puts a node's new container onto the common network.
    pub(super) async fn seat(&self, node: &str, container: &str) -> Result<(), NetError> {
        let _moving = self.shared.moving.lock().await;
        if let Some(seat) = self.seats().nodes.get_mut(node) {
            seat.container = Some(container.to_owned());
        }
        self.place(&[(node.to_owned(), self.shared.common.clone())]).await
    }

    /// Forgets a node, whose container is gone.
    pub(super) fn leave_seat(&self, node: &str) {
        self.seats().nodes.remove(node);
    }

    /// Where other nodes reach this one now.
    pub(super) fn p2p(&self, node: &str) -> Option<SocketAddr> {
        let seat = self.seats().nodes.get(node)?.clone();
        let network = seat.network.as_ref().unwrap_or(&self.shared.common);
        Some(SocketAddr::from((network.subnet.address(seat.number)?, P2P_PORT)))
    }

    /// Moves nodes to their networks. All leave before the first arrives, so that no two groups ever meet.
    async fn place(&self, targets: &[(String, Network)]) -> Result<(), NetError> {
        let docker = self.shared.engine.docker();
        let mut arrivals = Vec::new();
        for (node, target) in targets {
            let Some(seat) = self.seats().nodes.get(node).cloned() else { continue };
            let Some(container) = seat.container else { continue };
            if seat.network.as_ref() == Some(target) {
                continue;
            }
            if let Some(network) = seat.network {
                let request = NetworkDisconnectRequest { container: container.clone(), force: Some(true) };
                let left = docker.disconnect_network(&network.id, request).await;
                left.map_err(cannot(format!("take {node} off network {}", network.name)))?;
                self.set_network(node, None);
            }
            arrivals.push((node, target, container, address(target, seat.number, node)?));
        }
        for (node, target, container, address) in arrivals {
            let request = NetworkConnectRequest { container, endpoint_config: Some(endpoint(address)) };
            let arrived = docker.connect_network(&target.id, request).await;
            arrived.map_err(cannot(format!("put {node} onto network {} at {address}", target.name)))?;
            self.set_network(node, Some(target.clone()));
        }
        Ok(())
    }

    fn set_network(&self, node: &str, network: Option<Network>) {
        if let Some(seat) = self.seats().nodes.get_mut(node) {
            seat.network = network;
        }
    }

    /// Removes networks of groups that nobody is on any more.
    async fn remove_groups(&self, networks: &[Network]) -> Result<(), NetError> {
        for network in networks {
            self.shared.engine.remove_network(&network.id).await?;
            self.seats().groups.retain(|group| group != network);
        }
        Ok(())
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        // Nothing is left half done in there by a panic.
        self.shared.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        match to_the_end(self.engine.remove_all(&self.run)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => eprintln!("shopfloor: run {}: {error}", self.run),
            Err(error) => eprintln!("shopfloor: cannot remove the networks of run {}: {error}", self.run),
        }
    }
}

/// How a container is put onto a network at an address.
pub(super) fn endpoint(address: Ipv4Addr) -> EndpointSettings {
    let config = EndpointIpamConfig { ipv4_address: Some(address.to_string()), ..Default::default() };
    EndpointSettings { ipam_config: Some(config), ..Default::default() }
}

fn address(network: &Network, number: u32, node: &str) -> Result<Ipv4Addr, NetError> {
    let full = || NetError::Full { name: network.name.clone(), node: node.to_owned() };
    network.subnet.address(number).ok_or_else(full)
}

/// Whether every node is in exactly one group.
fn check(nodes: &BTreeMap<String, Seat>, groups: &[Vec<String>]) -> Result<(), NetError> {
    let mut seen = BTreeSet::new();
    let wrong = |node: &String, found| Err(NetError::Groups { node: node.clone(), found });
    for node in groups.iter().flatten() {
        if !nodes.contains_key(node) {
            return wrong(node, "in no container");
        }
        if !seen.insert(node) {
            return wrong(node, "in two groups");
        }
    }
    match nodes.keys().find(|node| !seen.contains(node)) {
        Some(node) => wrong(node, "in no group"),
        None => Ok(()),
    }
}

/// Makes a network: one for the nodes among themselves, or the one for the harness.
///
/// Only a network with a range of addresses that was asked for lets containers choose theirs. Which ranges are free on
/// this machine the engine knows best: it is made to choose one, and then asked for just that.
async fn create_network(engine: &Engine, run: &str, role: &str, among_nodes: bool) -> Result<Network, NetError> {
    let name = format!("shopfloor-{run}-{role}");
    let options = [("enable_icc", among_nodes), ("enable_ip_masquerade", false)];
    let options = options.map(|(key, value)| (format!("com.docker.network.bridge.{key}"), value.to_string()));
    let request = |subnet: Option<String>| NetworkCreateRequest {
        name: name.clone(),
        internal: Some(among_nodes),
        ipam: subnet.map(|subnet| Ipam {
            config: Some(vec![IpamConfig { subnet: Some(subnet), ..Default::default() }]),
            ..Default::default()
        }),
        options: Some(HashMap::from(options.clone())),
        labels: Some(HashMap::from([(RUN_LABEL.to_owned(), run.to_owned())])),
        ..Default::default()
    };
    let docker = engine.docker();
    let doing = format!("create network {name}");
    for _ in 0..SUBNET_ATTEMPTS {
        let draft = docker.create_network(request(None)).await.map_err(cannot(&*doing))?.id;
        let facts = docker.inspect_network(&draft, None).await.map_err(cannot(&*doing))?;
        engine.remove_network(&draft).await?;
        let ranges = facts.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
        let Some(range) = ranges.into_iter().find_map(|range| range.subnet) else {
            return Err(NetError::Subnet { name, reason: "the engine names no range of addresses".to_owned() });
        };
        let subnet = range
            .parse()
            .map_err(|error: NoSubnet| NetError::Subnet { name: name.clone(), reason: error.to_string() })?;
        match docker.create_network(request(Some(range))).await {
            Ok(made) => return Ok(Network { id: made.id, name, subnet }),
            Err(Error::DockerResponseServerError { message, .. }) if message.contains("overlap") => {}
            Err(error) => return Err(cannot(doing)(error).into()),
        }
    }
    Err(NetError::NoSubnet { name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_divide_the_nodes() {
        let seat = || Seat { number: 0, container: None, network: None };
        let nodes = BTreeMap::from(["alice", "bob"].map(|node| (node.to_owned(), seat())));
        let outcome = |groups: &[&[&str]]| {
            let groups: Vec<Vec<_>> =
                groups.iter().map(|group| group.iter().map(|node| (*node).to_owned()).collect()).collect();
            check(&nodes, &groups).map_err(|error| error.to_string())
        };
        assert_eq!(outcome(&[&["alice"], &["bob"]]), Ok(()));
        assert_eq!(outcome(&[&["alice", "bob"]]), Ok(()));
        for (groups, found) in [
            (&[&["alice"][..]][..], "node bob is in no group"),
            (&[&["alice", "bob"], &["alice"]], "node alice is in two groups"),
            (&[&["alice", "bob", "carol"]], "node carol is in no container"),
        ] {
            let expected = format!("{found}, expected every node in a container in exactly one group");
            assert_eq!(outcome(groups), Err(expected));
        }
    }
}
