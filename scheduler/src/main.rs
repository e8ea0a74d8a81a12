//! The kube-scheduler binary.

fn main() -> std::process::ExitCode {
    component_base::daemon::main(&scheduler::SPEC)
}
