//! The message a container leaves when it ends.

use super::labels::{TERMINATION_PATH, TERMINATION_POLICY};
use super::state::ObservedContainer;
use crate::logs::read::last_lines;
use proto::cri;
use std::io::{ErrorKind, Read, Seek, SeekFrom};

/// A message longer than this keeps its end.
const MAX_FILE: u64 = 4096;
/// When logs stand in for a message: so much of them.
const MAX_LOG: usize = 2048;
const MAX_LOG_LINES: usize = 80;

/// Appends the termination message to an ended container's message.
pub fn add_message(container: &mut ObservedContainer, mounts: &[cri::Mount]) {
    let policy = container.annotations.get(TERMINATION_POLICY).map(String::as_str);
    let fallback = policy == Some("FallbackToLogsOnError")
        && container.exit_code != 0
        && container.reason != "ContainerCannotRun";
    let path = container.annotations.get(TERMINATION_PATH).map(String::as_str).unwrap_or_default();
    let mount = mounts.iter().find(|m| !path.is_empty() && m.container_path == path);
    let (mut message, use_log) = match mount {
        None => (String::new(), fallback),
        Some(mount) => match read_end(&mount.host_path) {
            Ok(text) => {
                let empty = text.is_empty();
                (text, fallback && empty)
            }
            Err(e) if e.kind() == ErrorKind::NotFound => (String::new(), fallback),
            Err(e) => (format!("Error on reading termination log {}: {e}", mount.host_path), false),
        },
    };
    if use_log {
        message = last_lines(&container.log_path, MAX_LOG_LINES, MAX_LOG)
            .unwrap_or_else(|e| format!("Error on reading termination message from logs: {e}"));
    }
    if message.is_empty() {
        return;
    }
    if !container.message.is_empty() {
        container.message.push_str(": ");
    }
    container.message.push_str(&message);
}

fn read_end(path: &str) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(MAX_FILE)))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
