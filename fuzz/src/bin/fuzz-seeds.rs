//! Writes the seeds of every target: `fuzz-seeds DIRECTORY`. Each target has a folder of its own below it.

use std::{env, fs, io, path::PathBuf};

fn main() -> io::Result<()> {
    let directory = env::args_os().nth(1).map(PathBuf::from);
    let directory = directory.ok_or_else(|| io::Error::other("expected the directory for the seeds"))?;
    for target in fuzz::TARGETS {
        let folder = directory.join(target.name);
        fs::create_dir_all(&folder)?;
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            fs::write(folder.join(format!("seed-{number:03}")), seed)?;
        }
    }
    Ok(())
}
