//! Rows of cells in columns, each cut to its place.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Span;

/// Space between two columns.
const GAP: u16 = 2;
/// Space for the mark before a row.
const MARK: u16 = 3;

/// Part of a text that stays where it is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// The beginning.
    Beginning,
    /// The end: of a host's name it says who owns it.
    End,
}

/// A column: its title, the part that stays of a long cell, and the fewest cells that are of use.
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) keep: Keep,
    pub(super) is_number: bool,
}

/// A table that is drawn row by row.
pub(super) struct Table<'c, const COLUMNS: usize> {
    columns: &'c [Column; COLUMNS],
    widths: [u16; COLUMNS],
}

impl<'c, const COLUMNS: usize> Table<'c, COLUMNS> {
    /// Makes columns as wide as their cells. Where there is no room, the column at `elastic` is
    /// narrowed first, to eight cells.
    pub(super) fn new(
        columns: &'c [Column; COLUMNS],
        rows: &[[String; COLUMNS]],
        elastic: usize,
        width: u16,
    ) -> Self {
        let widest = |at: usize| {
            let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| display_width(cell));
            cells.chain([columns[at].title.len()]).max().unwrap_or(0)
        };
        let mut widths: [u16; COLUMNS] =
            std::array::from_fn(|at| u16::try_from(widest(at)).unwrap_or(u16::MAX).min(200));
        let gaps = GAP.saturating_mul(u16::try_from(COLUMNS).unwrap_or(0));
        let all: u16 = widths.iter().fold(gaps + MARK, |sum, width| sum.saturating_add(*width));
        let beyond = all.saturating_sub(width);
        widths[elastic] = widths[elastic].saturating_sub(beyond).max(widths[elastic].min(8));
        Table { columns, widths }
    }

    /// Draws the titles.
    pub(super) fn draw_titles(&self, frame: &mut Frame<'_>, area: Rect) {
        let titles: [String; COLUMNS] = std::array::from_fn(|at| self.columns[at].title.to_owned());
        self.draw_row(frame, area, "", &titles, Style::new());
    }

    /// Draws a row at the top of an area.
    pub(super) fn draw_row(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        mark: &str,
        cells: &[String; COLUMNS],
        style: Style,
    ) {
        let Some(row) = (area.height > 0).then_some(Rect { height: 1, ..area }) else { return };
        frame.buffer_mut().set_style(row, style);
        frame.buffer_mut().set_stringn(row.x, row.y, format!(" {mark}"), usize::from(row.width), style);
        let mut x = MARK;
        for ((cell, column), width) in cells.iter().zip(self.columns).zip(self.widths) {
            let Some(room) = row.width.checked_sub(x).filter(|room| *room > 0) else { return };
            let width = usize::from(width.min(room));
            let text = fit(cell, width, column.keep);
            let pad = if column.is_number { width.saturating_sub(display_width(&text)) } else { 0 };
            let text = format!("{:pad$}{text}", "");
            frame.buffer_mut().set_stringn(row.x + x, row.y, text, width, style);
            x = x.saturating_add(u16::try_from(width).unwrap_or(u16::MAX)).saturating_add(GAP);
        }
    }
}

/// Returns the cells that a text takes.
pub(super) fn display_width(text: &str) -> usize {
    Span::raw(text).width()
}

/// Cuts a text that does not fit. A mark stands where something is missing.
pub(super) fn fit(text: &str, width: usize, keep: Keep) -> String {
    if display_width(text) <= width {
        return text.to_owned();
    }
    let mut letters: std::collections::VecDeque<char> = text.chars().collect();
    loop {
        match keep {
            Keep::Beginning => letters.pop_back(),
            Keep::End => letters.pop_front(),
        };
        let rest: String = letters.iter().collect();
        if letters.is_empty() || display_width(&rest) < width {
            return match keep {
                _ if width == 0 => String::new(),
                Keep::Beginning => format!("{rest}…"),
                Keep::End => format!("…{rest}"),
            };
        }
    }
}

/// Returns the first row of a list to draw, so that the chosen one is in the middle, or as near as
/// can be.
pub(super) fn first_row(chosen: usize, length: usize, rows: usize) -> usize {
    chosen.saturating_sub(rows / 2).min(length.saturating_sub(rows))
}

/// Writes the time of a day, UTC.
pub(super) fn clock(seconds: u64) -> String {
    let day = seconds % 86_400;
    format!("{:02}:{:02}:{:02}Z", day / 3600, day / 60 % 60, day % 60)
}

/// Writes a time in its largest unit.
pub(super) fn short(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d", seconds / 86_400),
    }
}
