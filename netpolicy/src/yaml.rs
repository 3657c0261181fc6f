//! YAML to a small tree in which every node knows its place.
//!
//! ```text
//!  text ──saphyr events──▶ Node (scalar, list, map; line, column, length) ──▶ load
//!                   └────▶ Diagnostics: what YAML can do and a policy may not
//! ```
//! Anchors, aliases, tags, merge keys, several documents, duplicate keys and keys that are no
//! scalars are refused: what a reader sees in the file is what it says.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::diagnostic::{Diagnostic, Severity};

/// Nesting that no policy needs.
const MAX_DEPTH: usize = 32;
/// Lines longer than this are not shown under a finding.
const MAX_SHOWN_LINE: usize = 2000;
/// Findings of one file that are kept.
const MAX_FINDINGS: usize = 100;
/// Stands for a `*` that was reported already, so that the rest of the file can be read too.
const MASK: char = '\u{E000}';

/// A stretch of a file, able to become a diagnostic after the file's text is gone.
#[derive(Clone, Debug)]
pub(crate) struct SourcePlace {
    file: Arc<str>,
    source_line: Arc<str>,
    line: u32,
    column: u32,
    length: u32,
    /// Columns between the beginning of the place and its text: 1 for a quote; none when they
    /// differ.
    inset: Option<u32>,
}

impl SourcePlace {
    /// Makes a place of the text of a command line option.
    pub(crate) fn flag(flag: &str, text: &str) -> SourcePlace {
        SourcePlace {
            file: flag.into(),
            source_line: text.into(),
            line: 0,
            column: 1,
            length: count(text),
            inset: Some(0),
        }
    }

    /// Makes a place of a whole file, or of one that cannot be read.
    pub(crate) fn file(file: &str) -> SourcePlace {
        SourcePlace { file: file.into(), source_line: "".into(), line: 0, column: 0, length: 0, inset: None }
    }

    /// Makes a place of one character of a line of a file that is no YAML: `line` from 1, `column`
    /// from 0.
    pub(crate) fn line_of(file: &str, line: usize, column: usize, text: &str) -> SourcePlace {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let shown = if text.len() > MAX_SHOWN_LINE { "" } else { text };
        SourcePlace {
            file: file.into(),
            source_line: shown.into(),
            line: number(line),
            column: number(column.saturating_add(1)),
            length: 1,
            inset: None,
        }
    }

    pub(crate) fn file_name(&self) -> &str {
        &self.file
    }

    pub(crate) fn line(&self) -> u32 {
        self.line
    }

    /// Returns the characters `from..from + length` of the place's text.
    pub(crate) fn part(&self, from: usize, length: usize) -> SourcePlace {
        let mut part = self.clone();
        if let (Some(inset), Ok(from), Ok(length)) = (self.inset, u32::try_from(from), u32::try_from(length))
        {
            part.column = self.column.saturating_add(inset).saturating_add(from);
            part.length = length;
        }
        part
    }

    pub(crate) fn error(
        &self,
        code: &'static str,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> Diagnostic {
        self.diagnostic(Severity::Error, code, message.into(), hint)
    }

    pub(crate) fn warning(
        &self,
        code: &'static str,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> Diagnostic {
        self.diagnostic(Severity::Warning, code, message.into(), hint)
    }

    pub(crate) fn note(&self, code: &'static str, message: impl Into<String>) -> Diagnostic {
        self.diagnostic(Severity::Note, code, message.into(), None)
    }

    fn diagnostic(
        &self,
        severity: Severity,
        code: &'static str,
        message: String,
        hint: Option<String>,
    ) -> Diagnostic {
        Diagnostic {
            severity,
            code,
            message,
            file: self.file.to_string(),
            line: self.line,
            column: self.column,
            length: self.length,
            source_line: self.source_line.to_string(),
            hint,
        }
    }
}

fn count(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}

/// Findings of one file; beyond a limit they are only counted.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    list: Vec<Diagnostic>,
    left_out: usize,
}

impl Findings {
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        // A warning never takes the place of an error.
        if self.list.len() < MAX_FINDINGS || (diagnostic.severity == Severity::Error && !self.has_errors()) {
            self.list.push(diagnostic);
        } else {
            self.left_out += 1;
        }
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.list.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// Returns the findings in the order of the file.
    pub(crate) fn finish(mut self, file: &str) -> Vec<Diagnostic> {
        self.list.sort_by_key(|finding| (finding.line, finding.column));
        if self.left_out > 0 {
            let message = format!("{} more findings in this file are not shown", self.left_out);
            self.list.push(SourcePlace::file(file).warning("too-many", message, None));
        }
        self.list
    }
}

/// Content of a node.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// A string, number, boolean or null: plain ones mean what the core schema says.
    Scalar { text: String, plain: bool },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file, each key once.
    Map(Vec<(Node, Node)>),
    /// A node that was reported already.
    Refused,
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) place: SourcePlace,
}

impl Node {
    /// Returns the kind of the node, in the words of a message.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Refused => "something else",
            Value::Scalar { plain: false, .. } => "a string",
            Value::Scalar { text, plain: true } => match text.as_str() {
                "" | "~" | "null" | "Null" | "NULL" => "nothing",
                "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => "a boolean",
                text if is_number(text) => "a number",
                _ => "a string",
            },
        }
    }

    /// Returns the text when the node is a string by the core schema.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } if self.kind() == "a string" => Some(text),
            _ => None,
        }
    }

    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.value, Value::Refused)
    }
}

/// Integers and floats of the core schema.
fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let digits = |text: &str, radix: u32| !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    if let Some(hexadecimal) = text.strip_prefix("0x") {
        return digits(hexadecimal, 16);
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return digits(octal, 8);
    }
    let starts = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    starts && unsigned.chars().any(|c| c.is_ascii_digit()) && unsigned.parse::<f64>().is_ok()
}

/// Reads one file. `None` when there is nothing to go on with.
pub(crate) fn parse(file: &str, text: &str, findings: &mut Findings) -> Option<Node> {
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

/// A `*` at the beginning of a plain scalar.
struct Star {
    line: usize,
    column: usize,
    text: String,
}

impl Star {
    fn finding(&self, place: &SourcePlace) -> Diagnostic {
        match self.text.as_str() {
            "*" => place.error(
                "any-host",
                "`*` would permit every name",
                Some("list the names that are needed, for example \"*.example.com\"".into()),
            ),
            text if text.contains('.') => place.error(
                "unquoted-star",
                format!("`{text}` needs quotes: a bare `*` begins an alias in YAML"),
                Some(format!("write \"{text}\"")),
            ),
            text => place.error(
                "alias",
                format!("the alias `{text}` is refused"),
                Some("write the value out; a name pattern needs quotes".into()),
            ),
        }
    }
}

fn bare_stars(lines: &[Arc<str>]) -> Vec<Star> {
    let mut stars = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let mut quote = None;
        let mut before = '\n';
        let mut before_blank = '-';
        for (column, (at, c)) in line.char_indices().enumerate() {
            let begins = matches!(before, '\n' | ' ' | '\t' | '[' | ',' | '{');
            match (quote, c) {
                (Some(open), c) if c == open => quote = None,
                (Some(_), _) => {}
                (None, '\'' | '"') if begins => quote = Some(c),
                (None, '#') if matches!(before, '\n' | ' ' | '\t') => break,
                (None, '*') if begins && matches!(before_blank, '-' | ':' | '[' | ',' | '{') => {
                    let text: String = line[at..]
                        .chars()
                        .take_while(|c| !c.is_whitespace() && !matches!(c, ',' | ']' | '}'))
                        .collect();
                    stars.push(Star { line: index + 1, column, text });
                }
                (None, _) => {}
            }
            before = c;
            if !c.is_whitespace() {
                before_blank = c;
            }
        }
    }
    stars
}

fn mask(text: &str, stars: &[Star]) -> String {
    let mut places: HashMap<usize, Vec<usize>> = HashMap::new();
    for star in stars {
        places.entry(star.line).or_default().push(star.column);
    }
    let mut masked = String::with_capacity(text.len());
    for (index, line) in text.split_inclusive('\n').enumerate() {
        match places.get(&(index + 1)) {
            None => masked.push_str(line),
            Some(columns) => masked
                .extend(line.chars().enumerate().map(|(i, c)| if columns.contains(&i) { MASK } else { c })),
        }
    }
    masked
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
