//! The millstream daemon and its command line.

use std::process::ExitCode;

use clap::Parser;
use millstream::app::DaemonHost;
use millstream::cli::{self, Cli, Output};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut output = Output::stdio();
    let config = match cli.load_config() {
        Ok(config) => config,
        Err(error) => {
            output.failure(&error, None);
            return ExitCode::FAILURE;
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("tokio").build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.failure(&error, Some("the system has no threads left for this process"));
            return ExitCode::FAILURE;
        }
    };
    let exit = runtime.block_on(cli::run(cli, config, &DaemonHost, &mut output));
    // Whatever still runs (a blocked disk, a held request) was given its time by the ordered stop.
    runtime.shutdown_background();
    exit.into()
}
