//! One stream through the gate, beside the plain path and HAProxy's splicing. Everybody may use all
//! cores: a proxy is one process more than the plain path has, and that is part of its price.

use anyhow::Result;
use integration::performance::Row;

use crate::Bench;
use crate::gate::load::{self, Figures, Work};
use crate::gate::{Field, series};
use crate::process::Cores;
use crate::rows::{Better, aimed, beside, ratio, row};

/// The path without a proxy.
const PLAIN: [&str; 1] = ["direct"];
const HAPROXY: [&str; 1] = ["HAProxy"];

/// Measures streams at full speed, then over a link.
///
/// # Errors
/// When a proxy does not start, or a stream ends early.
pub(crate) fn measure(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let field = Field::make(bench, Cores::All, |name| ["HAProxy", "nginx"].contains(&name))?;
    let rounds = if bench.quick { 3 } else { 10 };
    let mut rows = Vec::new();
    for work in Work::STREAMS {
        (bench.say)(work.title());
        let figures = field.rounds(rounds, |at, pid| load::run(work, at, pid))?;
        rows.extend(of(work, &figures)?);
    }
    match field.world.slow() {
        Ok(()) => {
            (bench.say)("one stream over a link of 1 Gbit/s");
            let work = Work::TcpDown;
            let figures =
                field.rounds(if bench.quick { 1 } else { 2 }, |at, pid| load::run(work, at, pid))?;
            let clock = series(&figures, |figures| Some(figures.by_clock));
            let row = beside("one stream down, tcp, over 1 Gbit/s", "MiB/s", &clock, &PLAIN, Better::More)?;
            // Two in a hundred are the spread of such a link.
            rows.push(aimed(row, "stream-link", |row| ratio(row, |ratio| ratio >= 0.98)));
        }
        Err(error) => (bench.say)(&format!("a slow link is not measured: {error:#}")),
    }
    Ok(rows)
}

/// The rows of one direction. The aims are those of a `tls` stream down, which is what agents have.
fn of(work: Work, figures: &[(String, Vec<Figures>)]) -> Result<Vec<Row>> {
    let clock = series(figures, |figures| Some(figures.by_clock));
    let cost = series(figures, |figures| figures.by_core.map(|rate| 1024.0 / rate));
    let title = work.title();
    let plain = beside(&format!("{title}, beside the plain path"), "MiB/s", &clock, &PLAIN, Better::More)?;
    let others = beside(&format!("{title}, beside HAProxy"), "MiB/s", &clock, &HAPROXY, Better::More)?;
    let cost = if cost.iter().any(|(name, _)| name == HAPROXY[0]) {
        beside(&format!("{title}, processor time per GiB"), "s", &cost, &HAPROXY, Better::Less)?
    } else {
        row(&format!("{title}, processor time per GiB"), "s", &cost)?
    };
    if work != Work::TlsDown {
        return Ok(vec![plain, others, cost]);
    }
    Ok(vec![
        aimed(plain, "stream-plain", |row| ratio(row, |ratio| ratio >= 1.0)),
        aimed(others, "stream-haproxy", |row| ratio(row, |ratio| ratio >= 1.05)),
        aimed(cost, "stream-cpu", |row| ratio(row, |ratio| ratio <= 1.0)),
    ])
}
