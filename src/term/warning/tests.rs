use super::*;
use crate::term::COULD_NOT_RUN;

fn all() -> Vec<Warning> {
    let text = |text: &str| text.to_owned();
    let failure =
        Failure { causes: vec![text("no space left")], ..Failure::new(COULD_NOT_RUN, "cannot write") };
    let files = |finding, count, first: &[&str]| Warning::Files {
        directory: "/p".into(),
        finding,
        count,
        first: first.iter().map(|name| text(name)).collect(),
    };
    vec![
        Warning::OptionWithoutEffect { option: "rm", why: "containers are always removed" },
        Warning::VariableNotSet(text("-e TOKEN")),
        Warning::VariableReplaced("RINGFENCE"),
        Warning::VariablesKept(vec![text("A"), text("B")]),
        Warning::ProxyUnused {
            variable: "HTTPS_PROXY",
            write: text("network: {proxy: \"http://proxy.corp.example:3128\"}"),
        },
        Warning::AuthoritiesUnused { variable: "SSL_CERT_FILE", file: Some(text("/corp.pem")) },
        Warning::NoticeNotRenewed(Failure::new(COULD_NOT_RUN, "`fence notice` failed")),
        Warning::LoopbackLost(Failure::new(COULD_NOT_RUN, "the guard does not take it")),
        Warning::HomeNotWritable { uid: 1000, home: text("/root") },
        Warning::SshAgentLost,
        Warning::SshAgentAskedNoMore,
        Warning::SshLoginPlain { server: text("git.test:2222") },
        files(Finding::LinksOut, 1, &["etc -> /etc"]),
        files(Finding::LinksOut, 5, &["a -> /a", "b -> /b", "c -> /c"]),
        files(Finding::Sockets, 2, &["a", "b"]),
        files(Finding::Specials, 1, &["pipe"]),
        files(Finding::OthersFiles, 1, &["file"]),
        Warning::NotLookedThrough("/p".into()),
        Warning::ByEngine { about: None, words: text("the engine cannot limit swap") },
        Warning::ByEngine { about: Some(text("agent")), words: text("IPv4 forwarding is disabled.") },
        Warning::HelperImageReplaced { tag: text("ringfence-helper:1"), why: text("another layer") },
        Warning::NoAccount(failure),
        Warning::EventsExposed { file: "/e".into(), why: text("others can write it"), kept: "/kept".into() },
        Warning::PageExposed { file: "/page.html".into(), why: text("others can write it") },
        Warning::PolicyChanged { now: text("sha256:1"), then: text("sha256:2") },
        Warning::Observing { secrets: Vec::new(), project: true },
        Warning::Observing { secrets: vec![text("GITLAB_TOKEN")], project: false },
        Warning::Observing { secrets: vec![text("GITLAB_TOKEN"), text("npm")], project: true },
        Warning::EventsUnwritable { file: "/e".into(), error: text("no space left on device") },
        Warning::EventsLost { workflow: text("0000002a"), from: 3, to: 9 },
        Warning::EventsOutOfReach(text("0000002a")),
        Warning::EventsUnread(2),
        Warning::EventsUnproven { source: text("run.jsonl"), why: text("its chain is broken") },
        Warning::ForwardLost(Failure::new(COULD_NOT_RUN, "the forward's helper in the fence has ended")),
        Warning::LogFull,
        Warning::Uncovered(text("the cover of .env came off")),
        Warning::Noted(text("the agent's GitLab token ends in 2m, and the run with it")),
        Warning::OnLoopbackOnly { port: 3000, address: [172, 17, 0, 1].into() },
        Warning::DiskNotCounted(text("no such runtime")),
        Warning::AgentKilled { seconds: 10 },
        Warning::NonceReplaced("/p/.nonce".into()),
        Warning::NonceLeft { file: "/p/.nonce".into(), error: text("read-only file system") },
        Warning::NotRecordedHere(text("0000002a")),
        Warning::WorkflowKept { workflow: text("0000002a"), why: text("its guard does not answer") },
        Warning::LeftFromEarlier(text("workflow 0000002a could not be removed whole")),
        Warning::NoSystemResolver(text("No such file or directory (os error 2)")),
    ]
}

#[test]
fn every_warning_has_its_words() {
    let words: String = all().iter().map(|warning| warning.rendered(false)).collect();
    insta::assert_snapshot!(words);
    assert!(all().iter().all(|warning| !warning.to_string().is_empty()));
}

#[test]
fn a_warning_obeys_no_terminal_and_begins_one_line() {
    let hostile = "a\u{1b}[2J\nringfence: all is well";
    for colours in [true, false] {
        let shown = Warning::Noted(hostile.to_owned()).rendered(colours);
        assert!(!shown.contains("\u{1b}[2J"), "{shown:?}");
        assert_eq!(shown.lines().filter(|line| line.starts_with("ringfence:")).count(), 1, "{shown}");
    }
}
