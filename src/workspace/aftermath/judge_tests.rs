//! Tests of what is kept of configurations that agents wrote.

use proptest::prelude::*;

use super::*;

static BRANCHES: std::collections::BTreeSet<String> = std::collections::BTreeSet::new();

fn place() -> KeyContext<'static> {
    KeyContext { new: false, tree: None, branches: &BRANCHES }
}

const BEFORE: &str = "; mine\n[core]\n\tbare = false\n\teditor = vim ; best\n[remote \"origin\"]\n\turl = https://gitlab.com/a/b.git\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n[alias]st=status\n";

fn judged(after: &str) -> Judged {
    judge(Before { text: BEFORE.as_bytes(), hidden: &[] }, after.as_bytes(), place()).unwrap()
}

fn text(judged: &Judged) -> &str {
    std::str::from_utf8(&judged.text).unwrap()
}

#[test]
fn what_may_stay_is_written_into_the_text_from_before_and_the_rest_is_put_back() {
    let after = BEFORE
        .replace("editor = vim ; best\n", "editor = evil\n\tabbrev = 12\n\tfsmonitor = ./evil\n")
        .replace("[alias]st=status\n", "[alias]st=!evil\n\tx = !evil\n[branch \"f\"]\n\tremote = origin\n\tmerge = refs/heads/f\n[user]\n\tname = \"A \\\"B\\\"\"\n");
    let judged = judged(&after);
    assert_eq!(judged.put_back, ["alias.st", "alias.x", "core.editor", "core.fsmonitor"]);
    insta::assert_snapshot!(text(&judged), @r#"
    ; mine
    [core]
    	bare = false
    	editor = vim ; best
    	abbrev = 12
    [remote "origin"]
    	url = https://gitlab.com/a/b.git
    	fetch = +refs/heads/*:refs/remotes/origin/*
    [alias]st=status
    [branch "f"]
    	merge = refs/heads/f
    	remote = origin
    [user]
    	name = "A \"B\""
    "#);
}

#[test]
fn what_was_taken_away_is_back_and_what_may_go_is_gone() {
    let before = "[user]name=A\n[core]\n\tbare = false\n\tabbrev = 12\n[alias]\n\tst = status";
    let judge = |after: &str| {
        judge(Before { text: before.as_bytes(), hidden: &[] }, after.as_bytes(), place()).unwrap()
    };
    let judged = judge("");
    assert_eq!(judged.put_back, ["alias.st", "core.bare"]);
    assert_eq!(text(&judged), "[user]\n[core]\n\tbare = false\n[alias]\n\tst = status");
    let judged = judge(&format!("{before}\n[user]\nemail = a@b\n[color]\nui = no\n"));
    assert_eq!(judged.put_back, Vec::<String>::new());
    assert_eq!(
        text(&judged),
        format!("{before}\n[color]\n\tui = no\n").replace("name=A\n", "name=A\n\temail = a@b\n")
    );
}

#[test]
fn what_is_no_configuration_is_not_judged() {
    for after in ["[core", "x", "[a]\n b = \"", "[a]\nb = c\0d\n"] {
        assert_eq!(judge(Before { text: BEFORE.as_bytes(), hidden: &[] }, after.as_bytes(), place()), None);
    }
}

#[test]
fn a_secret_that_the_agent_never_saw_is_taken_from_where_it_still_is() {
    let real = "[remote \"origin\"]\n\turl = https://me:s3cret@gitlab.com/a.git\n[core]\n\tbare = false\n";
    let masked = real.replace("me:s3cret", "MASK");
    let hidden = [(0, digest(b"https://me:s3cret@gitlab.com/a.git"))];
    let before = Before { text: masked.as_bytes(), hidden: &hidden };
    // Somebody who knows it has changed the file: it stays.
    let after = format!("{real}[alias]\n\tx = !evil\n[user]\n\tname = A\n");
    let judged = judge(before, after.as_bytes(), place()).unwrap();
    assert_eq!((judged.put_back.as_slice(), judged.lost.len()), (["alias.x".to_owned()].as_slice(), 0));
    assert_eq!(text(&judged), format!("{real}[user]\n\tname = A\n"));
    // The agent has put a file of its own there.
    let judged = judge(before, b"[remote \"origin\"]\n\turl = https://evil.test/\n", place()).unwrap();
    assert_eq!(judged.put_back, ["core.bare", "remote.origin.url"]);
    assert_eq!(judged.lost, ["remote.origin.url"]);
    assert_eq!(text(&judged), masked);
}

/// Configurations of few words, so that names meet.
fn configuration() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("[core]"),
        Just("[user]"),
        Just("[alias]"),
        Just("[remote \"o\"]"),
        Just("\tname = a"),
        Just("\tname = \"b # \\\" c\""),
        Just("\turl = https://x.test/y"),
        Just("\turl = ./z"),
        Just("\teditor = e"),
        Just("\tabbrev"),
        Just("\teol = lf \\\n  x"),
        Just("# comment"),
        Just(""),
        Just("[user]name=c"),
    ];
    proptest::collection::vec(line, 0..12).prop_map(|lines| format!("[core]\n{}", lines.join("\n")))
}

proptest! {
    #[test]
    fn only_what_may_stay_differs_from_before(before in configuration(), after in configuration()) {
        let judged = judge(Before { text: before.as_bytes(), hidden: &[] }, after.as_bytes(), place()).unwrap();
        let [before, after, left] = [before.as_bytes(), after.as_bytes(), &judged.text].map(|text| parse(text).unwrap());
        let [before, after, left] = [by_name(&before), by_name(&after), by_name(&left)];
        for name in before.keys().chain(after.keys()).chain(left.keys()) {
            let stays = may_stay(name, &before, &after, place());
            prop_assert_eq!(left.get(name), if stays { after.get(name) } else { before.get(name) });
        }
    }
}
