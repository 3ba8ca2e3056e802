//! Compiles the messages of the EventStoreDB fixture. `protox` needs no `protoc`.

use std::error::Error;

const FOLDER: &str = "doubles/eventstoredb";
const MESSAGES: &str = "doubles/eventstoredb/messages.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={MESSAGES}");
    let messages = protox::compile([MESSAGES], [FOLDER])?;
    prost_build::Config::new().bytes(["."]).compile_fds(messages)?;
    Ok(())
}
