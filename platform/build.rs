//! Finds the commit that `orderly --version` prints. Outside of git the build succeeds, and the commit is `unknown`.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // For builds without the repository, such as that of the container image.
    println!("cargo::rerun-if-env-changed=BUILD_COMMIT");
    let given = env::var("BUILD_COMMIT").ok().filter(|commit| !commit.trim().is_empty());
    let commit = given.or_else(commit_of_repository).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=ORDERLY_COMMIT={}", commit.trim());
}

fn commit_of_repository() -> Option<String> {
    let answer = git(&["rev-parse", "--show-prefix", "--short=12", "HEAD"])?;
    let (prefix, commit) = answer.split_once('\n')?;
    if prefix != "platform/" {
        // The sources are in the repository of another project.
        return None;
    }
    // Every commit and checkout adds a line to this file.
    let moves = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&moves).exists() {
        println!("cargo::rerun-if-changed={moves}");
    }
    Some(commit.to_owned())
}

fn git(arguments: &[&str]) -> Option<String> {
    // A hook of git sets the variable, for another directory.
    let output = Command::new("git").args(arguments).env_remove("GIT_DIR").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}
