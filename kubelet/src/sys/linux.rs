//! The real kernel.

use super::{Mount, Space, Sys};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Pid, Uid};
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

/// Calls the kernel this process runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linux;

impl Sys for Linux {
    fn mount(&self, mount: &Mount, target: &Path) -> io::Result<()> {
        let fstype = (!mount.fstype.is_empty()).then_some(mount.fstype.as_str());
        let data = (!mount.data.is_empty()).then_some(mount.data.as_str());
        let mut flags = MsFlags::empty();
        if mount.bind {
            flags |= MsFlags::MS_BIND;
        } else if mount.read_only {
            flags |= MsFlags::MS_RDONLY;
        }
        nix::mount::mount(Some(mount.source.as_str()), target, fstype, flags, data)?;
        if mount.bind && mount.read_only {
            // The kernel ignores read-only on the bind itself.
            let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            nix::mount::mount(None::<&str>, target, None::<&str>, flags, None::<&str>)?;
        }
        Ok(())
    }

    fn unmount(&self, target: &Path) -> io::Result<()> {
        Ok(nix::mount::umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)?)
    }

    fn mount_points(&self) -> io::Result<Vec<PathBuf>> {
        let table = fs::read_to_string("/proc/self/mountinfo")?;
        let point = |line: &str| line.split(' ').nth(4).map(unescape);
        Ok(table.lines().filter_map(point).collect())
    }

    fn chown(&self, path: &Path, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        use nix::fcntl::{AT_FDCWD, AtFlags};
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        Ok(nix::unistd::fchownat(AT_FDCWD, path, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)?)
    }

    fn write_control(&self, path: &Path, value: &str) -> io::Result<()> {
        // Control files exist or don't: one must never be made, nor wait for a peer.
        let mut file = fs::OpenOptions::new().write(true).custom_flags(libc::O_CLOEXEC).open(path)?;
        file.write_all(value.as_bytes())
    }

    fn make_group(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn remove_group(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn kill(&self, pid: i32) -> io::Result<()> {
        Ok(kill(Pid::from_raw(pid), Signal::SIGKILL)?)
    }

    fn bind_below(&self, root: &Path, relative: &Path, target: &Path) -> io::Result<()> {
        let found = walk(root, relative, None)?;
        let source = format!("/proc/self/fd/{}", found.as_raw_fd());
        self.mount(&Mount { source, bind: true, ..Mount::default() }, target)
    }

    fn make_below(&self, root: &Path, relative: &Path, mode: u32) -> io::Result<()> {
        walk(root, relative, Some(Mode::from_bits_truncate(mode))).map(drop)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let s = nix::sys::statvfs::statvfs(path)?;
        Ok(Space {
            capacity: s.blocks() * s.fragment_size(),
            available: s.blocks_available() * s.fragment_size(),
            inodes: s.files(),
            inodes_free: s.files_free(),
        })
    }
}

/// Opens `relative` below `root` step by step, making what is missing if a mode is given.
fn walk(root: &Path, relative: &Path, make: Option<Mode>) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut at = nix::fcntl::open(root, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    for part in relative.components() {
        let Component::Normal(name) = part else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "path leaves its volume"));
        };
        at = match (nix::fcntl::openat(&at, name, flags, Mode::empty()), make) {
            (Err(Errno::ENOENT), Some(mode)) => {
                nix::sys::stat::mkdirat(&at, name, mode)?;
                let made = nix::fcntl::openat(&at, name, flags, Mode::empty())?;
                // The mode given at creation is subject to the umask.
                let itself = format!("/proc/self/fd/{}", made.as_raw_fd());
                fs::set_permissions(itself, fs::Permissions::from_mode(mode.bits()))?;
                made
            }
            (Ok(next), _) => {
                if nix::sys::stat::fstat(&next)?.st_mode & libc::S_IFMT == libc::S_IFLNK {
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, "path goes through a symlink"));
                }
                next
            }
            (Err(e), _) => return Err(e.into()),
        };
    }
    Ok(at)
}

/// The mount table writes spaces and the like in octal.
fn unescape(text: &str) -> PathBuf {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                out.push(char::from(code));
                rest = &rest[at + 4..];
            }
            None => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    out.into()
}

#[cfg(test)]
mod tests {
    #[test]
    fn octal_escapes() {
        assert_eq!(super::unescape("/a\\040b\\134c"), std::path::Path::new("/a b\\c"));
    }
}
