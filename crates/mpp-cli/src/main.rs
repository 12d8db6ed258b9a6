//! The command `mpp`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    mpp_cli::run(std::env::args_os())
}
