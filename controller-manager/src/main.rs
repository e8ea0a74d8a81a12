//! kube-controller-manager.

fn main() -> std::process::ExitCode {
    component_base::daemon::main(&controller_manager::SPEC)
}
