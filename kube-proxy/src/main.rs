//! The kube-proxy binary.

fn main() -> std::process::ExitCode {
    component_base::daemon::main(&kube_proxy::SPEC)
}
