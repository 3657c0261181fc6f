//! Tests of the view: what keys and news change, and what is drawn.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::refusals::MOST;
use super::state::{Focus, Panel};
use super::{Dashboard, Effect, Listed, Message, draw};
use crate::supervisor::inventory;
use crate::supervisor::inventory::WorkflowSummary;
use crate::supervisor::inventory::usage::{Quota, Usage};
use crate::term::screen::Key;
use crate::wire::event::Line;
use crate::wire::{UnixTime, WorkflowId};

const NOW: u64 = 1_796_083_200;
const ID: &str = "0000002a";

fn id(text: &str) -> WorkflowId {
    text.parse().unwrap()
}

/// Makes the line of these fields, so many seconds before now.
fn line(ago: u64, fields: &str) -> Line {
    let time =
        humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + std::time::Duration::from_secs(NOW - ago));
    let head = format!(r#"{{"v":1,"seq":4,"time":"{time}","workflow":"{ID}","#);
    Line::read(format!("{head}{fields}}}").as_bytes()).unwrap()
}

fn refused(ago: u64, host: &str, port: u16, reason: &str) -> Line {
    line(
        ago,
        &format!(r#""kind":"connect","verdict":"deny","reason":"{reason}","host":"{host}","port":{port}"#),
    )
}

fn usage(cpu_nanos: u64) -> Usage {
    Usage {
        cpus: Quota { used: Some(0.25), limit: Some(2.0) },
        cpu_nanos: Some(cpu_nanos),
        memory: Quota { used: Some(300 << 20), limit: Some(4 << 30) },
        pids: Quota { used: Some(12), limit: Some(1024) },
        disk: Quota { used: None, limit: Some(10 << 30) },
        seconds: Quota { used: Some(730), limit: Some(3600) },
    }
}

fn running(id: &str, name: Option<&str>) -> Listed {
    let found = WorkflowSummary {
        name: name.map(|name| name.parse().unwrap()),
        image: Some("my-agent:dev".parse().unwrap()),
        agent: "running".to_owned(),
        guard: "running".to_owned(),
        fence: "running".to_owned(),
        created_at: UnixTime(NOW - 730),
        usage: Some(usage(1_000_000_000)),
        ..inventory::tests::found(id)
    };
    Listed { found, project: Some("/home/me/project".to_owned()) }
}

/// Makes a view of two workflows, of which the first was refused things.
fn view() -> Dashboard {
    let mut view = Dashboard::new("unix:///var/run/docker.sock", true, NOW);
    let list = || vec![running(ID, Some("nightly")), running("0000002b", None)];
    view.update(Message::Listed(list(), 1000));
    let mut later = list();
    later[0].found.usage = Some(usage(4_000_000_000));
    view.update(Message::Listed(later, 3000));
    view.update(Message::FollowBegan(id(ID)));
    let lines = vec![
        line(
            60,
            r#""kind":"connect","phase":"open","conn":1,"verdict":"allow","reason":"allowed","host":"a.test","port":443"#,
        ),
        line(
            50,
            r#""kind":"connect","phase":"open","conn":2,"verdict":"allow","reason":"allowed","host":"a.test","port":443"#,
        ),
        line(
            40,
            r#""kind":"connect","phase":"close","conn":1,"verdict":"allow","reason":"allowed","host":"a.test","port":443,"bytes_out":2048,"bytes_in":1048576"#,
        ),
        refused(30, "pypi.example", 443, "not-allowed"),
        refused(20, "pypi.example", 443, "not-allowed"),
        line(
            10,
            r#""kind":"connect","verdict":"deny","reason":"metadata-address","address":"169.254.169.254","port":80"#,
        ),
        refused(2, "registry.npm.example", 8443, "not-allowed"),
    ];
    view.update(Message::Events(id(ID), lines));
    view
}

fn press(view: &mut Dashboard, keys: &[Key]) -> Option<Effect> {
    keys.iter().map(|key| view.update(Message::Key(key.clone()))).last().flatten()
}

fn typed(text: &str) -> Vec<Key> {
    text.chars().map(Key::Char).collect()
}

fn drawn(view: &Dashboard, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(view, frame)).unwrap();
    terminal
}

fn text(view: &Dashboard, width: u16, height: u16) -> String {
    drawn(view, width, height).backend().to_string()
}

#[test]
fn workflows_their_use_and_refusals_are_drawn() {
    insta::assert_snapshot!(text(&view(), 100, 24));
}

#[test]
fn the_boxes_are_drawn() {
    let mut all = String::new();
    for keys in [
        vec![Key::Char('?')],
        vec![Key::Enter],
        vec![Key::Char('p')],
        vec![Key::Char('p'), Key::Enter],
        vec![Key::Char('s')],
    ] {
        let mut view = view();
        press(&mut view, &keys);
        all.push_str(&format!("{keys:?}\n{}\n", text(&view, 100, 24)));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn an_answer_is_shown_line_by_line() {
    let mut view = view();
    let refusal =
        "ringfence: `allow b.example:443` is refused; nothing was changed\n  because: outside-ceiling";
    view.update(Message::Answered { title: "allow b.example".to_owned(), text: refusal.to_owned() });
    insta::assert_snapshot!(text(&view, 80, 12));
    press(&mut view, &[Key::Down]);
    assert!(matches!(view.panel, Panel::Answer { skipped: 1, .. }));
    press(&mut view, &[Key::Escape]);
    assert_eq!(view.panel, Panel::None);
}

#[test]
fn a_name_is_permitted_after_its_rule_was_agreed_to_and_not_before() {
    let mut view = view();
    assert_eq!(press(&mut view, &[Key::Char('p')]), None);
    assert!(matches!(&view.panel, Panel::Name { typed, .. } if typed == "registry.npm.example:8443"));
    assert_eq!(press(&mut view, &[Key::Enter]), None);
    assert!(matches!(&view.panel, Panel::AskPermit { rule, .. } if &**rule == "registry.npm.example:8443"));
    // Nothing but `y` agrees.
    assert_eq!(press(&mut view, &[Key::Enter, Key::Char('x'), Key::Paste("y".to_owned()), Key::Tab]), None);
    let permit = Effect::Permit { id: id(ID), host: "registry.npm.example:8443".to_owned() };
    assert_eq!(press(&mut view, &[Key::Char('y')]), Some(permit));
    // One work at a time.
    press(&mut view, &[Key::Char('p'), Key::Char('s')]);
    assert_eq!(view.panel, Panel::None);
    view.update(Message::Answered { title: String::new(), text: "done".to_owned() });
    assert!(view.working.is_none());
}

#[test]
fn a_no_or_a_name_that_is_none_permits_nothing() {
    for no in [Key::Char('n'), Key::Escape, Key::Char('q')] {
        let mut view = view();
        assert_eq!(press(&mut view, &[Key::Char('p'), Key::Enter, no, Key::Char('y')]), None);
        assert_eq!(view.panel, Panel::None);
    }
    let mut view = view();
    view.refusal = view.chosen().unwrap().refusals.get(1).map(|refusal| refusal.key.clone());
    press(&mut view, &[Key::Char('p')]);
    press(&mut view, &typed("*.com"));
    press(&mut view, &[Key::Enter]);
    assert!(matches!(&view.panel, Panel::Name { fault: Some(_), .. }), "{:?}", view.panel);
    insta::assert_snapshot!(text(&view, 80, 14));
}

#[test]
fn a_paste_is_one_line_and_agrees_to_nothing() {
    let mut view = view();
    press(&mut view, &[Key::Char('p'), Key::Escape, Key::Tab, Key::Down, Key::Char('p')]);
    let Panel::Name { typed, .. } = &view.panel else { panic!("{:?}", view.panel) };
    assert_eq!(typed, "", "a raw address has nothing that `allow` takes");
    press(&mut view, &[Key::Paste(" b.test:443 \ny\n".to_owned())]);
    assert!(matches!(&view.panel, Panel::Name { typed, .. } if typed == "b.test:443"), "{:?}", view.panel);
}

#[test]
fn a_name_with_a_letter_that_is_not_ascii_is_added_nowhere() {
    let long = "x".repeat(400);
    for text in ["b\u{fc}cher.test", "gitl\u{430}b.test", "a b.test", "b\u{202e}.test\u{1b}[2J\ny\n", &long] {
        // Pasted at once, and as keys of a terminal that does not tell pastes from keys.
        for keys in [vec![Key::Paste(text.to_owned())], typed(text)] {
            let mut view = view();
            press(&mut view, &[Key::Tab, Key::Down, Key::Char('p')]);
            press(&mut view, &keys);
            press(&mut view, &[Key::Enter, Key::Char('y')]);
            let Panel::Name { typed, fault: Some(fault), .. } = &view.panel else {
                panic!("{:?}", view.panel)
            };
            assert!(
                text.starts_with(typed.as_str()) && fault.contains("nothing was added"),
                "{typed} {fault}"
            );
            press(&mut view, &[Key::Backspace, Key::Backspace, Key::Char('z')]);
            assert!(matches!(&view.panel, Panel::Name { typed, fault: None, .. } if typed.ends_with('z')));
        }
    }
}

#[test]
fn an_agent_that_asks_on_changes_nothing_under_a_reader() {
    let flood = |view: &mut Dashboard| {
        let lines = (0..300).map(|n| refused(0, &format!("npm{n}.evil.test"), 443, "not-allowed")).collect();
        view.update(Message::Events(id(ID), lines));
    };
    // The box about a refusal, and the name that `p` takes out of it.
    let mut reader = view();
    press(&mut reader, &[Key::Enter]);
    flood(&mut reader);
    assert!(text(&reader, 100, 24).contains("│registry.npm.example:8443 "));
    press(&mut reader, &[Key::Char('p')]);
    assert!(matches!(&reader.panel, Panel::Name { typed, .. } if typed == "registry.npm.example:8443"));
    // The list, once a person is in it.
    let mut mover = view();
    press(&mut mover, &[Key::Tab]);
    flood(&mut mover);
    assert!(mover.chosen_refusal().is_none() && mover.is_refusal_gone());
    press(&mut mover, &[Key::Enter]);
    assert!(matches!(&mover.panel, Panel::Answer { .. }), "{:?}", mover.panel);
    press(&mut mover, &[Key::Escape, Key::Char('p')]);
    assert!(matches!(&mover.panel, Panel::Name { typed, fault: Some(_), .. } if typed.is_empty()));
    // The workflow of the box, even where its neighbour is the chosen one by now.
    let mut late = view();
    press(&mut late, &[Key::Enter]);
    late.update(Message::Listed(vec![running("0000002b", None)], 4000));
    press(&mut late, &[Key::Char('p')]);
    assert!(matches!(&late.panel, Panel::Answer { .. }), "{:?}", late.panel);
}

#[test]
fn nobody_agrees_to_a_question_that_is_cut() {
    for keys in [vec![Key::Char('p'), Key::Enter], vec![Key::Char('s')]] {
        let mut view = view();
        press(&mut view, &keys);
        let shown = text(&view, 60, 6);
        assert!(shown.contains("make the terminal larger") && !shown.contains("y yes"), "{shown}");
        assert_eq!(press(&mut view, &[Key::Char('y')]), None);
        assert!(text(&view, 100, 24).contains("y yes"));
        assert!(press(&mut view, &[Key::Char('y')]).is_some());
    }
}

#[test]
fn events_that_are_not_followed_are_not_counted_as_none() {
    let mut view = view();
    view.update(Message::FollowEnded(id(ID), None));
    let shown = text(&view, 100, 24);
    assert!(shown.contains("not followed") && shown.contains("?        ?"), "{shown}");
    view.update(Message::FollowBegan(id(ID)));
    assert!(!text(&view, 100, 24).contains("not followed"));
    view.update(Message::FollowEnded(id(ID), Some("a line is too long".to_owned())));
    assert!(text(&view, 100, 24).contains("connections  a line is too long"));
}

#[test]
fn the_chosen_refusal_stays_the_chosen_one_when_others_come() {
    let mut view = view();
    press(&mut view, &[Key::Tab, Key::Down, Key::Down]);
    assert_eq!(view.focus, Focus::Refusals);
    let chosen = |view: &Dashboard| view.chosen_refusal().unwrap().key.target.to_string();
    assert_eq!(chosen(&view), "pypi.example:443");
    view.update(Message::Events(id(ID), vec![refused(0, "other.example", 443, "not-allowed")]));
    assert_eq!(chosen(&view), "pypi.example:443");
    press(&mut view, &[Key::Home]);
    assert_eq!(chosen(&view), "other.example:443");
}

#[test]
fn a_question_is_about_the_workflow_it_was_asked_for() {
    let mut view = view();
    press(&mut view, &[Key::Down, Key::Char('s')]);
    view.update(Message::Listed(vec![running(ID, None)], 4000));
    assert_eq!(press(&mut view, &[Key::Char('y')]), Some(Effect::Stop { id: id("0000002b") }));
    assert_eq!(view.selected, Some(id(ID)));
}

#[test]
fn hostile_names_are_written_out_and_cut() {
    let hostile = "x\u{1b}[2J\u{202e}\u{9b}\u{200b}\ny";
    let mut view = view();
    let mut listed = running(ID, None);
    listed.project = Some(format!("/tmp/{hostile}"));
    listed.found.agent = hostile.to_owned();
    view.update(Message::Listed(vec![listed], 5000));
    let error = serde_json::to_string(&format!("{hostile}{}", "z".repeat(5000))).unwrap();
    let fields = format!(
        r#""kind":"connect","verdict":"deny","reason":"resolve-failed","host":"a.test","port":443,"error":{error},"rule":{error}"#
    );
    view.update(Message::Events(id(ID), vec![line(0, &fields)]));
    view.update(Message::EngineLost(hostile.to_owned()));
    let mut all = text(&view, 120, 30);
    press(&mut view, &[Key::Enter]);
    all.push_str(&text(&view, 120, 30));
    view.update(Message::Answered { title: hostile.to_owned(), text: format!("{hostile}{hostile}") });
    all.push_str(&text(&view, 120, 30));
    assert!(all.contains("\\u{1b}[2J\\u{202e}"), "{all}");
    let raw: Vec<char> =
        all.chars().filter(|c| *c != '\n' && !netpolicy::diagnostic::is_harmless(*c)).collect();
    assert!(raw.is_empty(), "{raw:?}\n{all}");
}

#[test]
fn the_owner_of_a_long_name_stays_in_sight() {
    let mut view = view();
    let host = format!("{}.evil.example", ["pypi-org"; 20].join("."));
    view.update(Message::Events(id(ID), vec![refused(0, &host, 443, "not-allowed")]));
    let shown = text(&view, 80, 24);
    assert!(shown.contains(".evil.example:443") && shown.contains('…'), "{shown}");
}

#[test]
fn refusals_are_kept_to_a_bound_and_counted_beyond_it() {
    let mut view = view();
    let lines: Vec<Line> =
        (0..5000).map(|number| refused(0, &format!("h{number}.example"), 443, "not-allowed")).collect();
    view.update(Message::Events(id(ID), lines));
    let refusals = &view.chosen().unwrap().refusals;
    assert_eq!((refusals.len(), refusals.total), (MOST, 5004));
    // An agent's flood makes no room among another's.
    assert_eq!(view.workflows[1].refusals.total, 0);
    // A feed that begins anew counts from nothing.
    view.update(Message::FollowBegan(id(ID)));
    assert_eq!(view.chosen().unwrap().refusals.total, 0);
}

#[test]
fn an_engine_that_goes_away_is_told_and_what_was_seen_stays() {
    let mut view = view();
    view.update(Message::EngineLost("cannot list the engine's containers: connection refused".to_owned()));
    let shown = text(&view, 100, 24);
    assert!(shown.contains("the engine does not answer") && shown.contains("nightly"), "{shown}");
    view.update(Message::Listed(vec![running(ID, Some("nightly"))], 9000));
    assert!(!text(&view, 100, 24).contains("does not answer"));
}

#[test]
fn a_guard_that_is_gone_is_told() {
    let mut view = view();
    let mut listed = running(ID, None);
    listed.found.guard = "exited".to_owned();
    view.update(Message::Listed(vec![listed], 9000));
    assert!(text(&view, 100, 24).contains("guard exited: everything is refused"));
}

#[test]
fn no_terminal_is_too_small() {
    for keys in [vec![], vec![Key::Char('?')], vec![Key::Enter], typed("p"), typed("s")] {
        let mut view = view();
        press(&mut view, &keys);
        for (width, height) in [(20, 5), (1, 1), (5, 2), (3, 40), (200, 1), (0, 0), (300, 90)] {
            drawn(&view, width, height);
        }
    }
    insta::assert_snapshot!(text(&view(), 20, 5));
    insta::assert_snapshot!(text(&view(), 60, 14));
}

#[test]
fn colours_are_the_terminals_own() {
    let colours = |has_colours: bool| {
        let mut view = Dashboard { has_colours, ..view() };
        view.update(Message::EngineLost("gone".to_owned()));
        let terminal = drawn(&view, 100, 24);
        let mut all: Vec<Color> =
            terminal.backend().buffer().content.iter().flat_map(|cell| [cell.fg, cell.bg]).collect();
        all.dedup();
        all.retain(|colour| *colour != Color::Reset);
        all
    };
    assert!(colours(true).iter().all(|colour| *colour == Color::Red) && !colours(true).is_empty());
    assert_eq!(colours(false), []);
}
