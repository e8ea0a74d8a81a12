//! kube-apiserver.

fn main() -> std::process::ExitCode {
    component_base::daemon::main(&apiserver::SPEC)
}
