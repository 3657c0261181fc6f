//! Reports of made-up logs, hostile ones among them.

use html5gum::{Token, Tokenizer};

use super::run::RunReport;
use super::{data, mark_new, page, words};
use crate::term;

/// Markup, a way out of a script and of an attribute, a new line, what a terminal obeys, and what
/// turns a line around.
const HOSTILE: &str =
    "\"'></code></script><script>alert(1)</script><img src=x onerror=alert(2)>\n\u{1b}[2J\u{202e}&amp;";

/// Makes the log of these events, a second between any two.
fn log(events: &[String]) -> Vec<u8> {
    let line = |(second, event): (usize, &String)| {
        format!(
            "{{\"v\":1,\"seq\":{second},\"time\":\"2026-11-30T{:02}:{:02}:{:02}.000Z\",\"workflow\":\"0000002a\",{event}}}\n",
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    };
    events.iter().enumerate().map(line).collect::<String>().into_bytes()
}

fn report(events: &[&str]) -> RunReport {
    let events: Vec<String> = events.iter().map(|event| (*event).to_owned()).collect();
    let report = RunReport::of("run.jsonl", &log(&events), Vec::new());
    assert_eq!(report.unread, 0, "{events:?}");
    report
}

const START: &str =
    r#""kind":"lifecycle","reason":"start","image_name":"agent:1","command":["make"],"user":"me""#;
const OPEN: &str = r#""kind":"connect","phase":"open","conn":1,"verdict":"allow","reason":"allowed","host":"a.test","port":443,"rule":"a.test:443","layer":"run","file":"p.yml","line":4"#;
const CLOSE: &str = r#""kind":"connect","phase":"close","conn":1,"verdict":"allow","reason":"allowed","host":"a.test","port":443,"bytes_out":2048,"bytes_in":5,"ms":1500"#;
const REFUSED: &str = r#""kind":"connect","verdict":"deny","reason":"port","host":"b.test","port":8080,"rule":"b.test:443","layer":"run","file":"p.yml","line":5"#;
const END: &str = r#""kind":"lifecycle","reason":"agent-ended","how":"exited","exit_status":3"#;

#[test]
fn text_has_targets_rules_counts_and_what_would_permit() {
    let text = words::of(&report(&[START, OPEN, CLOSE, REFUSED, END]));
    for part in [
        "run 0000002a\n",
        "  image: agent:1\n  command: make\n",
        "  ended: exited, status 3\n",
        "5 events, 1 connection, 2KiB out, 5B in, 1 refusal",
        "      1 × a.test:443\n          2KiB out, 5B in; open 1.5 s / 1.5 s (mean / longest)",
        "by a.test:443 (run, p.yml:4)\n",
        "      1 × b.test:8080  (port)\n",
        "by b.test:443 (run, p.yml:5)\n          to permit it: - b.test:8080\n",
        "      0 permitted     1 refused  b.test:443 (run, p.yml:5)\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let json = data::of(&report(&[START, OPEN, CLOSE, REFUSED, END]));
    assert_eq!(
        (&json["reached"][0]["bytes_out"], &json["refused"][0]["reason"]),
        (&2048.into(), &"port".into())
    );
}

#[test]
fn several_runs_show_what_is_new() {
    let mut runs = [report(&[OPEN]), report(&[OPEN, REFUSED])];
    mark_new(&mut runs);
    assert!(!words::of(&runs[0]).contains("NEW"));
    let text = words::of(&runs[1]);
    assert!(text.contains("b.test:8080  (port)  NEW") && !text.contains("a.test:443  NEW"), "{text}");
    assert_eq!(page::of(&runs).matches(" data-new").count(), 1);
}

/// Makes a report in which every text that can hold anything does.
fn hostile() -> RunReport {
    let quoted = serde_json::to_string(HOSTILE).unwrap();
    let events = [
        format!(
            r#""kind":"lifecycle","reason":"start","command":[{quoted}],"project":{quoted},"user":{quoted}"#
        ),
        format!(r#""kind":"control","verdict":"allow","reason":"allowed","what":{quoted}"#),
        format!(
            r#""kind":"connect","phase":"open","verdict":"allow","host":"a.test","port":443,"rule":{quoted},"file":{quoted}"#
        ),
        format!(
            r#""kind":"connect","verdict":"deny","reason":"resolve-failed","host":"a.test","port":443,"error":{quoted},"rule":{quoted},"file":{quoted}"#
        ),
        format!(r#""kind":"dns","verdict":"deny","reason":"limit","host":"a.test","limit":{quoted}"#),
    ];
    let report = RunReport::of(HOSTILE, &log(&events), vec![HOSTILE.to_owned()]);
    assert_eq!(report.unread, 0);
    report
}

/// Elements that the page may have.
const ELEMENTS: &[&str] = &[
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "a",
    "header",
    "h1",
    "nav",
    "ol",
    "li",
    "p",
    "div",
    "label",
    "input",
    "select",
    "option",
    "output",
    "main",
    "section",
    "h2",
    "strong",
    "dl",
    "dt",
    "dd",
    "figure",
    "svg",
    "rect",
    "figcaption",
    "table",
    "caption",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "code",
    "script",
];

#[test]
fn markup_in_a_log_is_text_on_the_page() {
    let page = page::of(&[hostile(), report(&[OPEN, REFUSED])]);
    let (mut scripts, mut text) = (0, String::new());
    for Ok(token) in Tokenizer::new(&page) {
        match token {
            Token::StartTag(tag) => {
                let name = String::from_utf8_lossy(&tag.name).into_owned();
                assert!(ELEMENTS.contains(&name.as_str()), "<{name}> is on the page");
                scripts += usize::from(name == "script");
                for (attribute, value) in &tag.attributes {
                    let attribute = String::from_utf8_lossy(attribute);
                    let value = String::from_utf8_lossy(value);
                    let loads = ["src", "style", "action", "srcset", "data"].contains(&&*attribute);
                    assert!(!attribute.starts_with("on") && !loads, "{name} {attribute}={value}");
                    assert!(attribute != "href" || value.starts_with('#'), "{value}");
                }
            }
            Token::String(piece) => text.push_str(&String::from_utf8_lossy(&piece)),
            _ => {}
        }
    }
    assert_eq!(scripts, 1);
    // The text is there, whole, with what browsers and terminals obey written out.
    assert!(text.contains(&term::line(HOSTILE)), "{text}");
    assert!(!page.contains('\u{202e}') && !page.contains('\u{1b}'));
}

#[test]
fn the_policy_of_the_page_permits_its_own_style_and_script_alone() {
    use base64::Engine as _;
    use sha2::Digest as _;

    let page = page::of(&[hostile()]);
    let between = |from: &str, to: &str| {
        let rest = page.split_once(from).expect(from).1;
        rest.split_once(to).expect(to).0.to_owned()
    };
    let hash =
        |text: &str| base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(text.as_bytes()));
    let (style, script) = (between("<style>", "</style>"), between("<script>", "</script>"));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(&style),
        hash(&script)
    );
    let there = between("<meta http-equiv=\"Content-Security-Policy\" content=\"", "\">");
    assert_eq!(there.replace("&#39;", "'"), policy);
    for word in ["http:", "https:", "url(", "@import", "innerHTML", "eval"] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn nothing_of_a_log_forges_a_row_or_reaches_the_terminal_raw() {
    let text = words::of(&hostile());
    assert!(text.chars().all(|c| c == '\n' || netpolicy::diagnostic::is_harmless(c)), "{text:?}");
    assert!(text.lines().all(|line| !line.starts_with("\\u{1b}")), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("  beware: ")).count(), 1);
}

#[test]
fn a_text_of_any_length_is_cut() {
    let long = "x".repeat(1 << 20);
    let refused = format!(r#"{REFUSED},"error":"{long}""#).replace("p.yml", &long);
    let start = START.replace("make", &long);
    let run = report(&[&start, &refused]);
    assert!(words::of(&run).len() < 5000 && page::of(&[run]).len() < 16_000);
}

#[test]
fn a_hundred_thousand_events_make_a_page_of_bounded_size() {
    let events: Vec<String> = (0..50_000)
        .map(|number| match number % 2 {
            0 => REFUSED.replace("b.test", &format!("n{number}.{}.test", "x".repeat(60))),
            _ => OPEN.replace("a.test", &format!("m{number}.test")),
        })
        .collect();
    let mut bytes = log(&events);
    bytes.extend(log(&events));
    let report = RunReport::of("run.jsonl", &bytes, Vec::new());
    assert_eq!(report.events, 100_000);
    assert_eq!((report.totals.connections, report.totals.refusals), (50_000, 50_000));
    assert!(report.reached.len() <= 20_000 && report.refused.len() <= 20_000 && report.totals.unlisted > 0);
    let page = page::of(&[report]);
    assert!(page.len() < 4 << 20, "{} bytes", page.len());
    assert!(words::of(&RunReport::of("e", b"", Vec::new())).starts_with("no run\n"));
}

/// Makes connections to this many targets, and one with an upload to a target after them.
fn crowded(targets: usize) -> RunReport {
    let mut events: Vec<String> =
        (0..targets).map(|number| OPEN.replace("a.test", &format!("a{number}.test"))).collect();
    events.push(OPEN.replace("a.test", "zzz.test"));
    events.push(CLOSE.replace("a.test", "zzz.test"));
    RunReport::of("run.jsonl", &log(&events), Vec::new())
}

#[test]
fn a_crowd_of_targets_hides_none_to_which_bytes_went() {
    let run = crowded(2500);
    let json = data::of(&run).to_string();
    assert!(json.contains("zzz.test") && words::of(&run).contains("zzz.test"));
    let page = page::of(&[run]);
    assert!(page.contains("zzz.test") && !page.contains("a2499.test"));
}

#[test]
fn a_target_that_is_new_is_listed_before_those_with_more_bytes() {
    let large = CLOSE.replace("2048", "999999");
    let mut runs = [report(&[OPEN, &large]), report(&[OPEN, &large, &OPEN.replace("a.test", "new.test")])];
    mark_new(&mut runs);
    let text = words::of(&runs[1]);
    assert!(text.find("new.test") < text.find("a.test:443\n"), "{text}");
}

#[test]
fn nothing_is_said_to_hold_all_that_does_not() {
    let run = crowded(25_000);
    assert!(run.totals.unlisted > 0);
    let (text, page) = (words::of(&run), page::of(&[run]));
    for shown in [text, page] {
        assert!(!shown.contains("--json has all"), "{}", &shown[..2000]);
        assert!(shown.contains("`ringfence events` shows each"), "{}", &shown[..2000]);
    }
}

#[test]
fn changes_and_rules_beyond_those_that_are_kept_are_counted() {
    let change = r#""kind":"control","verdict":"allow","reason":"allowed","what":"cut""#;
    let mut events = vec![change.to_owned(); 103];
    events.extend((0..2005).map(|number| OPEN.replace("p.yml", &format!("p{number}.yml"))));
    let run = RunReport::of("run.jsonl", &log(&events), Vec::new());
    let text = words::of(&run);
    assert!(text.contains("3 changes") && text.contains("5 decisions"), "{text}");
    let page = page::of(&[run]);
    assert!(page.contains("3 changes") && page.contains("5 decisions"));
}

#[test]
fn the_tables_of_many_runs_are_bounded_together() {
    let runs: Vec<RunReport> = (0..400).map(|_| crowded(30)).collect();
    let page = page::of(&runs);
    assert!(page.matches("<tr data-kind").count() <= 4000);
}
