//! The end-to-end tests: `cargo test -p e2e [-- NAME...]`, as root. One cluster of two nodes serves them in order.

mod application;
mod cluster;
mod faults;
mod kubectl;
mod reset;

use anyhow::Result;
use e2e::Cluster;
use std::time::Instant;

type Test = (&'static str, fn(&Cluster) -> Result<()>);

const TESTS: &[Test] = &[
    ("cluster::nodes_are_ready", cluster::nodes_are_ready),
    ("cluster::system_pods_run_without_restarts", cluster::system_pods_run_without_restarts),
    ("cluster::names_resolve", cluster::names_resolve),
    ("cluster::pods_see_each_others_own_address", cluster::pods_see_each_others_own_address),
    ("kubectl::reads", kubectl::reads),
    ("kubectl::writes", kubectl::writes),
    ("kubectl::deployments", kubectl::deployments),
    ("kubectl::pods", kubectl::pods),
    ("kubectl::nodes", kubectl::nodes),
    ("kubectl::access", kubectl::access),
    ("kubectl::errors", kubectl::errors),
    ("application::serves", application::serves),
    ("application::rolling_update_loses_no_request", application::rolling_update_loses_no_request),
    ("faults::a_pod_is_killed", faults::a_pod_is_killed),
    ("faults::a_node_is_drained", faults::a_node_is_drained),
    ("faults::every_daemon_is_killed_in_turn", faults::every_daemon_is_killed_in_turn),
];

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    let (mut passed, mut failed) = (0, 0);
    let mut run = |name: &str, test: &mut dyn FnMut() -> Result<()>| {
        let began = Instant::now();
        match test() {
            Ok(()) => {
                passed += 1;
                println!("test {name} ... ok ({:.1} s)", began.elapsed().as_secs_f64());
            }
            Err(error) => {
                failed += 1;
                println!("test {name} ... FAILED ({:.1} s)\n{error:#}\n", began.elapsed().as_secs_f64());
            }
        }
    };
    if TESTS.iter().any(|(name, _)| chosen(name)) {
        let mut cluster = None;
        run("cluster::comes_up", &mut || {
            cluster = Some(Cluster::up(2)?);
            Ok(())
        });
        if let Some(cluster) = cluster {
            for (name, test) in TESTS.iter().filter(|(name, _)| chosen(name)) {
                run(name, &mut || test(&cluster));
            }
        }
    }
    if chosen("reset::leaves_nothing_behind") {
        run("reset::leaves_nothing_behind", &mut reset::leaves_nothing_behind);
    }
    println!("{passed} passed, {failed} failed");
    std::process::exit(i32::from(failed > 0 || passed == 0));
}
