//! Rows of a report, made of the figures of all rounds.

use anyhow::{Result, ensure};
use integration::performance::{Aim, Figure, Ratio, Row, Spread};

/// Figures of one program, one a round.
pub(crate) type Series = (String, Vec<f64>);

/// Direction in which a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    More,
    Less,
}

/// The middle of some figures.
pub(crate) fn median(figures: &[f64]) -> f64 {
    quantile(figures, 0.5)
}

/// The figure below which this share of some figures lies.
pub(crate) fn quantile(figures: &[f64], share: f64) -> f64 {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    let at = (figures.len() as f64 * share) as usize;
    figures.get(at.min(figures.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// Median and quartiles.
///
/// # Errors
/// When there is no figure, or one that is no number.
pub(crate) fn spread(figures: &[f64]) -> Result<Spread> {
    ensure!(
        !figures.is_empty() && figures.iter().all(|figure| figure.is_finite()),
        "no figures: {figures:?}"
    );
    let at = |share| rounded(quantile(figures, share));
    Ok(Spread { median: at(0.5), low: at(0.25), high: at(0.75), count: figures.len() })
}

/// Keeps six digits: the rest is noise, and text of another length.
fn rounded(figure: f64) -> f64 {
    format!("{figure:.5e}").parse().unwrap_or(figure)
}

/// Makes a row without a comparison. The first series is ringfence's.
///
/// # Errors
/// When a series has no figures.
pub(crate) fn row(what: &str, unit: &str, series: &[Series]) -> Result<Row> {
    let figures =
        series.iter().map(|(name, figures)| Ok(Figure { name: name.clone(), spread: spread(figures)? }));
    Ok(Row {
        part: String::new(),
        what: what.to_owned(),
        unit: unit.to_owned(),
        figures: figures.collect::<Result<_>>()?,
        ratio: None,
        target: None,
    })
}

/// Makes a row of one program's only figure.
///
/// # Errors
/// When it is no number.
pub(crate) fn single(what: &str, unit: &str, figure: f64) -> Result<Row> {
    row(what, unit, &[("ringfence".to_owned(), vec![figure])])
}

/// Makes a row with the ratio, round by round, to the best of these peers.
///
/// # Errors
/// When a series has no figures.
pub(crate) fn beside(
    what: &str,
    unit: &str,
    series: &[Series],
    peers: &[&str],
    better: Better,
) -> Result<Row> {
    let mut row = row(what, unit, series)?;
    let medians = series.iter().filter(|(name, _)| peers.contains(&name.as_str()));
    let best = medians.max_by(|(_, one), (_, other)| match better {
        Better::More => median(one).total_cmp(&median(other)),
        Better::Less => median(other).total_cmp(&median(one)),
    });
    if let (Some((name, best)), Some((_, own))) = (best, series.first()) {
        let ratios: Vec<f64> = own.iter().zip(best).map(|(own, other)| own / other).collect();
        row.ratio = Some(Ratio { to: name.clone(), spread: spread(&ratios)? });
    }
    Ok(row)
}

/// Lets a row answer an aim.
pub(crate) fn aimed(row: Row, key: &str, met: impl FnOnce(&Row) -> bool) -> Row {
    let met = met(&row);
    Row { target: Some(Aim { key: key.to_owned(), met }), ..row }
}

/// Tells whether the median of the ratios is at least, or at most, this.
pub(crate) fn ratio(row: &Row, is_met: impl FnOnce(f64) -> bool) -> bool {
    row.ratio.as_ref().is_some_and(|ratio| is_met(ratio.spread.median))
}

/// Tells whether ringfence's median is within a bound.
pub(crate) fn at_most(row: &Row, bound: f64) -> bool {
    row.own().is_some_and(|own| own.median <= bound)
}

/// Makes the row of the exponent by which a figure grows over a curve's last three quarters: 1
/// where it grows as the size does.
///
/// # Errors
/// When there are fewer than two sizes.
pub(crate) fn growth(what: &str, curve: &[(f64, f64)]) -> Result<Row> {
    let from = curve.len() / 4;
    let (Some(first), Some(last)) = (curve.get(from), curve.last()) else {
        anyhow::bail!("no curve of {what}");
    };
    let exponent = (last.1 / first.1).ln() / (last.0 / first.0).ln();
    single(&format!("{what}: growth from {} to {}", first.0, last.0), "exponent", exponent)
}
