//! `orderly completions` and `orderly man`: files for shells and for `man`, made from the arguments of the binary.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};

use clap::{Args, Command};
use clap_complete::Shell;

use super::Failure;

#[derive(Debug, Args)]
pub struct CompletionsOptions {
    /// Shell whose completion script is printed.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Args)]
pub struct ManOptions {
    /// Write a page for each command into this directory, instead of printing the first page.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub fn print_completions(mut binary: Command, options: &CompletionsOptions) -> Result<(), Failure> {
    let name = binary.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut binary, name, &mut script);
    print(&script)
}

pub fn print_manual(binary: Command, options: &ManOptions) -> Result<(), Failure> {
    let Some(dir) = &options.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(binary).render(&mut page)?;
        return print(&page);
    };
    fs::create_dir_all(dir)?;
    Ok(clap_mangen::generate_to(binary, dir)?)
}

/// A reader that has seen enough may have closed the pipe.
pub(super) fn print(bytes: &[u8]) -> Result<(), Failure> {
    match io::stdout().write_all(bytes) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
