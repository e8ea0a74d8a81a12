//! Announces load balancers' addresses: says at first, and answers whoever asks, that they are at this node.
//!
//! A node that has lost the API server may have lost an address to another without knowing. So when another host
//! claims an address, a node that follows the server insists, and one that doesn't yields.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use component_base::tasks::Tasks;
use parking_lot::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::arp::{Arp, Operation};
use super::links::Link;
use super::socket::ArpSocket;
use crate::bare_metal::ANNOUNCED_BY;
use crate::objects::Service;

/// How often a new address is announced, since one packet may be lost.
const REPEATS: u32 = 5;
/// The time between.
const PAUSE: Duration = Duration::from_secs(1);

/// The addresses that this node announces.
pub(super) fn plan(own: &str, services: &[Arc<Service>]) -> BTreeSet<Ipv4Addr> {
    let ours = services.iter().filter(|service| {
        service.wants_load_balancer()
            && service.metadata.annotations.get(ANNOUNCED_BY).is_some_and(|node| node == own)
    });
    ours.flat_map(|service| &service.status.load_balancer.ingress)
        .filter_map(|ingress| ingress.ip.parse().ok())
        .collect()
}

/// Announces on one interface at a time.
pub(super) struct Announcer {
    tasks: Tasks,
    quarrels: Arc<Quarrels>,
    running: Mutex<Option<Running>>,
}

/// What to do when another host claims an address.
struct Quarrels {
    /// Whether what the leader says is known.
    informed: Box<dyn Fn() -> bool + Send + Sync>,
    /// Has the plan looked at again some time after an address was yielded.
    yielded: Box<dyn Fn() + Send + Sync>,
}

struct Running {
    link: Link,
    socket: Arc<ArpSocket>,
    addresses: Arc<Mutex<BTreeSet<Ipv4Addr>>>,
    answering: CancellationToken,
    _end: DropGuard,
}

impl Announcer {
    /// `informed` says whether the API server is followed; `yielded` is called when an address was given up.
    pub(super) fn new(
        tasks: &Tasks,
        informed: impl Fn() -> bool + Send + Sync + 'static,
        yielded: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let quarrels = Arc::new(Quarrels { informed: Box::new(informed), yielded: Box::new(yielded) });
        Self { tasks: tasks.clone(), quarrels, running: Mutex::default() }
    }

    /// Announces nothing any more.
    pub(super) fn stop(&self) {
        if let Some(running) = self.running.lock().take() {
            tracing::info!(interface = running.link.name, "No addresses to announce any more");
        }
    }

    /// Announces these addresses on this interface and no others.
    pub(super) fn announce(&self, link: &Link, wanted: BTreeSet<Ipv4Addr>) -> anyhow::Result<()> {
        let mut slot = self.running.lock();
        let fits = |running: &Running| running.link == *link && !running.answering.is_cancelled();
        let running = match slot.take().filter(fits) {
            Some(running) => slot.insert(running),
            None => slot.insert(self.start(link)?),
        };
        let fresh: Vec<Ipv4Addr> = {
            let mut addresses = running.addresses.lock();
            let fresh: Vec<Ipv4Addr> = wanted.difference(&addresses).copied().collect();
            if !fresh.is_empty() && !(self.quarrels.informed)() {
                // What was yielded isn't taken back on old news.
                addresses.retain(|address| wanted.contains(address));
                (self.quarrels.yielded)();
                return Ok(());
            }
            *addresses = wanted;
            fresh
        };
        for address in fresh {
            tracing::info!(%address, interface = link.name, "Announcing");
            let (socket, mac, addresses) = (running.socket.clone(), link.mac, running.addresses.clone());
            let end = running.answering.clone();
            self.tasks.spawn("announcing", async move {
                let repeat = async {
                    for _ in 0..REPEATS {
                        if !addresses.lock().contains(&address) {
                            return;
                        }
                        // Some hosts learn from requests only, some from replies only.
                        for operation in [Operation::Request, Operation::Reply] {
                            if let Err(error) = socket.send(&Arp::gratuitous(operation, mac, address)).await {
                                tracing::warn!(%address, err = %error, "Announcing failed");
                            }
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                };
                end.run_until_cancelled(repeat).await;
                Ok(())
            });
        }
        Ok(())
    }

    fn start(&self, link: &Link) -> anyhow::Result<Running> {
        let socket =
            Arc::new(ArpSocket::open(link.index).map_err(|e| anyhow::anyhow!("ARP on {}: {e}", link.name))?);
        let addresses: Arc<Mutex<BTreeSet<Ipv4Addr>>> = Arc::default();
        let end = CancellationToken::new();
        let (listener, known, mac, name) = (socket.clone(), addresses.clone(), link.mac, link.name.clone());
        let (ended, quarrels) = (end.clone(), self.quarrels.clone());
        self.tasks.spawn("ARP", async move {
            let answering = async {
                let mut insisted: Option<Instant> = None;
                loop {
                    let packet = match listener.receive().await {
                        Ok(packet) => packet,
                        Err(error) => {
                            // The link is down; its coming back brings a new start.
                            tracing::warn!(interface = name, err = %error, "ARP ended");
                            return;
                        }
                    };
                    let Some(asked) = Arp::parse(&packet) else { continue };
                    let contested = asked.is_claim_by_other(mac) && known.lock().contains(&asked.sender_ip);
                    let reply = if contested && !(quarrels.informed)() {
                        tracing::warn!(address = %asked.sender_ip, interface = name, "Another host claims the address, yielding");
                        known.lock().remove(&asked.sender_ip);
                        (quarrels.yielded)();
                        continue;
                    } else if contested {
                        // Once a second is enough to win, and two that both insist don't flood the network.
                        if insisted.is_some_and(|at| at.elapsed() < PAUSE) {
                            continue;
                        }
                        insisted = Some(Instant::now());
                        Arp::gratuitous(Operation::Request, mac, asked.sender_ip)
                    } else if asked.is_question() && known.lock().contains(&asked.target_ip) {
                        asked.answer(mac)
                    } else {
                        continue;
                    };
                    if let Err(error) = listener.send(&reply).await {
                        tracing::debug!(err = %error, "Answering failed");
                    }
                }
            };
            ended.run_until_cancelled(answering).await;
            ended.cancel();
            Ok(())
        });
        Ok(Running { link: link.clone(), socket, addresses, answering: end.clone(), _end: end.drop_guard() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_the_leader_gave_this_node_is_announced() {
        let service = |by: &str, ip: &str, kind: &str| -> Arc<Service> {
            serde_json::from_value(json!({
                "metadata": { "annotations": { ANNOUNCED_BY: by } }, "spec": { "type": kind },
                "status": { "loadBalancer": { "ingress": [{ "ip": ip }] } },
            }))
            .map(Arc::new)
            .unwrap()
        };
        let all = [
            service("me", "10.0.0.1", "LoadBalancer"),
            service("you", "10.0.0.2", "LoadBalancer"),
            service("me", "10.0.0.3", "ClusterIP"),
            service("me", "nonsense", "LoadBalancer"),
        ];
        assert_eq!(plan("me", &all), BTreeSet::from([Ipv4Addr::new(10, 0, 0, 1)]));
    }
}
