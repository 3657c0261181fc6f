//! The files of the figures: read, merged, written.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::{Report, chart, page};

/// The results, below the folder of documents.
const RESULTS: &str = "performance/results.json";
/// The page with the table of targets.
const OVERVIEW: &str = "performance.md";
/// Lines between which the table of targets stands.
const BEGIN: &str = "<!-- made by `cargo bench-net report`: begin -->";
const END: &str = "<!-- made by `cargo bench-net report`: end -->";

/// Merges reports: a later report of a part replaces an earlier one.
#[must_use]
pub fn merged(reports: Vec<Report>) -> Vec<Report> {
    let mut kept: Vec<Report> = Vec::new();
    for report in reports {
        let is_new = |part: &str| report.rows.iter().any(|row| row.part == part) && !part.is_empty();
        for earlier in &mut kept {
            earlier.rows.retain(|row| !is_new(&row.part));
            earlier.failed.retain(|failed| !is_new(&failed.part));
        }
        kept.push(report);
    }
    kept.retain(|report| !report.rows.is_empty());
    kept
}

/// Adds reports to those of the repository, and writes everything that is made of them.
///
/// # Errors
/// When a file cannot be read or written.
pub fn publish(documents: &Path, files: &[&Path]) -> Result<()> {
    let results = documents.join(RESULTS);
    let mut reports: Vec<Report> = match fs::read(&results) {
        Ok(text) => serde_json::from_slice(&text).context("docs/performance/results.json")?,
        Err(_) => Vec::new(),
    };
    for file in files {
        let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let report = serde_json::from_slice(&text);
        reports.push(report.with_context(|| format!("{} is no report", file.display()))?);
    }
    let reports = merged(reports);
    fs::create_dir_all(documents.join("performance"))?;
    fs::write(&results, format!("{}\n", serde_json::to_string_pretty(&reports)?))?;
    for (name, text) in rendered(documents)? {
        fs::write(documents.join(name), text)?;
    }
    Ok(())
}

/// Returns every file that is made of the results, by its path below the folder of documents.
///
/// # Errors
/// When there are no results, or the overview has no place for its table.
pub fn rendered(documents: &Path) -> Result<BTreeMap<String, String>> {
    let text = fs::read(documents.join(RESULTS)).context("there are no results")?;
    let reports: Vec<Report> = serde_json::from_slice(&text).context("the results are not understood")?;
    let overview = fs::read_to_string(documents.join(OVERVIEW))?;
    let (Some((before, _)), Some((_, after))) = (overview.split_once(BEGIN), overview.split_once(END)) else {
        bail!("docs/{OVERVIEW} lacks `{BEGIN}` or `{END}`");
    };
    let table = page::targets(&reports);
    let mut all = BTreeMap::new();
    all.insert(OVERVIEW.to_owned(), format!("{before}{BEGIN}\n\n{table}\n{END}{after}"));
    all.insert("performance/figures.md".to_owned(), page::figures(&reports));
    for (name, svg) in chart::charts(&reports) {
        all.insert(format!("performance/{name}.svg"), svg);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::performance::{Aim, Figure, Machine, Ratio, Row, Spread, TARGETS};

    fn documents() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
    }

    fn report(part: &str, median: f64) -> Report {
        let spread = Spread { median, low: median - 1.0, high: median + 1.0, count: 3 };
        let machine = Machine {
            date: "2026-12-01".to_owned(),
            commit: "abc".to_owned(),
            build: "release build".to_owned(),
            processor: "a processor, 2 cores".to_owned(),
            memory: 1,
            kernel: "6.1".to_owned(),
            load: 0.1,
            quick: false,
            versions: vec!["haproxy 2.6".to_owned()],
        };
        let figure = |name: &str| Figure { name: name.to_owned(), spread };
        let row = Row {
            part: part.to_owned(),
            what: "a <thing> | other".to_owned(),
            unit: "µs".to_owned(),
            figures: vec![figure("ringfence"), figure("peer & co")],
            ratio: Some(Ratio { to: "peer & co".to_owned(), spread }),
            target: Some(Aim { key: "dns".to_owned(), met: false }),
        };
        Report { machine, rows: vec![row], failed: Vec::new() }
    }

    #[test]
    fn the_pages_are_those_of_the_results() {
        for (name, text) in rendered(&documents()).unwrap() {
            let there = fs::read_to_string(documents().join(&name)).unwrap_or_default();
            assert!(there == text, "docs/{name} is not made of the results: run `cargo bench-net report`");
        }
    }

    #[test]
    fn no_chart_is_left_over() {
        let made = rendered(&documents()).unwrap();
        for entry in fs::read_dir(documents().join("performance")).unwrap() {
            let name = format!("performance/{}", entry.unwrap().file_name().to_string_lossy());
            assert!(name == RESULTS || made.contains_key(&name), "nobody makes docs/{name}");
        }
    }

    #[test]
    fn each_aim_that_is_not_met_is_explained() {
        let text = fs::read(documents().join(RESULTS)).unwrap();
        let reports: Vec<Report> = serde_json::from_slice(&text).unwrap();
        let overview = fs::read_to_string(documents().join(OVERVIEW)).unwrap();
        for aim in reports.iter().flat_map(|report| &report.rows).filter_map(|row| row.target.as_ref()) {
            assert!(TARGETS.iter().any(|target| target.key == aim.key), "{}", aim.key);
            let heading = format!("\n### {}\n", aim.key);
            assert!(aim.met || overview.contains(&heading), "docs/{OVERVIEW} lacks `### {}`", aim.key);
        }
    }

    #[test]
    fn a_later_report_of_a_part_replaces_the_earlier_one() {
        let kept = merged(vec![report("dns", 1.0), report("gate", 2.0), report("dns", 3.0)]);
        let parts: Vec<_> = kept
            .iter()
            .map(|report| (&*report.rows[0].part, report.rows[0].figures[0].spread.median))
            .collect();
        assert_eq!(parts, [("gate", 2.0), ("dns", 3.0)]);
    }

    #[test]
    fn names_are_escaped_in_tables_and_charts() {
        let reports = [report("dns", 1.0)];
        let page = page::figures(&reports);
        assert!(page.contains("a <thing> \\| other") || page.contains("a \\<thing> \\| other"), "{page}");
        let (_, svg) = chart::charts(&reports).into_iter().next().unwrap();
        assert!(svg.contains("a &lt;thing&gt; | other") && svg.contains("peer &amp; co"), "{svg}");
    }
}
