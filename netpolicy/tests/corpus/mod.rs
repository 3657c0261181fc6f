//! Policies that cannot be used, one for each thing that people and attackers write: shared by the tests of the
//! loader's messages and of the command line.

use std::collections::HashMap;

/// A title, and the policy; `allow` entries alone where the text begins with `-`.
pub(crate) const BAD: &[(&str, &str)] = &[
    ("empty file", ""),
    ("only a comment", "# nothing\n"),
    ("a list", "[a, b]\n"),
    ("a word", "gitlab.com\n"),
    ("no version", "network: {allow: [gitlab.com]}\n"),
    ("another version", "version: 2\n"),
    ("a quoted version", "version: \"1\"\n"),
    ("a boolean as version", "version: true\n"),
    ("unknown key", "version: 1\nnetwrok: {}\n"),
    ("a key in the wrong place", "version: 1\nallow: [gitlab.com]\n"),
    ("a key like none other", "version: 1\nfirewall: off\n"),
    (
        "keys of later versions",
        "version: 1\ncontainer: {time: 1:30}\nengine: {}\ntests: []\nnetwork:\n  ceiling: []\n  proxy: x\n  dns: {domains: {}}\n",
    ),
    ("duplicate key", "version: 1\nnetwork: {}\nnetwork: {}\n"),
    (
        "duplicate key deep down",
        "version: 1\nnetwork:\n  allow:\n    - host: a.example\n      host: b.example\n",
    ),
    ("anchor and alias", "version: 1\nnetwork:\n  allow: &list [gitlab.com]\n  deny: *list\n"),
    ("merge key", "version: 1\nnetwork:\n  <<: {allow: []}\n"),
    ("tag", "version: 1\nnetwork: !!map {}\n"),
    ("two documents", "version: 1\n---\nversion: 1\n"),
    ("a key that is a list", "version: 1\n? [a]\n: b\n"),
    ("not YAML", "version: 1\nnetwork: [\n"),
    ("tabs", "version: 1\nnetwork:\n\tallow: []\n"),
    (
        "too deep",
        "version: 1\nnetwork: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[x]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\n",
    ),
    ("a scalar for a list", "version: 1\nnetwork:\n  allow: gitlab.com\n"),
    ("nothing for a list", "version: 1\nnetwork:\n  allow:\n"),
    ("a mapping for a list", "version: 1\nnetwork:\n  allow: {host: gitlab.com}\n"),
    ("star without quotes", "- *.gitlab.com\n- gitlab.com:0\n- host: *.example.com\n"),
    ("lone star", "- *\n"),
    ("lone star in quotes", "- \"*\"\n"),
    ("public suffixes", "- \"*.com\"\n- .co.uk\n- \"*.xn--p1ai\"\n- \"*.рф\"\n"),
    ("stars in the wrong place", "- \"a.*.example.com\"\n- \"*gitlab.com\"\n- \"gitlab.*\"\n"),
    ("URLs", "- http://gitlab.com\n- https://user:pw@gitlab.com:8443/a?b#c\n- ftp://\n"),
    ("paths", "- gitlab.com/group\n- git@gitlab.com\n"),
    (
        "ports",
        "- gitlab.com:0\n- gitlab.com:65536\n- gitlab.com:https\n- \"gitlab.com:\"\n- gitlab.com:*\n- gitlab.com:8000-9000\n- gitlab.com:+443\n- a:1:2\n",
    ),
    (
        "port lists",
        "- {host: gitlab.com, ports: 443}\n- {host: gitlab.com, ports: []}\n- {host: gitlab.com, ports: [\"443\"]}\n- {host: gitlab.com, ports: [true, 0, 1.5]}\n",
    ),
    ("a space after the colon", "- api.example.com: 8443\n"),
    (
        "addresses as hosts",
        "- 10.0.0.1\n- 10.0.0.1:22\n- \"[::1]:80\"\n- \"::1\"\n- 127.1\n- \"0x7f.1\"\n- \"2130706433\"\n- 10.0.0.0/8\n",
    ),
    ("wrong types", "- 8443\n- true\n- ~\n- [gitlab.com]\n- 1.5\n"),
    ("bad names", "- a..b\n- -a.example\n- \"a b\"\n- \"\"\n- xn--a.example\n- a_b.example:x\n"),
    (
        "ranges",
        "- {cidr: 198.51.100.1/24, ports: [1]}\n- {cidr: 0.0.0.0/0, ports: [1]}\n- {cidr: 198.51.100.1, ports: [1]}\n- {cidr: 300.1.1.1/8, ports: [1]}\n- {cidr: \"2001:db8::/32\", ports: [1]}\n- {cidr: 198.51.100.0/24}\n",
    ),
    ("a range with a protocol", "- {cidr: 198.51.100.0/24, ports: [443], protocol: tls}\n"),
    ("a range over the virtual range", "- {cidr: 25.0.0.0/8, ports: [443]}\n"),
    (
        "udp",
        "- gitlab.com:443/udp\n- {host: gitlab.com, protocol: udp}\n- {host: gitlab.com, protocol: https}\n- {host: gitlab.com, protocol: tsl}\n",
    ),
    (
        "private",
        "- {host: a.example, private: [8.8.8.0/24]}\n- {host: a.example, private: [10.0.0.1/8]}\n- {host: a.example, private: [0.0.0.0/0, 169.254.0.0/16, 127.0.0.0/8, \"fe80::/10\"]}\n- {host: a.example, private: 10.0.0.0/8}\n",
    ),
    (
        "rule without a target",
        "- {ports: [443]}\n- {}\n- {host: a.example, cidr: 198.51.100.0/24, ports: [1]}\n",
    ),
    (
        "rule with unknown keys",
        "- {host: a.example, port: [443]}\n- {host: a.example, expires: someday}\n- {host: a.example, host-access: true}\n- {hots: a.example}\n",
    ),
    ("a port in host", "- {host: \"a.example:443\"}\n"),
    ("reason", "- {host: a.example, reason: 5}\n- {host: a.example, reason: \"a\\u0007\"}\n"),
    (
        "host aliases",
        "- host.docker.internal\n- localhost:3000\n- \"*.docker.internal\"\n- metadata.google.internal\n",
    ),
    (
        "denials",
        "version: 1\nnetwork:\n  deny:\n    - \"*\"\n    - 10.0.0.1\n    - {host: a.example, protocol: tls}\n    - {cidr: \"::ffff:10.0.0.0/104\"}\n    - {host: a.example, privat: []}\n",
    ),
    (
        "upstreams",
        "version: 1\nnetwork:\n  dns:\n    upstreams: [sytem, tls://1.1.1.1#one.one, https://dns.example/dns-query, 1.1.1.1:0, 0.0.0.0, dns.example, 53]\n",
    ),
    ("no upstreams", "version: 1\nnetwork: {dns: {upstreams: []}}\n"),
    ("numbers", "version: 1\nnetwork: {dns: {names-per-wildcard: 0}}\n"),
    ("a text for a number", "version: 1\nnetwork: {dns: {names-per-wildcard: many}}\n"),
    (
        "what the fence keeps for itself",
        "- gitlab.com:53\n- {host: a.example, ports: [443, 65443]}\n- {cidr: 198.51.100.0/24, ports: [65053], protocol: tcp}\n- {cidr: 127.0.0.0/8, ports: [80]}\n- {cidr: 127.0.0.11/32, ports: [443]}\n- {cidr: 0.0.0.0/8, ports: [443]}\n- {host: host.docker.internal, ports: [53], host-access: true}\n",
    ),
    ("virtual range", "version: 1\nnetwork: {dns: {virtual-range: 127.0.0.0/16}}\n"),
    ("narrow virtual range", "version: 1\nnetwork: {dns: {virtual-range: 25.0.0.0/30}}\n"),
    ("unknown presets", "version: 1\nextends: [gitlab, gitlab@9, gitlba@1, nobody@1]\n"),
    ("missing file", "version: 1\nextends: [./gone.yml]\n"),
    ("the other extension", "version: 1\nextends: [./team.yaml]\n"),
    ("a circle", "version: 1\nextends: [./circle.yml]\n"),
    ("itself", "version: 1\nextends: [\"../x/./p.yml\"]\n"),
    ("an error in an extended file", "version: 1\nextends: [./broken.yml]\nnetwork: {allow: [a:b]}\n"),
    ("extends as a word", "version: 1\nextends: gitlab@1\n"),
    (
        "many errors at once",
        "version: 3\nextens: []\nnetwork:\n  alow: []\n  allow:\n    - http://a.example\n    - b.example:99999\n  dns: {upstream: []}\n",
    ),
    ("a wildcard of everything", "- \"*\"\n- .\n- \"*.*\"\n"),
    ("a name over two labels of a public suffix", "- \"*.co.uk\"\n- \"*.com.\"\n"),
    ("an address as a name", "- 1.2.3.4\n- {host: 1.2.3.4}\n- {host: \"2001:db8::1\"}\n"),
    (
        "anchors that explode",
        "version: 1\na: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c]\nnetwork: {allow: *d}\n",
    ),
    ("NUL in a name", "- \"a\\0b.example\"\n- {host: \"git\\u0000lab.com\"}\n"),
    ("a raw NUL", "version: 1\nnetwork: {allow: [a\0b.example]}\n"),
    ("a label of 300 bytes", LONG_LABEL),
    ("a turned name", "- \"gitlab\u{202e}moc.evil\"\n- \"a\\u2066b.example\"\n"),
    ("a byte order mark in the middle", "- \"git\u{feff}lab com\"\n"),
    (
        "look-alikes that are no names",
        "- gitlab.com:443:443\n- a..b\n- gitlab,com\n- gitlab.com\\evil.example\n- \"gitlab.com#x\"\n- \"gitlab.com?x\"\n- gitlab%2ecom\n",
    ),
    (
        "days",
        "- {host: a.example, expires: 2027-02-30}\n- {host: a.example, expires: 31.01.2027}\n- {host: a.example, expires: 2027-01-31T00:00:00Z}\n- {host: a.example, expires: [2027-01-31]}\n- {host: a.example, expires: 20270131}\n",
    ),
    ("a denial that ends", "version: 1\nnetwork:\n  deny:\n    - {host: a.example, expires: 2027-01-31}\n"),
    (
        "who resolves",
        "- {host: a.example, resolved-by: me}\n- {host: a.example, resolved-by: [proxy]}\n- {cidr: 198.51.100.0/24, ports: [443], resolved-by: proxy}\n- {host: a.example, host-access: yes}\n",
    ),
    (
        "access to the host",
        "- {host: localhost, ports: [3000], host-access: true}\n- {host: \"*.docker.internal\", ports: [3000], host-access: true}\n- {host: host.docker.internal, ports: [3000], host-access: true, private: [10.0.0.0/8]}\n- {cidr: 198.51.100.0/24, ports: [443], host-access: true}\n- {host: metadata.google.internal, host-access: true}\n",
    ),
    (
        "ceilings",
        "version: 1\nnetwork:\n  ceiling:\n    - \"*\"\n    - 10.0.0.1\n    - {cidr: 10.0.0.0/7, ports: [443]}\n    - {host: a.example, port: 443}\n",
    ),
    ("a ceiling that is nothing", "version: 1\nnetwork:\n  ceiling:\n"),
    (
        "split DNS",
        "version: 1\nnetwork:\n  dns:\n    domains:\n      corp.example: []\n      \"*.corp.example\": [10.0.0.53]\n      10.0.0.1: [10.0.0.53]\n      other.example: 10.0.0.53\n",
    ),
    (
        "encrypted upstreams",
        "version: 1\nnetwork:\n  dns:\n    upstreams: [tls://198.51.100.53, \"tls://dns.example#dns.example\", \"tls://198.51.100.53#10.0.0.1\", \"https://dns.example/q?x\", \"https://:443/\", quic://198.51.100.53, udp://198.51.100.53]\n",
    ),
    (
        "made-up addresses",
        "version: 1\nnetwork: {dns: {upstream-fake-range: [10.0.0.0/8, 127.0.0.0/8, 198.18.0.1/16, 8.8.8.0/24]}}\n",
    ),
    ("proxies", "version: 1\nnetwork:\n  proxy: https://proxy.example:443\n---\n"),
    ("a proxy with a password", "version: 1\nnetwork: {proxy: \"http://user:hunter2@proxy.example:3128\"}\n"),
    ("a proxy without a port", "version: 1\nnetwork: {proxy: \"http://proxy.example\"}\n"),
    ("a proxy with a path", "version: 1\nnetwork: {proxy: \"http://proxy.example:3128/x\"}\n"),
    (
        "a proxy with a value for its variable",
        "version: 1\nnetwork: {proxy: {url: \"http://p.example:1\", credentials-env: \"user:hunter2\"}}\n",
    ),
    ("a proxy without its URL", "version: 1\nnetwork: {proxy: {credentials-env: NAME}}\n"),
    ("no-proxy alone", "version: 1\nnetwork: {no-proxy: [.corp.example]}\n"),
    (
        "no-proxy with ports",
        "version: 1\nnetwork: {proxy: \"http://p.example:1\", no-proxy: [a.example:443, 10.0.0.1/8, \"*\"]}\n",
    ),
    (
        "limits",
        "version: 1\ncontainer: {cpus: 0, memory: 4 parsecs, pids: 0, disk: -1, time: 2, runtime: \"a b\", ca: [], gpus: 1}\n",
    ),
    ("more limits", "version: 1\ncontainer: {cpus: two, memory: 1KiB, pids: many, time: 400d, cpu: 2}\n"),
    ("requirements", "version: 1\nengine: {require: [vmm, patched, docker], version: 28}\n"),
    (
        "what is hidden of a project",
        "version: 1\nworkspace:\n  mask: [/etc/passwd, ../other, \"\", \"a[b]\", 5]\n  unmask: [\"**\", .]\n  show: []\n",
    ),
    ("one path for a list", "version: 1\nworkspace: {unmask: tests/keys}\n"),
    ("tokens", "version: 1\ncredentials: {scopes: [AI, \"\", read-api], max-lifetime: 8:00}\n"),
    (
        "a lifetime that is a list",
        "version: 1\ncredentials: {scopes: ai_workflows, max-lifetime: [1h], scope: x}\n",
    ),
    ("requirements as a word", "version: 1\nengine: {require: vm}\n"),
    (
        "tests",
        "version: 1\ntests:\n  - gitlab.com\n  - allow: a b\n  - allow: tcp://gitlab.com\n  - {allow: a.example, deny: b.example}\n  - {permit: a.example}\n  - deny: gopher://a.example\n  - {}\n",
    ),
    ("deep flow", DEEP),
    (
        "a very long line",
        "version: 1\nnetwork: {allow: [\"                                                                                                                                                                                                                  a b\"]}\n",
    ),
    ("control characters in a word", "version: 1\nnet\u{1b}[31mwork: {}\n"),
];

const LONG_LABEL: &str = concat!(
    "- aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example\n"
);
const DEEP: &str = "version: 1\nnetwork: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: x}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}\n";

/// The same for texts that are not UTF-8.
pub(crate) const BAD_BYTES: &[(&str, &[u8])] = &[
    ("Latin-1", b"version: 1\nnetwork:\n  allow:\n    - host: b\xfccher.example\n"),
    ("UTF-16", b"\xff\xfev\0e\0r\0s\0i\0o\0n\0:\0 \x001\0\n\0"),
    ("an overlong dot", b"version: 1\nnetwork: {allow: [gitlab\xc0\xaecom]}\n"),
    ("half a surrogate", b"version: 1\nnetwork: {allow: [\"a\xed\xa0\x80.example\"]}\n"),
];

/// A whole file of an entry of the list: entries that begin with `-` are lines of `allow`.
pub(crate) fn document(text: &str) -> String {
    if !text.starts_with('-') {
        return text.to_owned();
    }
    let lines: String = text.lines().map(|line| format!("    {line}\n")).collect();
    format!("version: 1\nnetwork:\n  allow:\n{lines}")
}

/// The files that stand beside it, by path.
pub(crate) fn files(entry: &str) -> HashMap<&'static str, String> {
    HashMap::from([
        ("x/team.yml", "version: 1\n".to_owned()),
        ("x/circle.yml", "version: 1\nextends: [./round.yml]\n".to_owned()),
        ("x/round.yml", "version: 1\nextends: [../x/./circle.yml]\n".to_owned()),
        ("x/p.yml", entry.to_owned()),
        ("x/../x/./p.yml", entry.to_owned()),
        ("x/../x/./circle.yml", "version: 1\nextends: [round.yml]\n".to_owned()),
        ("x/broken.yml", "version: 1\nnetwork:\n  allow: [10.0.0.1]\n".to_owned()),
    ])
}
