//! The sizes of the image archives.

use crate::Bench;
use crate::process::megabytes;
use crate::table::Table;
use anyhow::{Context, Result, ensure};

/// Images whose archives are counted: the daemons' first.
const IMAGES: [&str; 8] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "cloud-controller-manager",
    "kube-proxy",
    "cluster-dns",
    "pause",
    "etcd",
];

pub(super) async fn measure(_: &Bench, table: &mut Table) -> Result<()> {
    let folder = e2e::prefix().join("images");
    let size = |path: &std::path::Path| -> Result<u64> {
        Ok(std::fs::metadata(path).with_context(|| path.display().to_string())?.len())
    };
    let mut all = 0;
    for name in IMAGES {
        let bytes = size(&folder.join(format!("{name}.tar")))?;
        ensure!(bytes > 0, "the archive of {name} is empty");
        all += bytes;
        table.add(format!("image archive: {name}"), "", megabytes(bytes));
    }
    table.add("image archives, all", "", megabytes(all));
    let kubelet = size(&e2e::prefix().join("bin/kubelet"))?;
    table.add("kubelet's program", "", megabytes(kubelet));
    Ok(())
}
