//! Keeps one program running in the background: the part that an init system has on machines that run one.
//!
//! `keelsonadm supervise --name kubelet -- /opt/keelson/bin/kubelet ...` starts the program in a session of its own, writes
//! its log, and starts it again after it ends, at first at once and later at most every ten seconds.

use crate::config::{LOGS, RUN};
use anyhow::{Context, Result};
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[derive(Args)]
pub(crate) struct Options {
    /// What the log and the pid files are called.
    #[arg(long)]
    name: String,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A program that lived this long starts again at once.
const HEALTHY: Duration = Duration::from_secs(30);

fn pid_file(name: &str) -> PathBuf {
    PathBuf::from(format!("{RUN}/{name}.pid"))
}

fn child_file(name: &str) -> PathBuf {
    PathBuf::from(format!("{RUN}/{name}.child.pid"))
}

/// The supervisor's loop. It returns only when it can't start the program at all.
pub(crate) fn run(options: Options) -> Result<()> {
    let mut pause = Duration::ZERO;
    loop {
        let began = Instant::now();
        let mut child = Command::new(&options.command[0])
            .args(&options.command[1..])
            .spawn()
            .with_context(|| format!("starting {}", options.command[0]))?;
        std::fs::write(child_file(&options.name), child.id().to_string())?;
        let status = child.wait()?;
        eprintln!("supervise: {} ended ({status})", options.name);
        pause = if began.elapsed() > HEALTHY {
            Duration::ZERO
        } else {
            (pause * 2 + Duration::from_millis(250)).min(LONGEST_PAUSE)
        };
        std::thread::sleep(pause);
    }
}

/// Starts a supervised program unless it is running, and returns at once.
pub(crate) fn start(name: &str, command: &[String], environment: &[(&str, String)]) -> Result<()> {
    stop(name)?;
    std::fs::create_dir_all(RUN)?;
    std::fs::create_dir_all(LOGS)?;
    let log = OpenOptions::new().create(true).append(true).open(format!("{LOGS}/{name}.log"))?;
    let child = Command::new(std::env::current_exe()?)
        .args(["supervise", "--name", name, "--"])
        .args(command)
        .envs(environment.iter().map(|(key, value)| (*key, value.as_str())))
        .stdin(File::open("/dev/null")?)
        .stdout(log.try_clone()?)
        .stderr(Stdio::from(log))
        .process_group(0)
        .spawn()?;
    std::fs::write(pid_file(name), child.id().to_string())?;
    Ok(())
}

/// Stops a supervised program and its supervisor; one that isn't running is fine.
pub(crate) fn stop(name: &str) -> Result<()> {
    for file in [pid_file(name), child_file(name)] {
        let Some(pid) = read_pid(&file) else { continue };
        if is_ours(pid, name) {
            end(pid);
        }
        let _ = std::fs::remove_file(file);
    }
    Ok(())
}

fn read_pid(file: &PathBuf) -> Option<i32> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// A pid file may be older than the machine's start: the process must carry the name that it stands for.
fn is_ours(pid: i32, name: &str) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
        String::from_utf8_lossy(&line)
            .split('\0')
            .any(|part| part == name || part.ends_with(&format!("/{name}")))
    })
}

/// Ends a process: politely, and after ten seconds by force.
fn end(pid: i32) {
    let pid = Pid::from_raw(pid);
    let _ = kill(pid, Signal::SIGTERM);
    let deadline = Instant::now() + Duration::from_secs(10);
    while kill(pid, None).is_ok() && !is_zombie(pid) {
        if Instant::now() > deadline {
            let _ = kill(pid, Signal::SIGKILL);
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_zombie(pid: Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')))
}
