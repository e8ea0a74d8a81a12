//! Writes the seeds of every target to `DIRECTORY/<target>/` and prints the targets' names.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let directory = std::env::args().nth(1).unwrap_or_else(|| "corpus".to_owned());
    for target in fuzz::TARGETS {
        let directory = Path::new(&directory).join(target.name);
        std::fs::create_dir_all(&directory)?;
        for (i, seed) in target.seeds.iter().enumerate() {
            std::fs::write(directory.join(format!("seed-{i}")), seed)?;
        }
        println!("{}", target.name);
    }
    Ok(())
}
