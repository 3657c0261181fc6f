//! The place in a policy's text at which entries of `network.allow` are added.
//!
//! ```text
//!  text ──saphyr events──▶ Part (start, end, flow or block) ──▶ Spot (byte, text to insert)
//! ```
//! One insertion at one place: every byte of the old text stays.

use saphyr_parser::{Event, Marker, Parser, ScanError, Span};

/// An insertion.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Spot {
    /// Byte of the text before which it comes.
    pub(super) at: usize,
    /// The text that is inserted.
    pub(super) text: String,
}

/// A place: line from 1, column in characters from 0.
#[derive(Clone, Copy, Debug)]
struct At {
    line: usize,
    column: usize,
}

impl From<&Marker> for At {
    fn from(marker: &Marker) -> At {
        At { line: marker.line(), column: marker.col() }
    }
}

/// Content of a part.
enum Content {
    Scalar(String),
    List(Vec<Part>),
    Map(Vec<(Part, Part)>),
}

/// A value with its beginning and end.
struct Part {
    start: At,
    end: At,
    content: Content,
}

impl Part {
    /// Returns a mapping's key and value by the key's word.
    fn pair(&self, word: &str) -> Option<(&Part, &Part)> {
        let Content::Map(pairs) = &self.content else { return None };
        let is_it = |key: &Part| matches!(&key.content, Content::Scalar(text) if text == word);
        pairs.iter().find(|(key, _)| is_it(key)).map(|(key, value)| (key, value))
    }
}

/// Finds where these entries go; nothing where the file has a form that is not written into.
pub(super) fn find(text: &str, entries: &[String]) -> Option<Spot> {
    let file = Lines::new(text)?;
    let plain = text.replace("\r\n", "\n");
    let mut events = Parser::new_from_str(&plain);
    let root = next_part(&mut events)?;
    match root.pair("network") {
        None => file.new_network(&root, entries),
        Some((key, network)) => match network.pair("allow") {
            Some((_, allow)) => file.longer_list(allow, entries),
            None => file.new_list(key, network, entries),
        },
    }
}

type Item<'t> = Result<(Event<'t>, Span), ScanError>;

fn next_part<'t>(events: &mut impl Iterator<Item = Item<'t>>) -> Option<Part> {
    loop {
        match events.next()?.ok()? {
            (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
            (event, span) => return part(event, &span, events),
        }
    }
}

/// Reads the rest of a value. Its nesting was bounded before.
fn part<'t>(event: Event<'t>, span: &Span, events: &mut impl Iterator<Item = Item<'t>>) -> Option<Part> {
    let (start, mut end) = (At::from(&span.start), At::from(&span.end));
    let content = match event {
        Event::Scalar(text, ..) => Content::Scalar(text.into_owned()),
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            loop {
                match events.next()?.ok()? {
                    (Event::SequenceEnd, span) => {
                        end = At::from(&span.end);
                        break;
                    }
                    (event, span) => items.push(part(event, &span, events)?),
                }
            }
            Content::List(items)
        }
        Event::MappingStart(..) => {
            let mut pairs = Vec::new();
            loop {
                match events.next()?.ok()? {
                    (Event::MappingEnd, span) => {
                        end = At::from(&span.end);
                        break;
                    }
                    (event, span) => pairs.push((part(event, &span, events)?, next_part(events)?)),
                }
            }
            Content::Map(pairs)
        }
        _ => return None,
    };
    Some(Part { start, end, content })
}

/// A text by its lines.
struct Lines<'t> {
    text: &'t str,
    /// Byte at which each line begins.
    starts: Vec<usize>,
    end_of_line: &'static str,
}

impl<'t> Lines<'t> {
    /// Takes a text whose lines end in one way; nothing where a carriage return ends one.
    fn new(text: &'t str) -> Option<Lines<'t>> {
        let returns = text.matches('\r').count();
        let pairs = text.matches("\r\n").count();
        if returns != pairs || (pairs > 0 && pairs != text.matches('\n').count()) {
            return None;
        }
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Some(Lines { text, starts, end_of_line: if pairs > 0 { "\r\n" } else { "\n" } })
    }

    /// Returns the byte of a place.
    fn byte(&self, at: At) -> Option<usize> {
        let start = *self.starts.get(at.line.checked_sub(1)?)?;
        let rest = self.text.get(start..)?;
        let mut characters = rest.char_indices().map(|(byte, _)| byte).chain([rest.len()]);
        characters.nth(at.column).map(|byte| start + byte)
    }

    fn character(&self, at: At) -> Option<char> {
        self.text.get(self.byte(at)?..)?.chars().next()
    }

    /// Returns the part of a line before a place.
    fn before(&self, at: At) -> Option<&'t str> {
        let start = *self.starts.get(at.line.checked_sub(1)?)?;
        self.text.get(start..self.byte(at)?)
    }

    /// Returns the blanks before a place, where nothing else stands before it in its line.
    fn indentation(&self, at: At) -> Option<&'t str> {
        self.before(at).filter(|before| is_blank(before))
    }

    /// Adds whole lines behind a line.
    fn below(&self, line: usize, lines: &[String]) -> Option<Spot> {
        let end = self.end_of_line;
        let whole: String = lines.iter().map(|line| format!("{line}{end}")).collect();
        match self.starts.get(line) {
            Some(at) => Some(Spot { at: *at, text: whole }),
            // The last line has no end.
            None => {
                let text = format!("{end}{}", whole.strip_suffix(end)?);
                Some(Spot { at: self.text.len(), text })
            }
        }
    }

    /// Adds entries to `allow`.
    fn longer_list(&self, allow: &Part, entries: &[String]) -> Option<Spot> {
        let Content::List(items) = &allow.content else { return None };
        if self.character(allow.start) == Some('[') {
            let joined = entries.join(", ");
            return match items.last() {
                Some(last) => Some(Spot { at: self.byte(last.end)?, text: format!(", {joined}") }),
                None => Some(Spot { at: self.byte(allow.start)? + 1, text: joined }),
            };
        }
        let indentation = self.before(items.first()?.start)?.trim_end_matches(' ').strip_suffix('-')?;
        if !is_blank(indentation) {
            return None;
        }
        let lines: Vec<String> = entries.iter().map(|entry| format!("{indentation}- {entry}")).collect();
        self.below(self.last_line(items.last()?)?, &lines)
    }

    /// Returns the last line of a value that begins in a line of a block.
    fn last_line(&self, part: &Part) -> Option<usize> {
        let own = match &part.content {
            Content::List(items) if self.character(part.start) != Some('[') => {
                return self.last_line(items.last()?);
            }
            Content::Map(pairs) if self.character(part.start) != Some('{') => {
                return self.last_line(&pairs.last()?.1);
            }
            _ => part.end,
        };
        // A text of several lines ends where the next line has its first character.
        let is_next = own.line > part.start.line && self.before(own).is_none_or(is_blank);
        Some(if is_next { own.line - 1 } else { own.line })
    }

    /// Adds `allow` to `network`.
    fn new_list(&self, key: &Part, network: &Part, entries: &[String]) -> Option<Spot> {
        let Content::Map(pairs) = &network.content else { return None };
        if self.character(network.start) == Some('{') {
            let comma = if pairs.is_empty() { "" } else { ", " };
            let text = format!("allow: [{}]{comma}", entries.join(", "));
            return Some(Spot { at: self.byte(network.start)? + 1, text });
        }
        let indentation = self.indentation(pairs.first()?.0.start)?;
        self.below(key.end.line, &list(indentation, entries))
    }

    /// Adds `network` at the end of the file.
    fn new_network(&self, root: &Part, entries: &[String]) -> Option<Spot> {
        let Content::Map(pairs) = &root.content else { return None };
        if self.character(root.start) == Some('{') {
            return None;
        }
        let indentation = self.indentation(pairs.first()?.0.start)?;
        let mut lines = vec![format!("{indentation}network:")];
        lines.extend(list(&format!("{indentation}  "), entries));
        // A file that ends as it should has an empty line more than it shows.
        let last = self.starts.len() - usize::from(self.text.ends_with('\n'));
        self.below(last, &lines)
    }
}

fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c == ' ')
}

/// Writes a list of its own.
fn list(indentation: &str, entries: &[String]) -> Vec<String> {
    let mut lines = vec![format!("{indentation}allow:")];
    lines.extend(entries.iter().map(|entry| format!("{indentation}  - {entry}")));
    lines
}
