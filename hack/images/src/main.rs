//! Builds OCI images without an engine: `images build --file Containerfile --context DIR --tag NAME --output FILE`.
//!
//! The Containerfile is the one description of an image: people who have Docker or buildah build it with those, and
//! this tool interprets the subset that images FROM scratch need. The archive is deterministic (sorted entries, no
//! times, owner root), so that building twice gives the same digest, and `ctr images import` takes it as it is.

mod archive;
mod containerfile;
mod layer;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use std::path::PathBuf;

#[derive(Parser)]
#[command(about = "Builds OCI images without an engine")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build one image into an OCI archive.
    Build {
        /// The Containerfile; only FROM scratch images can be built.
        #[arg(long)]
        file: PathBuf,
        /// The folder that COPY reads from.
        #[arg(long)]
        context: PathBuf,
        /// The image's full name, for example registry.k8s.io/pause:3.10.1.
        #[arg(long)]
        tag: String,
        /// Where to write the archive.
        #[arg(long)]
        output: PathBuf,
    },
}

fn main() -> Result<()> {
    let Command::Build { file, context, tag, output } = Cli::parse().command;
    let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let recipe = containerfile::parse(&text).with_context(|| file.display().to_string())?;
    let layer = layer::build(&recipe.copies, &context)?;
    let size = layer.compressed.len();
    archive::write(&output, &tag, &recipe.config, layer)?;
    println!("{tag}  {:.1} MB", size as f64 / 1e6);
    Ok(())
}
