//! Dependencies point one way: daemons → component-base → proto. No daemon depends on another; only kube-apiserver
//! knows etcd.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// Crates of the daemons, and what may stand below them.
const DAEMONS: &[&str] = &[
    "apiserver",
    "scheduler",
    "controller-manager",
    "cloud-controller-manager",
    "kubelet",
    "kube-proxy",
    "cluster-dns",
];
const BELOW_DAEMONS: &[&str] = &["component-base", "cel", "proto"];

/// The direct dependencies of each crate of the workspace that its programs are built from (not its tests).
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline", "--manifest-path"])
        .arg(e2e::root().join("Cargo.toml"))
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
    list(&metadata["packages"])
        .iter()
        .map(|package| {
            let used = list(&package["dependencies"]).into_iter().filter(|d| d["kind"] != "dev");
            (text(&package["name"]), used.map(|d| text(&d["name"])).collect())
        })
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    let all = dependencies();
    let ours = |of: &str| -> Vec<&str> {
        let used = all.get(of).unwrap_or_else(|| panic!("the workspace has no crate {of}"));
        used.iter().map(String::as_str).filter(|d| all.contains_key(*d)).collect()
    };
    assert_eq!(ours("proto"), [""; 0], "proto stands on the ground");
    assert_eq!(ours("component-base"), ["proto"]);
    for daemon in DAEMONS {
        for used in ours(daemon) {
            assert!(BELOW_DAEMONS.contains(&used), "{daemon} must not depend on {used}");
        }
    }
}

#[test]
fn only_the_api_server_knows_etcd() {
    for (name, used) in dependencies() {
        // The benchmark measures etcd itself, to compare with.
        let may = name == "apiserver" || name == "bench";
        assert!(may || !used.iter().any(|d| d == "etcd-client"), "{name} must not speak to etcd");
    }
}
