//! YAML to a small tree in which every node knows its place.
//!
//! ```text
//!  text ──saphyr events──▶ Node (scalar, list, map; line, column, length) ──▶ load
//!                   └────▶ Diagnostics: what YAML can do and a policy may not
//! ```
//! Anchors, aliases, tags, merge keys, several documents, duplicate keys and keys that are no
//! scalars are refused: what a reader sees in the file is what it says.

mod node;
mod place;
pub mod shapes;
mod stars;

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle};

pub use self::node::{Node, Value};
use self::place::MAX_SHOWN_LINE;
pub use self::place::{Findings, SourcePlace};
use self::stars::{MASK, bare_stars, mask};

/// Nesting that no policy needs.
const MAX_DEPTH: usize = 32;

/// Reads one file. `None` when there is nothing to go on with.
pub fn parse(file: &str, text: &str, findings: &mut Findings) -> Option<Node> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    // To YAML a lone carriage return ends a line too (5.4): lines must be counted as the scanner
    // counts them.
    let breaks = text.contains('\r').then(|| text.replace("\r\n", "\n").replace('\r', "\n"));
    let text = breaks.as_deref().unwrap_or(text);
    let mut own = Findings::default();
    let mut builder = Builder::new(file, text, &mut own);
    let root = builder.build(text);
    let stars = if builder.broken || builder.aliases { bare_stars(&builder.lines) } else { Vec::new() };
    if stars.is_empty() {
        for finding in own.list {
            findings.push(finding);
        }
        return root;
    }
    // `- *.x` without quotes breaks the whole file for YAML: say so once per place, and read on
    // without it.
    let masked = mask(text, &stars);
    let mut builder = Builder::new(file, text, findings);
    for star in &stars {
        let place = builder.place(star.line, star.column, star.text.chars().count(), None);
        builder.findings.push(star.finding(&place));
    }
    builder.masked = true;
    builder.build(&masked)
}

/// A list or map that is still open.
enum Open {
    List { items: Vec<Node>, place: SourcePlace },
    Map { pairs: Vec<(Node, Node)>, key: Option<Node>, seen: HashMap<String, u32>, place: SourcePlace },
}

struct Builder<'f> {
    file: Arc<str>,
    lines: Vec<Arc<str>>,
    findings: &'f mut Findings,
    /// The scanner gave up.
    broken: bool,
    aliases: bool,
    masked: bool,
}

impl<'f> Builder<'f> {
    fn new(file: &str, text: &str, findings: &'f mut Findings) -> Self {
        let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).into()).collect();
        Builder { file: file.into(), lines, findings, broken: false, aliases: false, masked: false }
    }

    /// Makes a place: `line` from 1, `column` from 0, in characters.
    fn place(&self, line: usize, column: usize, length: usize, inset: Option<u32>) -> SourcePlace {
        let source = self.lines.get(line.saturating_sub(1)).cloned().unwrap_or_else(|| "".into());
        let left = if source.len() > MAX_SHOWN_LINE {
            length
        } else {
            source.chars().count().saturating_sub(column).min(length)
        };
        let shown = if source.len() > MAX_SHOWN_LINE { "".into() } else { source };
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        SourcePlace {
            file: self.file.clone(),
            source_line: shown,
            line: number(line),
            column: number(column.saturating_add(1)),
            length: number(left.max(1)),
            inset,
        }
    }

    fn build(&mut self, text: &str) -> Option<Node> {
        let mut open: Vec<Open> = Vec::new();
        let mut root: Option<Node> = None;
        let mut documents = 0;
        for item in Parser::new_from_str(text) {
            let (event, span) = match item {
                Ok(item) => item,
                Err(error) => {
                    self.broken = true;
                    self.scan_error(&error);
                    return None;
                }
            };
            let at = || {
                let length = if span.end.line() == span.start.line() { span.len() } else { usize::MAX };
                (span.start.line(), span.start.col(), length)
            };
            let done = match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        let place = self.place(span.start.line().max(1), span.start.col(), 3, None);
                        self.findings.push(place.error(
                            "several-documents",
                            "a policy file holds one document",
                            Some("put each policy in a file of its own, and join them with `extends`".into()),
                        ));
                        return root;
                    }
                    None
                }
                Event::Alias(_) => {
                    self.aliases = true;
                    let (line, column, length) = at();
                    let place = self.place(line, column, length, None);
                    self.findings.push(
                        place.error(
                            "alias",
                            "aliases are refused",
                            Some(
                                "write the value out; a name pattern needs quotes, as in \"*.example.com\""
                                    .into(),
                            ),
                        ),
                    );
                    Some(Node { value: Value::Refused, place })
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let place = self.scalar_place(&text, style, &span);
                    self.refuse_marks(anchor, tag.is_some(), &place);
                    let hidden = self.masked && text.contains(MASK);
                    let value = if hidden {
                        Value::Refused
                    } else {
                        Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain }
                    };
                    Some(Node { value, place })
                }
                Event::SequenceStart(anchor, tag) => {
                    let (line, column, _) = at();
                    let place = self.place(line, column, usize::MAX, None);
                    self.refuse_marks(anchor, tag.is_some(), &place);
                    open.push(Open::List { items: Vec::new(), place });
                    None
                }
                Event::MappingStart(anchor, tag) => {
                    let (line, column, _) = at();
                    let place = self.place(line, column, usize::MAX, None);
                    self.refuse_marks(anchor, tag.is_some(), &place);
                    open.push(Open::Map { pairs: Vec::new(), key: None, seen: HashMap::new(), place });
                    None
                }
                Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                    Some(Open::List { items, place }) => Some(Node { value: Value::List(items), place }),
                    Some(Open::Map { pairs, place, .. }) => Some(Node { value: Value::Map(pairs), place }),
                    None => None,
                },
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => None,
            };
            if open.len() > MAX_DEPTH {
                let (line, column, _) = at();
                let place = self.place(line, column, 1, None);
                self.findings.push(place.error(
                    "too-deep",
                    format!("nested deeper than {MAX_DEPTH} levels"),
                    None,
                ));
                return None;
            }
            if let Some(node) = done {
                self.attach(node, &mut open, &mut root);
            }
        }
        root
    }

    fn attach(&mut self, node: Node, open: &mut [Open], root: &mut Option<Node>) {
        match open.last_mut() {
            None => *root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { pairs, key, seen, .. }) => match key.take() {
                None => {
                    let good = self.check_key(&node, seen);
                    let value = if good { node.value } else { Value::Refused };
                    *key = Some(Node { value, place: node.place });
                }
                Some(key) if key.is_refused() => {}
                Some(key) => pairs.push((key, node)),
            },
        }
    }

    /// Checks a key. Returns `false` when it is reported; its value is left out then.
    fn check_key(&mut self, key: &Node, seen: &mut HashMap<String, u32>) -> bool {
        let finding = match &key.value {
            Value::Refused => return false,
            Value::List(_) | Value::Map(_) => key.place.error("key-type", "a key must be a plain word", None),
            Value::Scalar { text, plain: true } if text == "<<" => key.place.error(
                "merge-key",
                "merge keys are refused",
                Some("write the keys out, or join files with `extends`".into()),
            ),
            Value::Scalar { text, .. } => match seen.insert(text.clone(), key.place.line()) {
                None => return true,
                Some(first) => key.place.error(
                    "duplicate-key",
                    format!("`{text}` stands here a second time; the first is in line {first}"),
                    Some("put everything under one key".into()),
                ),
            },
        };
        self.findings.push(finding);
        false
    }

    fn scalar_place(&self, text: &str, style: ScalarStyle, span: &saphyr_parser::Span) -> SourcePlace {
        let (line, column) = (span.start.line(), span.start.col());
        let characters = text.chars().count();
        match style {
            ScalarStyle::Plain => {
                let inset = (span.end.line() == line || characters <= span.len()).then_some(0);
                self.place(line, column, characters.max(1), inset)
            }
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                // A quoted text with escapes is longer in the file than it reads: no parts of it
                // then.
                let length = if span.end.line() == line { span.len() } else { usize::MAX };
                self.place(line, column, length, (length == characters + 2).then_some(1))
            }
            ScalarStyle::Literal | ScalarStyle::Folded => self.place(line, column, usize::MAX, None),
        }
    }

    fn refuse_marks(&mut self, anchor: usize, tag: bool, place: &SourcePlace) {
        if anchor > 0 {
            self.findings.push(place.error(
                "anchor",
                "anchors are refused",
                Some("write the value out where it is needed".into()),
            ));
        }
        if tag {
            self.findings.push(place.error(
                "tag",
                "tags are refused",
                Some("a value that begins with `!` needs quotes".into()),
            ));
        }
    }

    fn scan_error(&mut self, error: &saphyr_parser::ScanError) {
        let marker = error.marker();
        let place = self.place(marker.line().max(1), marker.col(), 1, None);
        let tab = place.source_line.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t');
        let hint = tab.then(|| "indent with spaces, not tabs".to_owned());
        self.findings.push(place.error("yaml", format!("not YAML: {}", error.info()), hint));
    }
}
