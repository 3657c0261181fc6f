//! `ringfence test`: the options as typed.

use std::path::PathBuf;

use clap::Args;

/// `ringfence test SCENARIO.yml`
#[derive(Debug, Args)]
#[command(after_help = "\
Each case is a `ringfence run` with a fresh copy of the project, so the project itself is never written.
Exit status: 0 every case passed, 1 a case failed, 2 the scenario or a case could not be run, 128+N ended by signal N

Examples:
  ringfence test --init my-agent:dev > scenario.yml
  ringfence test scenario.yml
  ringfence test scenario.yml --check
  ringfence test scenario.yml --case 'offline from the start' --logs logs
  ringfence test scenario.yml --jobs 4 --junit report.xml
  ringfence test scenario.yml --image my-agent:next")]
pub(crate) struct ScenarioArgs {
    /// The scenario file
    #[arg(value_name = "SCENARIO.yml", required_unless_present_any = ["schema", "init"])]
    pub(crate) file: Option<PathBuf>,
    /// Run this case alone; may be given several times
    #[arg(long = "case", value_name = "NAME")]
    pub(crate) cases: Vec<String>,
    /// Run this image in every case, instead of the file's
    #[arg(long, value_name = "NAME")]
    pub(crate) image: Option<String>,
    /// Check the file, list its cases, and end: no engine is asked
    #[arg(long, conflicts_with_all = ["json", "junit", "logs", "record", "golden"])]
    pub(crate) check: bool,
    /// Run so many cases side by side
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) jobs: u8,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the results as JUnit XML to this file too
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Write the targets that each case tried to this file, a golden list
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// Fail a case that tries other targets than this golden list has
    #[arg(long, value_name = "FILE", conflicts_with = "record")]
    pub(crate) golden: Option<PathBuf>,
    /// Keep the decision log, stdout and stderr of each case in this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) logs: Option<PathBuf>,
    /// Print a first scenario for this image, and end
    #[arg(long, value_name = "IMAGE", exclusive = true)]
    pub(crate) init: Option<String>,
    /// Print the JSON Schema of scenario files, and end
    #[arg(long, exclusive = true)]
    pub(crate) schema: bool,
}
