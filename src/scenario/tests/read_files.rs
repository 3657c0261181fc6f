//! Good files, bad files with their findings, and files of a hostile author.

use std::time::Duration;

use fuzz::proptest::test_runner::TestCaseError;
use fuzz::{Bytes, bytes, run};
use netpolicy::diagnostic::{Severity, is_harmless, render};

use crate::scenario::plan::{ExitExpected, Moment, NetworkPlan};
use crate::scenario::read::scenario;

/// Every key and form of the language.
const WHOLE: &str = r#"image: my-agent:dev
command: [agent, --goal, "summarise the README", 7, true]
policy: [gitlab@1, ./policy.yml]
project: .
env: {CI: true, LEVEL: 3, NAME: "x y", TOKEN: }
cases:
  - name: offline from the start
    network: denied
    expect: {exit: nonzero, within: 30s, stderr: /network/}
  - name: cut in mid-run
    network: [{at: 5s, do: cut}, {at: 15s, do: restore}]
    expect: {exit: 0}
  - name: cut at the first connection
    network:
      - {on: "connect gitlab.com", do: cut}
      - {at: 0s, do: "latency=200ms±50ms", host: "*.example.com"}
      - {at: 2m, do: restore, host: "*.example.com"}
    expect:
      exit: zero
      stdout: [/^done$/, "[0-9]+ files"]
      files:
        out/summary.md: {matches: /network/}
        README.md: exists
        core: absent
  - name: never tries the intranet
    expect:
      attempts:
        none: ["tcp://10.0.0.0/8", "*.corp.example"]
        only: [gitlab.com]
        some: ["gitlab.com:443"]
        counts: [{target: gitlab.com, least: 1, most: 5}, {most: 100}]
        per-second: 5
        gave-up-within: 20s
"#;

#[test]
fn a_scenario_is_read_whole() {
    let read = scenario("s.yml", WHOLE).map_err(|found| render(&found)).unwrap();
    assert_eq!(read.image, "my-agent:dev");
    assert_eq!(read.command, ["agent", "--goal", "summarise the README", "7", "true"]);
    assert_eq!(read.policies, ["gitlab@1", "./policy.yml"]);
    assert_eq!(read.project.as_deref(), Some("."));
    assert_eq!(read.env, ["CI=true", "LEVEL=3", "NAME=x y", "TOKEN"]);
    let names: Vec<&str> = read.cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "offline from the start",
            "cut in mid-run",
            "cut at the first connection",
            "never tries the intranet"
        ]
    );
    let [offline, cut, first, intranet] = read.cases.as_slice() else { panic!("four cases") };
    assert_eq!((&offline.network, offline.line), (&NetworkPlan::Denied, 7));
    assert_eq!(offline.expect.exit, Some(ExitExpected::NonZero));
    assert_eq!(offline.expect.within, Some(Duration::from_secs(30)));
    assert_eq!(cut.expect.exit, Some(ExitExpected::Status(0)));
    let steps = |network: &NetworkPlan| match network {
        NetworkPlan::Steps(steps) => steps.clone(),
        other => panic!("{other:?}"),
    };
    let shown: Vec<String> =
        steps(&cut.network).iter().chain(&steps(&first.network)).map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "`cut` at 5s",
            "`restore` at 15s",
            "`cut` on the first connection to gitlab.com",
            "`latency=200ms±50ms host=*.example.com` from the start",
            "`restore host=*.example.com` at 2m",
        ]
    );
    assert!(matches!(steps(&first.network)[1].when, Moment::Start));
    assert_eq!((first.expect.stdout.len(), first.expect.files.len()), (2, 3));
    assert_eq!(intranet.network, NetworkPlan::Permitted);
    let attempts = &intranet.expect.attempts;
    assert_eq!((attempts.none.len(), attempts.counts.len()), (2, 2));
    assert_eq!((attempts.per_second, attempts.gave_up_within), (Some(5), Some(Duration::from_secs(20))));
}

/// Files that are none: the text, and a part of the first finding with its place.
const BAD: &[(&str, &str)] = &[
    ("", "the scenario is empty"),
    ("- x\n", "1:1: error: a scenario is a mapping, this is a list"),
    ("image: a\n", "a scenario needs `cases`"),
    ("cases: [{name: a, expect: {exit: 0}}]\n", "a scenario needs `image`"),
    ("imgae: a\ncases: []\n", "did you mean `image`?"),
    ("image: -rm\ncases: []\n", "`-rm` is no name of an image"),
    ("image: a\nexpect: {exit: 0}\ncases: []\n", "`expect` belongs into a case"),
    ("image: a\nnetwork: denied\ncases: []\n", "`network` belongs into a case"),
    ("image: a\ncommand: []\ncases: []\n", "`command` has no word"),
    ("image: a\npolicy: --privileged\ncases: []\n", "cannot be meant"),
    ("image: a\nenv: {\"A=B\": x}\ncases: []\n", "no name of a variable"),
    ("image: a\nenv: {A: [x]}\ncases: []\n", "the variable `A` is a text, this is a list"),
    ("image: a\ncases: []\n", "there is no case"),
    ("image: a\ncases: [{name: x}]\n", "a case without `expect` proves nothing"),
    ("image: a\ncases: [{expect: {exit: 0}}]\n", "a case needs a name"),
    ("image: a\ncases: [{name: x, expect: {}}]\n", "`expect` expects nothing"),
    ("image: a\ncases: [{name: \"a\\nb\", expect: {exit: 0}}]\n", "a name is one line"),
    (
        "image: a\ncases:\n  - {name: x, expect: {exit: 0}}\n  - {name: x, expect: {exit: 0}}\n",
        "4:12: error: two cases are called `x`; the first is in line 3",
    ),
    ("image: a\ncases: [{name: x, network: denyed, expect: {exit: 0}}]\n", "did you mean `denied`?"),
    ("image: a\ncases: [{name: x, network: cut, expect: {exit: 0}}]\n", "write `[{at: 0s, do: cut}]`"),
    (
        "image: a\ncases: [{name: x, network: {at: 1s, do: cut}, expect: {exit: 0}}]\n",
        "begin every condition with",
    ),
    ("image: a\ncases: [{name: x, network: [{do: cut}], expect: {exit: 0}}]\n", "a step has one moment"),
    (
        "image: a\ncases: [{name: x, network: [{at: 1s, on: \"connect a.test\", do: cut}], expect: {exit: 0}}]\n",
        "a step has one moment",
    ),
    ("image: a\ncases: [{name: x, network: [{at: 1s}], expect: {exit: 0}}]\n", "a step needs `do`"),
    ("image: a\ncases: [{name: x, network: [{at: 1, do: cut}], expect: {exit: 0}}]\n", "write `1s`"),
    (
        "image: a\ncases: [{name: x, network: [{at: 1s, do: loss=5%}], expect: {exit: 0}}]\n",
        "`loss=5%` is no condition",
    ),
    (
        "image: a\ncases: [{name: x, network: [{at: 0s, do: restore}], expect: {exit: 0}}]\n",
        "at the start ends nothing",
    ),
    (
        "image: a\ncases: [{name: x, network: [{on: \"lookup a.test\", do: cut}], expect: {exit: 0}}]\n",
        "is no event",
    ),
    (
        "image: a\ncases: [{name: x, network: [{on: \"connect a.test:443\", do: cut}], expect: {exit: 0}}]\n",
        "without a port",
    ),
    ("image: a\ncases: [{name: x, expect: {exit: 256}}]\n", "`exit` is a whole number from 0 to 255"),
    ("image: a\ncases: [{name: x, expect: {exit: ok}}]\n", "write `zero`, `nonzero` or a number"),
    ("image: a\ncases: [{name: x, expect: {within: 100ms}}]\n", "`100ms` is no time for `within`"),
    ("image: a\ncases: [{name: x, expect: {stdout: \"(\"}}]\n", "the pattern cannot be used"),
    ("image: a\ncases: [{name: x, expect: {files: {../x: exists}}}]\n", "no path below the project"),
    ("image: a\ncases: [{name: x, expect: {files: {/etc/passwd: exists}}}]\n", "no path below the project"),
    ("image: a\ncases: [{name: x, expect: {files: {a: present}}}]\n", "write `exists`, `absent` or"),
    ("image: a\ncases: [{name: x, expect: {attempts: {none: []}}}]\n", "`none` names no target"),
    ("image: a\ncases: [{name: x, expect: {attempts: {}}}]\n", "`attempts` expects nothing"),
    ("image: a\ncases: [{name: x, expect: {attempts: {only: [\"*\"]}}}]\n", "`*` is no target"),
    (
        "image: a\ncases: [{name: x, expect: {attempts: {counts: [{target: a.test}]}}}]\n",
        "needs `least` or `most`",
    ),
    (
        "image: a\ncases: [{name: x, expect: {attempts: {counts: [{least: 3, most: 2}]}}}]\n",
        "at least 3 and at most 2",
    ),
    ("image: a\ncases: [{name: x, expect: {atempts: {none: [a.test]}}}]\n", "did you mean `attempts`?"),
    ("image: a\ncases: [{name: x, expect: {attempts: {per-secnd: 1}}}]\n", "did you mean `per-second`?"),
    ("image: &a x\ncases: []\n", "anchors are refused"),
    ("image: a\nimage: b\ncases: []\n", "stands here a second time"),
];

#[test]
fn what_is_wrong_is_said_with_its_place_and_what_to_do() {
    for (text, said) in BAD {
        let found = scenario("s.yml", text).err().unwrap_or_else(|| panic!("{text:?} is read"));
        let words = render(&found);
        assert!(words.contains(said), "{text:?}\n{words}");
        assert!(found.iter().all(|one| one.file == "s.yml" && (one.line > 0 || text.is_empty())), "{words}");
        assert!(
            words.contains("hint")
                || said.contains("a list")
                || said.contains("whole number")
                || said.contains("at least 3")
                || said.contains("one line"),
            "{text:?}\n{words}"
        );
    }
}

#[test]
fn fuzz_scenarios() {
    let mut seeds: Vec<Vec<u8>> = vec![WHOLE.as_bytes().to_vec()];
    seeds.extend(BAD.iter().map(|(text, _)| text.as_bytes().to_vec()));
    let words: [&[u8]; 24] = [
        b"image: a\n",
        b"cases:\n",
        b"  - name: ",
        b"    network: ",
        b"    expect: ",
        b"{at: 5s, do: cut}",
        b"{on: \"connect a.test\", do: restore}",
        b"latency=",
        b"within: 30s",
        b"attempts: {",
        b"none: [",
        b"counts: [{",
        b"files: {",
        b"{matches: (",
        b"{999999}",
        b"99999999999999999999",
        b"&a ",
        b"*a",
        b"\0",
        b"\xe2\x80\xae",
        b"\t",
        b"'",
        b"]",
        b"}",
    ];
    run("scenarios", &bytes(seeds, &words, 8 << 10), |Bytes(input)| {
        let text = String::from_utf8_lossy(&input);
        match scenario("s.yml", &text) {
            Ok(read) => {
                let names: std::collections::BTreeSet<&String> =
                    read.cases.iter().map(|case| &case.name).collect();
                let good = !read.cases.is_empty()
                    && names.len() == read.cases.len()
                    && !read.image.starts_with('-')
                    && !read.policies.iter().any(|policy| policy.starts_with('-'))
                    && read
                        .cases
                        .iter()
                        .flat_map(|case| &case.expect.files)
                        .all(|(path, _)| !path.contains(".."));
                if !good && !text.contains("..") {
                    return Err(TestCaseError::fail("a scenario that is half of one"));
                }
                Ok(())
            }
            Err(found) => {
                if !found.iter().any(|one| one.severity == Severity::Error) {
                    return Err(TestCaseError::fail("refused without an error"));
                }
                let shown = render(&found);
                match shown.chars().all(|c| c == '\n' || is_harmless(c)) {
                    true => Ok(()),
                    false => Err(TestCaseError::fail("a finding that a terminal obeys")),
                }
            }
        }
    });
}
