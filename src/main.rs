//! `ringfence` runs an AI agent in a container that reaches exactly the names its policy permits.
//!
//! ```text
//!  cli (words) ─▶ commands (one file each) ─▶ supervisor ──engine API──▶ fence container: `ringfence fence hold`
//!                                                                       guard container: `ringfence guard run`
//! ```
//! What runs in containers is Linux's alone; everything else builds on macOS too, for engines in a
//! virtual machine.

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]
#![cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "fence and guard use it"))]

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
compile_error!("ringfence builds on Linux and macOS; on Windows it runs inside WSL 2, as a Linux program");

mod cli;
mod commands;
mod dashboard;
mod doctor;
mod host;
#[cfg(target_os = "linux")]
mod inside;
mod layers;
mod report;
mod scenario;
mod serve;
mod supervisor;
mod term;
mod wire;
mod workspace;

fn main() -> std::process::ExitCode {
    let began = std::time::Instant::now();
    let typed: Vec<std::ffi::OsString> = std::env::args_os().collect();
    match cli::usage::read(typed.clone()) {
        Ok(cli) => commands::dispatch(cli, &typed, began),
        Err(status) => status,
    }
}
