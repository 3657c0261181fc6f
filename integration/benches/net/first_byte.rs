//! Time from the connect of a TLS connection to the server's first byte, one connection after the
//! other.

use anyhow::{Context, Result};
use integration::performance::Row;

use crate::Bench;
use crate::gate::{Field, LOGGING, load, series};
use crate::process::Cores;
use crate::rows::{Better, Series, aimed, at_most, beside, median, quantile, row};

/// Measures all that are there.
///
/// # Errors
/// When a proxy does not start, or a connection fails.
pub(crate) fn measure(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let field = Field::make(bench, Cores::One, |name| LOGGING.contains(&name))?;
    let (rounds, connections) = if bench.quick { (3, 200) } else { (7, 500) };
    (bench.say)("first bytes");
    let figures = field.rounds(rounds, |at, _| load::first_bytes(at, connections))?;
    let medians = series(&figures, |times| Some(median(times)));
    let worst = series(&figures, |times| Some(quantile(times, 0.99)));
    let (added, added_worst) = (added(&medians)?, added(&worst)?);
    Ok(vec![
        beside("time to the first byte of a TLS connection, median", "µs", &medians, &LOGGING, Better::Less)?,
        beside("the same, 99 of 100", "µs", &worst, &LOGGING, Better::Less)?,
        aimed(row("added time to the first byte, median", "µs", &added)?, "first-byte", |row| {
            at_most(row, 500.0)
        }),
        row("added time to the first byte, 99 of 100", "µs", &added_worst)?,
    ])
}

/// Takes the direct path's time from everybody's, round by round.
fn added(series: &[Series]) -> Result<Vec<Series>> {
    let (_, direct) = series.last().context("the direct path is the last")?;
    let rest = |figures: &[f64]| figures.iter().zip(direct).map(|(figure, direct)| figure - direct).collect();
    Ok(series[..series.len() - 1].iter().map(|(name, figures)| (name.clone(), rest(figures))).collect())
}
