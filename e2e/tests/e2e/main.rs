//! The end-to-end tests: `cargo test -p e2e [-- NAME...]`, as root. One cluster of two nodes serves them in order.

mod application;
mod bad_input;
mod clients;
mod cluster;
mod faults;
mod kubectl;
mod reset;

use anyhow::Result;
use e2e::Cluster;
use std::time::Instant;

type Test = (&'static str, fn(&Cluster) -> Result<()>);

/// Run once with each kubectl: the newest served and the oldest that is supported with it.
const KUBECTL: &[Test] = &[
    ("kubectl::get_and_describe", kubectl::reads::get_and_describe),
    ("kubectl::discovery_and_explain", kubectl::reads::discovery_and_explain),
    ("kubectl::watch", kubectl::reads::watch),
    ("kubectl::apply_and_diff", kubectl::objects::apply_and_diff),
    ("kubectl::changes", kubectl::objects::changes),
    ("kubectl::custom_resources", kubectl::objects::custom_resources),
    ("kubectl::namespaces", kubectl::objects::namespaces),
    ("kubectl::deployments", kubectl::workloads::deployments),
    ("kubectl::deletion", kubectl::workloads::deletion),
    ("kubectl::other_workloads", kubectl::workloads::other_workloads),
    ("kubectl::exec_and_cp", kubectl::pods::exec_and_cp),
    ("kubectl::logs_and_attach", kubectl::pods::logs_and_attach),
    ("kubectl::port_forward_and_proxy", kubectl::pods::port_forward_and_proxy),
    ("kubectl::debug_and_top", kubectl::pods::debug_and_top),
    ("kubectl::nodes", kubectl::nodes::nodes),
    ("kubectl::drain", kubectl::nodes::drain),
    ("kubectl::roles_and_tokens", kubectl::access::roles_and_tokens),
    ("kubectl::certificates", kubectl::access::certificates),
];

const TESTS: &[Test] = &[
    ("cluster::nodes_are_ready", cluster::nodes_are_ready),
    ("cluster::system_pods_run_without_restarts", cluster::system_pods_run_without_restarts),
    ("cluster::names_resolve", cluster::names_resolve),
    ("cluster::pods_see_each_others_own_address", cluster::pods_see_each_others_own_address),
    ("bad_input::bodies", bad_input::bodies),
    ("bad_input::identities", bad_input::identities),
    ("bad_input::manifests", bad_input::manifests),
    ("bad_input::flags", bad_input::flags),
    ("bad_input::static_pods", bad_input::static_pods),
    ("bad_input::a_broken_cni", bad_input::a_broken_cni),
    ("bad_input::a_missing_image", bad_input::a_missing_image),
    ("clients::helm", clients::helm),
    ("clients::python", clients::python),
    ("application::serves", application::serves),
    ("application::rolling_update_loses_no_request", application::rolling_update_loses_no_request),
    ("faults::a_pod_is_killed", faults::a_pod_is_killed),
    ("faults::a_container_is_killed", faults::a_container_is_killed),
    ("faults::a_node_is_drained", faults::a_node_is_drained),
    ("faults::every_daemon_is_killed_in_turn", faults::every_daemon_is_killed_in_turn),
    ("faults::etcd_is_away_for_ten_seconds", faults::etcd_is_away_for_ten_seconds),
    ("faults::the_announcer_dies", faults::the_announcer_dies),
];

/// Every test of a running cluster, in order: the name, the kubectl to use, the function.
fn tests() -> Vec<(String, &'static str, fn(&Cluster) -> Result<()>)> {
    let (first, rest) = TESTS.split_at(4);
    let plain = |tests: &[Test]| {
        tests.iter().map(|(name, test)| (name.to_string(), "kubectl", *test)).collect::<Vec<_>>()
    };
    let mut all = plain(first);
    all.extend(plain(KUBECTL));
    all.extend(KUBECTL.iter().map(|(name, test)| (format!("{name} (1.34)"), "kubectl-1.34", *test)));
    all.extend(plain(rest));
    all
}

/// What a test that failed left must not fail the next one.
fn tidy(cluster: &Cluster) {
    let kinds = "deployments,statefulsets,daemonsets,jobs,pods,configmaps,secrets,csr";
    let _ = cluster.kubectl(&["delete", kinds, "--all", "-n", "default", "--now", "--timeout=60s"]);
    let services = ["delete", "services", "-n", "default", "--field-selector=metadata.name!=kubernetes"];
    let _ = cluster.kubectl(&services);
    let _ = cluster.kubectl(&["delete", "crd", "--all", "--timeout=30s"]);
    let _ = cluster.kubectl(&["uncordon", "n1", "n2"]);
}

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
    let tests = tests();
    if tests.iter().any(|(name, ..)| chosen(name)) {
        let mut cluster = None;
        run("cluster::comes_up", &mut || {
            cluster = Some(Cluster::up(2)?);
            Ok(())
        });
        if let Some(cluster) = cluster {
            for (name, kubectl, test) in tests.iter().filter(|(name, ..)| chosen(name)) {
                let cluster = cluster.with_kubectl(kubectl);
                run(name, &mut || {
                    test(&cluster).inspect_err(|_| {
                        println!("{}", cluster.picture());
                        tidy(&cluster);
                    })
                });
            }
        }
    }
    if chosen("reset::make_up_and_make_down") {
        run("reset::make_up_and_make_down", &mut reset::make_up_and_make_down);
    }
    println!("{passed} passed, {failed} failed");
    std::process::exit(i32::from(failed > 0 || passed == 0));
}
