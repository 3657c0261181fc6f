//! A chart of permitted connections and refusals over time: bars above and below a line, so that
//! no colour has to be told from another.

use maud::{Markup, html};

use crate::report::timeline::Timeline;
use crate::report::words::{count, duration};

/// Height of each half.
const HALF: u64 = 60;
/// Width of a bar and of the gap behind it.
const BAR: (u64, u64) = (5, 1);

/// Draws the chart of one run.
pub(super) fn of(number: usize, timeline: &Timeline) -> Markup {
    let bars = timeline.counts.len() as u64;
    let width = (bars * (BAR.0 + BAR.1)).max(1);
    let most = timeline.most().max(1);
    let title = format!("chart-{number}");
    let (permitted, refused) = timeline
        .counts
        .iter()
        .fold((0u64, 0u64), |sum, one| (sum.0.saturating_add(one.0), sum.1.saturating_add(one.1)));
    let bar = duration(timeline.width_ms);
    html! {
        figure {
            svg role="img" aria-labelledby=(title) preserveAspectRatio="none"
                viewBox=(format!("0 0 {width} {}", 2 * HALF + 1)) {
                title id=(title) {
                    "Over time: " (count(permitted, "permitted connection")) " above the line, "
                    (count(refused, "refusal")) " below it"
                }
                @for (at, (permitted, refused)) in timeline.counts.iter().enumerate() {
                    @let x = at as u64 * (BAR.0 + BAR.1);
                    @let (up, down) = (height(*permitted, most), height(*refused, most));
                    @if up > 0 { rect.permitted x=(x) y=(HALF - up) width=(BAR.0) height=(up) {} }
                    @if down > 0 { rect.refused x=(x) y=(HALF + 1) width=(BAR.0) height=(down) {} }
                }
                rect.axis x="0" y=(HALF) width=(width) height="1" {}
            }
            figcaption {
                "Above the line: connections that were permitted. Below it: refusals. A bar is " (bar)
                "; the highest stands for " (most) "."
            }
        }
    }
}

/// Returns the height of a bar: at least one where there was something.
fn height(number: u64, most: u64) -> u64 {
    let scaled = u128::from(number) * u128::from(HALF) / u128::from(most);
    u64::try_from(scaled).unwrap_or(HALF).max(u64::from(number > 0))
}
