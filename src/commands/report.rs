//! `ringfence report`: what runs reached and tried, as text, JSON or one HTML page.
//!
//! ```text
//!  logs ──report::RunReport──▶ text or JSON on stdout, or a page in a file (--html)
//! ```

use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::sources::{self, doubts};
use crate::cli::ReportArgs;
use crate::host::open;
use crate::report::run::RunReport;
use crate::report::{data, mark_new, page, words};
use crate::term::{self, Failure, Warning};

/// Exit status when no report can be made.
const CANNOT: u8 = 2;
/// Mode of a page: a log tells of a person's work.
const MODE: u32 = 0o600;

/// Reads logs, and writes the report.
pub(crate) async fn report(engine_host: Option<&str>, args: ReportArgs) -> Result<u8, Failure> {
    let mut runs = Vec::new();
    for source in &args.sources {
        let log = sources::read(engine_host, source)
            .await
            .map_err(|failure| Failure { exit: CANNOT, ..failure })?;
        runs.push(RunReport::of(source, &log.bytes, doubts(&log)));
    }
    mark_new(&mut runs);
    match &args.html {
        Some(file) => write(file, &page::of(&runs))?,
        None if args.json => {
            term::print_json(&json!({"runs": runs.iter().map(data::of).collect::<Vec<_>>()}))?;
        }
        None => term::print(&runs.iter().map(words::of).collect::<Vec<_>>().join("\n"))?,
    }
    Ok(0)
}

/// Writes the page as `--events` writes its file: through no link that an agent could have made,
/// and over no file of others.
fn write(path: &Path, page: &str) -> Result<(), Failure> {
    let cannot = || Failure::new(CANNOT, format!("cannot write {}", path.display()));
    let mut created = open::create(path, MODE).map_err(|refused| refused.explain(cannot()))?;
    created.file.write_all(page.as_bytes()).map_err(|error| cannot().caused_by(&error))?;
    if let Some(why) = created.doubt {
        term::warn(Warning::PageExposed { file: path.to_owned(), why });
    }
    term::talk(format_args!("wrote {}", path.display()));
    Ok(())
}
