//! The kubelet.

fn main() -> std::process::ExitCode {
    component_base::daemon::main(&kubelet::run::SPEC)
}
