//! Compares our reading of configurations with git's own.

use std::io::Write;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

type Pairs = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// Reads a configuration with git itself.
fn by_git(text: &[u8]) -> Option<Pairs> {
    let mut git = Command::new("git")
        .args(["config", "--no-includes", "--list", "-z", "--file", "-"])
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // git may end before it has read all.
    let _ = git.stdin.take().unwrap().write_all(text);
    let output = git.wait_with_output().unwrap();
    let pair = |one: &[u8]| match one.iter().position(|byte| *byte == b'\n') {
        // A subsection may hold no end of line, so the first one ends the name.
        Some(end) => (one[..end].to_vec(), Some(one[end + 1..].to_vec())),
        None => (one.to_vec(), None),
    };
    output
        .status
        .success()
        .then(|| output.stdout.split(|byte| *byte == 0).filter(|one| !one.is_empty()).map(pair).collect())
}

fn by_us(text: &[u8]) -> Option<Pairs> {
    parse(text).map(|entries| entries.into_iter().map(|entry| (entry.name, entry.value)).collect())
}

const TEXTS: &[&[u8]] = &[
    b"",
    b"[core]\n\tbare = false\n\tfileMode\n",
    b"[alias]x=!y\n",
    b"[alias]x=!y",
    b"[a][b]c=d",
    b"\xef\xbb\xbf[core]\n\ta = b\n",
    b"\xef\xbb[core]\n\ta = b\n",
    b"[core]\r\n\ta = b\r\n\tc = \"d\"\r\n",
    b"[core]\n\ta = b\rc\n",
    b"[core]\n a = b \\\n  c\\\r\n d\n",
    b"[core]\n a = \"b # c\" ; d \\\n e = f\n",
    b"[core]\n a = b\\",
    b"[core]\n a = b\\x\n",
    b"[core]\n a = \"b\n",
    b"[core]\n a = \"b\\\nc\"\n",
    b"[remote \"o\\\"r\\\\i\\gin.x\"]\n url = a\n",
    b"[Remote.Origin]\n URL = A\n[REMOTE \"Origin\"] URL = B\n",
    b"[a.b \"C\"]\n d = e\n",
    b"[core] # a [b]\n c = d # e\n",
    b"[core]\n a = b   \t c \t \n",
    b"[core]\n a =   \n b = \"\"\n c = \"  \"  \n d = e \"\" \n",
    b"[core]\n a-1 = b\n",
    b"[core]\n a_1 = b\n",
    b"[core]\n 1a = b\n",
    b"[core]\n a # b\n",
    b"[core]\n a\tb\n",
    b"[core\n a = b\n",
    b"[core \"x\" ]\n a = b\n",
    b"[core\t\t\"x\"]\n a = b\n",
    b"[core\n\"x\"]\n a = b\n",
    b"[ core]\n a = b\n",
    b"[core x]\n a = b\n",
    b"[]\n a = b\n",
    b"[\"x\"]\n a = b\n",
    b"[.]\n a = b\n",
    b"[core \"\"]\n a = b\n",
    b"=\n",
    b"[core]\n a = \\t\\b\\n\\\"\\\\\n",
    b"[core]\n a = b;c\n d=e#f\n",
    b"[include]\npath=x\n[includeIf \"gitdir:/a/**\"]\npath=y\n",
    b"[core]\n \xc3\xa4 = b\n",
    b"[core]\n a = \xc3\xa4\xff\n",
    b"[core]\x0b\n a = b\n",
    b"[core]\n\x0c a = b\n",
];

#[test]
fn git_reads_them_as_we_do() {
    for text in TEXTS {
        assert_eq!(by_us(text), by_git(text), "{:?}", String::from_utf8_lossy(text));
    }
}

#[test]
fn what_is_doubtful_is_not_read() {
    assert_eq!(parse(b"[core]\n a = b\0c\n"), None);
    assert_eq!(parse(b"a = b\n"), None, "outside of a section");
}

#[test]
fn an_entry_stands_where_it_says() {
    let text = b"[alias]x=!y\n[core]\n\ta = b \\\n  c # d\n\te";
    let spans: Vec<&[u8]> = parse(text).unwrap().iter().map(|entry| &text[entry.span.clone()]).collect();
    assert_eq!(spans, [b"x=!y\n".as_slice(), b"a = b \\\n  c # d\n", b"e"]);
}

/// Pieces of which nasty files are made.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&'static [u8]> = vec![
        b"[core]",
        b"[alias]",
        b"[remote \"",
        b"\"]",
        b"[",
        b"]",
        b"\"",
        b"\\",
        b"\n",
        b"\r\n",
        b"\r",
        b" ",
        b"\t",
        b"=",
        b" = ",
        b"#",
        b";",
        b"!x",
        b"key",
        b"KEY",
        b"a.b",
        b"-",
        b"\\n",
        b"\\\"",
        b"\\\n",
        b"\xff",
        b"\xef\xbb\xbf",
        b".",
        b"include",
        b"path",
        b"_",
        b"\x0b",
    ];
    proptest::sample::select(words).prop_map(<[u8]>::to_vec)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn git_reads_any_text_as_we_do(pieces in proptest::collection::vec(piece(), 0..24)) {
        let text: Vec<u8> = [b"[s]\n".as_slice(), &pieces.concat()].concat();
        prop_assert_eq!(by_us(&text), by_git(&text), "{:?}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn git_reads_what_we_write(
        subsection in proptest::option::of("[^\n\0]{0,12}"),
        value in proptest::option::of("[^\0]{0,24}"),
    ) {
        let name = Name { section: b"core", subsection: subsection.as_deref().map(str::as_bytes), key: b"some-key" };
        let text = [head(&name), line(name.key, value.as_deref().map(str::as_bytes))].concat();
        let whole = match &subsection {
            Some(subsection) => format!("core.{subsection}.some-key"),
            None => "core.some-key".to_owned(),
        };
        prop_assert_eq!(by_git(&text), Some(vec![(whole.into_bytes(), value.map(String::into_bytes))]));
    }
}
