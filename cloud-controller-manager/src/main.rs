//! The `cloud-controller-manager` command: the leader's half, or with `node-agent` as first argument a node's.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|first| first == "node-agent") {
        args.remove(0);
        return component_base::daemon::main_with(&cloud_controller_manager::agent::SPEC, &args);
    }
    component_base::daemon::main_with(&cloud_controller_manager::app::SPEC, &args)
}
