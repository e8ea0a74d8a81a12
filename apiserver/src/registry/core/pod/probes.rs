//! Probes and lifecycle handlers of containers.

use proto::content;
use proto::field::{Error, Errors};
use proto::view::View;

use super::containers::Pod;
use crate::registry::checks::*;

/// The probes of a container.
pub(super) fn probes(pod: &Pod, container: &View, errors: &mut Errors) {
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let view = container.get(field);
        if !view.is_set() {
            continue;
        }
        probe(pod, &view, errors);
        if field == "readinessProbe" {
            let grace = view.get("terminationGracePeriodSeconds");
            if grace.is_set() {
                errors.push(grace.invalid("must not be set for readinessProbes"));
            }
        } else if view.int("successThreshold") != 1 {
            errors.push(view.get("successThreshold").invalid_int("must be 1"));
        }
    }
}

fn probe(pod: &Pod, view: &View, errors: &mut Errors) {
    handler(pod, view, &["exec", "httpGet", "tcpSocket", "grpc"], errors);
    for field in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        nonnegative(&view.get(field), errors);
    }
    let grace = view.get("terminationGracePeriodSeconds");
    if grace.is_set() && grace.i64() <= 0 {
        errors.push(grace.invalid_int("must be greater than 0"));
    }
}

/// What runs after a container's start and before its stop.
pub(super) fn lifecycle(pod: &Pod, view: &View, errors: &mut Errors) {
    for field in ["postStart", "preStop"] {
        if view.has(field) {
            handler(pod, &view.get(field), &["exec", "httpGet", "tcpSocket", "sleep"], errors);
        }
    }
    if view.has("stopSignal") {
        stop_signal(&view.get("stopSignal"), pod.spec.get("os").text("name"), errors);
    }
}

fn handler(pod: &Pod, view: &View, kinds: &[&'static str], errors: &mut Errors) {
    let mut found = false;
    for kind in kinds {
        let action = view.get(kind);
        if !action.is_set() {
            continue;
        }
        if found {
            errors.push(action.forbidden("may not specify more than 1 handler type"));
            continue;
        }
        found = true;
        match *kind {
            "exec" => {
                required(&action.get("command"), errors);
            }
            "httpGet" => http_get(&action, errors),
            "sleep" => sleep(pod, &action, errors),
            _ => port_or_name(&action.get("port"), errors),
        }
    }
    if !found {
        errors.push(view.required("must specify a handler type"));
    }
}

fn http_get(action: &View, errors: &mut Errors) {
    required(&action.get("path"), errors);
    port_or_name(&action.get("port"), errors);
    supported(&action.get("scheme"), &["HTTP", "HTTPS"], errors);
    let headers = action.get("httpHeaders");
    for header in headers.items() {
        let name = header.text("name");
        each_at(headers.path(), name, content::is_http_header_name(name), errors);
    }
}

fn sleep(pod: &Pod, action: &View, errors: &mut Errors) {
    let seconds = action.int("seconds");
    let grace = pod.spec.raw("terminationGracePeriodSeconds").as_i64();
    if let Some(grace) = grace
        && !(0..=grace).contains(&seconds)
    {
        let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.push(Error::invalid(action.path(), seconds, detail));
    }
}

/// Signals that containers on Linux may be stopped with, in the order messages list them.
const LINUX_SIGNALS: [&str; 65] = [
    "SIGABRT",
    "SIGALRM",
    "SIGBUS",
    "SIGCHLD",
    "SIGCLD",
    "SIGCONT",
    "SIGFPE",
    "SIGHUP",
    "SIGILL",
    "SIGINT",
    "SIGIO",
    "SIGIOT",
    "SIGKILL",
    "SIGPIPE",
    "SIGPOLL",
    "SIGPROF",
    "SIGPWR",
    "SIGQUIT",
    "SIGRTMAX",
    "SIGRTMAX-1",
    "SIGRTMAX-10",
    "SIGRTMAX-11",
    "SIGRTMAX-12",
    "SIGRTMAX-13",
    "SIGRTMAX-14",
    "SIGRTMAX-2",
    "SIGRTMAX-3",
    "SIGRTMAX-4",
    "SIGRTMAX-5",
    "SIGRTMAX-6",
    "SIGRTMAX-7",
    "SIGRTMAX-8",
    "SIGRTMAX-9",
    "SIGRTMIN",
    "SIGRTMIN+1",
    "SIGRTMIN+10",
    "SIGRTMIN+11",
    "SIGRTMIN+12",
    "SIGRTMIN+13",
    "SIGRTMIN+14",
    "SIGRTMIN+15",
    "SIGRTMIN+2",
    "SIGRTMIN+3",
    "SIGRTMIN+4",
    "SIGRTMIN+5",
    "SIGRTMIN+6",
    "SIGRTMIN+7",
    "SIGRTMIN+8",
    "SIGRTMIN+9",
    "SIGSEGV",
    "SIGSTKFLT",
    "SIGSTOP",
    "SIGSYS",
    "SIGTERM",
    "SIGTRAP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGUSR1",
    "SIGUSR2",
    "SIGVTALRM",
    "SIGWINCH",
    "SIGXCPU",
    "SIGXFSZ",
];

fn stop_signal(signal: &View, os: &str, errors: &mut Errors) {
    match os {
        "" => errors.push(signal.forbidden("may not be set for containers with empty `spec.os.name`")),
        "windows" => {
            supported(signal, &["SIGKILL", "SIGTERM"], errors);
        }
        _ => {
            supported(signal, &LINUX_SIGNALS, errors);
        }
    }
}
