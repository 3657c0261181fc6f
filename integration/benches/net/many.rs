//! Workflows beside each other on one engine: what the start of one more takes.
//!
//! ```text
//!  1, 10, 40, 100 workflows run and sleep ─▶ rounds of `run true` and `docker run true` beside them ─▶ own part: the difference
//! ```

use std::process::Command;

use anyhow::{Context, Result};
use integration::performance::Row;
use integration::ringfence::Ringfence;

use crate::Bench;
use crate::rows::{aimed, median, row, single};
use crate::start::World;
use crate::timed::timed;

/// Workflows that are there with the one that is measured.
const SIZES: [usize; 4] = [1, 10, 40, 100];

/// The workflows that sleep; they are stopped with this.
struct Sleepers<'a> {
    world: &'a World,
    names: Vec<String>,
}

/// Measures one more start at each size.
///
/// # Errors
/// When a workflow does not start.
pub(crate) fn measure(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let world = World::make(bench.say)?;
    let rounds = if bench.quick { 2 } else { 7 };
    let mut sleepers = Sleepers { world: &world, names: Vec::new() };
    let (mut rows, mut own_parts) = (Vec::new(), Vec::new());
    // The first run loads the helper image.
    world.by_ringfence(world.own()?, None)?;
    world.plain(None)?;
    for size in SIZES {
        if bench.quick && size > 40 {
            break;
        }
        (bench.say)(&format!("{size} workflows"));
        while sleepers.names.len() + 1 < size {
            sleepers.one_more()?;
        }
        let (mut own, mut plain) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            own.push(world.by_ringfence(world.own()?, None)?.whole);
            plain.push(world.plain(None)?);
        }
        let parts: Vec<f64> = own.iter().zip(&plain).map(|(own, plain)| own - plain).collect();
        own_parts.push(median(&parts));
        let series = [("ringfence".to_owned(), own), ("docker run".to_owned(), plain)];
        rows.push(row(&format!("a run of true, {size} workflows at once"), "ms", &series)?);
        rows.push(row(
            &format!("its own part, {size} workflows at once"),
            "ms",
            &[("ringfence".to_owned(), parts)],
        )?);
    }
    let (first, last) = (own_parts.first().context("no size")?, own_parts.last().context("no size")?);
    let times = single(
        &format!("own part of start {} beside the first", sleepers.names.len() + 1),
        "times",
        last / first,
    )?;
    let all = sleepers.names.len() + 1 == SIZES[SIZES.len() - 1];
    rows.push(if all { aimed(times, "many", |row| crate::rows::at_most(row, 1.3)) } else { times });
    Ok(rows)
}

impl Sleepers<'_> {
    fn one_more(&mut self) -> Result<()> {
        let name = format!("bench-{}", self.names.len());
        let ringfence = self.world.own()?;
        let mut command = ringfence.command();
        command.args(["run", "--detach", "--name", &name, "--policy"]).arg(self.world.policy(ringfence)?);
        timed(command.args([self.world.image(), "sleep", "3600"]))?;
        self.names.push(name);
        Ok(())
    }
}

impl Drop for Sleepers<'_> {
    fn drop(&mut self) {
        let stop = |ringfence: &Ringfence| -> Command {
            let mut command = ringfence.command();
            command.arg("stop").args(&self.names);
            command
        };
        if let Ok(ringfence) = self.world.own()
            && !self.names.is_empty()
        {
            stop(ringfence)
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .status()
                .ok();
        }
    }
}
