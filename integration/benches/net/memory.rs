//! The guard's memory: idle, and with open connections.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use integration::performance::Row;
use integration::testbed::setup;
use nix::sys::resource::{Resource, getrlimit};
use tokio::net::TcpStream;

use crate::Bench;
use crate::gate::{Field, load};
use crate::process::Cores;
use crate::rows::{aimed, at_most, growth, single};

/// Sizes of the curve.
const SIZES: [usize; 4] = [1, 10, 100, 1_000];
/// Connections that a guard takes at most.
const MOST: usize = 10_000;
/// Files that are open beside those of connections, as the guard counts.
const OTHER_FILES: u64 = 2_100;
/// Connections that are made at once.
const AT_ONCE: usize = 64;

/// Resident memory of a process, in MiB.
struct Memory {
    /// All of it.
    resident: f64,
    /// Its share of what several processes have.
    share: f64,
    /// Pages that no other process has, and no file.
    own: f64,
}

/// Opens connections, and looks at the guard at each size.
///
/// # Errors
/// When the guard does not start, or a connection fails.
pub(crate) fn measure(bench: &Bench<'_>) -> Result<Vec<Row>> {
    setup::many_files()?;
    // Where the machine gives a process fewer files, the guard takes fewer connections.
    let (files, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let most = MOST.min(usize::try_from(files.saturating_sub(OTHER_FILES) / 2)?);
    let sizes: Vec<usize> = SIZES.into_iter().chain([most]).collect();
    let field = Field::make(bench, Cores::One, |_| false)?;
    let look = |at, pid: Option<u32>| -> Result<Option<Vec<Memory>>> {
        let Some(pid) = pid else { return Ok(None) };
        let mut all = vec![memory(pid)?];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut held: Vec<TcpStream> = Vec::new();
        for &size in &sizes {
            (bench.say)(&format!("{size} connections"));
            let began = Instant::now();
            while held.len() < size {
                let more = AT_ONCE.min(size - held.len());
                held.extend(runtime.block_on(several(at, more))?);
                // Slower than the guard dials at the least.
                let due = Duration::from_secs_f64(held.len() as f64 / 3000.0);
                std::thread::sleep(due.saturating_sub(began.elapsed()));
            }
            std::thread::sleep(Duration::from_millis(500));
            all.push(memory(pid)?);
        }
        Ok(Some(all))
    };
    let figures = field.rounds(1, look)?;
    let own = figures.first().and_then(|(_, rounds)| rounds.first()?.as_ref()).context("no guard")?;
    rows(&sizes, own)
}

/// Makes some connections at once.
async fn several(at: std::net::Ipv4Addr, number: usize) -> Result<Vec<TcpStream>> {
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..number {
        set.spawn(load::open(at));
    }
    let mut made = Vec::new();
    while let Some(done) = set.join_next().await {
        made.push(done??);
    }
    Ok(made)
}

fn rows(sizes: &[usize], own: &[Memory]) -> Result<Vec<Row>> {
    let (Some(idle), Some(full), Some(&size)) = (own.first(), own.last(), sizes.last()) else {
        anyhow::bail!("nothing was measured")
    };
    let curve: Vec<(f64, f64)> =
        sizes.iter().zip(&own[1..]).map(|(size, memory)| (*size as f64, memory.resident)).collect();
    let each = (full.resident - idle.resident) / size as f64;
    let scaled = idle.resident + each * MOST as f64;
    let what = match size {
        MOST => "resident with 10,000 connections".to_owned(),
        fewer => format!("resident with 10,000 connections, from that with {fewer}"),
    };
    Ok(vec![
        aimed(single("resident when idle", "MiB", idle.resident)?, "memory-idle", |row| at_most(row, 8.0)),
        single("share of memory when idle (PSS)", "MiB", idle.share)?,
        single("its own when idle, without its program's pages", "MiB", idle.own)?,
        aimed(single(&what, "MiB", scaled)?, "memory-full", |row| at_most(row, 200.0)),
        single(&format!("share of memory with {size} connections (PSS)"), "MiB", full.share)?,
        single("one connection", "KiB", each * 1024.0)?,
        growth("memory by connections", &curve)?,
    ])
}

fn memory(pid: u32) -> Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let field = |name: &str| -> Result<f64> {
        let line = text.lines().find(|line| line.starts_with(name)).context("no such field")?;
        let kib: f64 = line.split_whitespace().nth(1).context("no value")?.parse()?;
        Ok(kib / 1024.0)
    };
    Ok(Memory { resident: field("Rss:")?, share: field("Pss:")?, own: field("Anonymous:")? })
}
