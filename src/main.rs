//! Parse, run, map the outcome to an exit code.

use std::process::ExitCode;

use lifeboat::cli;

fn main() -> ExitCode {
    let arguments = match cli::args::Cli::read(std::env::args_os()) {
        Ok(arguments) => arguments,
        // Help and version are errors to the parser; it knows which stream and which status each has.
        Err(error) => error.exit(),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return cli::cannot_start(&error),
    };
    let code = runtime.block_on(cli::run(arguments));
    // Blocking threads that wait for a peer which is gone must not keep a finished process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    code
}
