//! What a project's files show to be needed: real shapes of each tool's files, and nothing of their secrets.

use std::fmt::Write;

use netpolicy::suggest::{Suggested, is_evidence, suggest};
use proptest::prelude::*;

fn shown(suggested: &Suggested) -> String {
    let mut text = String::new();
    for suggestion in &suggested.suggestions {
        let places: Vec<String> = suggestion
            .evidence
            .iter()
            .map(|place| format!("{}:{} {}", place.file, place.line, place.what))
            .collect();
        let _ = write!(text, "{}  {}", suggestion.rule.origin.text, places.join(" | "));
        let _ = writeln!(
            text,
            " +{}{}",
            suggestion.more,
            suggestion.uploads.map_or(String::new(), |what| format!(" [{what}]"))
        );
    }
    for note in &suggested.notes {
        let _ = writeln!(text, "{note}");
    }
    text
}

const FILES: &[(&str, &str)] = &[
    (
        "web/package-lock.json",
        "{\n  \"lockfileVersion\": 3,\n  \"packages\": {\n    \"node_modules/a\": {\n      \"version\": \"1.0.0\",\n      \"resolved\": \"https://npm.corp.example/a/-/a-1.0.0.tgz\",\n      \"integrity\": \"sha512-x\"\n    },\n    \"node_modules/b\": {\n      \"resolved\": \"git+ssh://git@github.com/x/b.git#0123\"\n    },\n    \"node_modules/c\": {\"funding\": {\"url\": \"https://sponsor.example\"}}\n  }\n}\n",
    ),
    (
        "bare/package-lock.json",
        "{\n  \"packages\": {\n    \"node_modules/a\": {\n      \"integrity\": \"sha512-x\"\n    }\n  }\n}\n",
    ),
    (
        ".npmrc",
        "registry=https://user:secret@npm.corp.example:8443/api/npm/\n@scope:registry=https://scoped.example/npm/\n//npm.corp.example/:_authToken=npm_verysecret\n//npm.corp.example/:_auth=aHR0cHM6Ly9zZWNyZXQuZXhhbXBsZQ\n",
    ),
    (
        "pnpm-lock.yaml",
        "lockfileVersion: '9.0'\npackages:\n  a@1.0.0:\n    resolution: {integrity: sha512-x}\n  b@1.0.0:\n    resolution: {tarball: https://codeload.github.com/x/b/tar.gz/0123}\n",
    ),
    (
        "one/yarn.lock",
        "# yarn lockfile v1\n\"a@^1.0.0\":\n  version \"1.0.0\"\n  resolved \"https://registry.yarnpkg.com/a/-/a-1.0.0.tgz#0123\"\n",
    ),
    (
        "two/yarn.lock",
        "__metadata:\n  version: 8\n\"a@npm:^1.0.0\":\n  version: 1.0.0\n  resolution: \"a@npm:1.0.0\"\n",
    ),
    (
        ".yarnrc.yml",
        "npmRegistryServer: \"https://yarn.corp.example\"\nnpmAuthToken: https://secret.example\n",
    ),
    (
        "requirements.txt",
        "# https://comment.example\nrequests==2.32 # see https://aside.example\npkg @ https://wheels.example/pkg.whl\ngit+https://token@git.corp.example/x.git@main\n--extra-index-url https://u:p@extra.example/simple\n",
    ),
    ("mirror/requirements-dev.txt", "--index-url https://pypi.corp.example/simple\nrequests\n"),
    (
        "pip.conf",
        "[global]\nindex-url = https://pip.corp.example/simple\nextra-index-url =\n    https://more.example/simple\n    http://plain.example/simple\ntrusted-host = plain.example\n",
    ),
    (
        "pyproject.toml",
        "[project]\nname = \"x\"\ndependencies = [\"a @ https://direct.example/a.whl\"]\n[project.urls]\nHomepage = \"https://homepage.example\"\n[[tool.uv.index]]\nurl = \"https://uv.corp.example/simple\"\n",
    ),
    (
        "poetry.lock",
        "[[package]]\nname = \"a\"\n[[package]]\nname = \"b\"\n[package.source]\ntype = \"legacy\"\nurl = \"https://poetry.corp.example/simple\"\n",
    ),
    (
        "uv.lock",
        "[[package]]\nname = \"a\"\nsource = { registry = \"https://pypi.org/simple\" }\nsdist = { url = \"https://files.pythonhosted.org/packages/a.tar.gz\" }\n",
    ),
    (
        "Pipfile.lock",
        "{\n  \"_meta\": {\"sources\": [\n    {\n      \"name\": \"pypi\",\n      \"url\": \"https://pipenv.corp.example/simple\"\n    }]}\n}\n",
    ),
    (
        "Cargo.lock",
        "[[package]]\nname = \"a\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n[[package]]\nname = \"b\"\nsource = \"git+https://git.example/b.git#0123\"\n[[package]]\nname = \"c\"\nsource = \"sparse+https://cargo.corp.example/index/\"\n",
    ),
    (
        ".cargo/config.toml",
        "[registries.corp]\nindex = \"sparse+https://cargo.corp.example:8443/index/\"\ntoken = \"https://secret.example\"\n",
    ),
    ("go.sum", "example.com/x v1.0.0 h1:abc=\n"),
    (
        "pom.xml",
        "<project>\n  <url>https://homepage.example</url>\n  <scm><url>https://scm.example</url></scm>\n  <repositories>\n    <repository>\n      <url>https://maven.corp.example/all</url>\n    </repository>\n  </repositories>\n  <distributionManagement>\n    <repository><url>https://publish.example</url></repository>\n  </distributionManagement>\n  <dependencies></dependencies>\n</project>\n",
    ),
    (
        "build.gradle.kts",
        "repositories {\n    mavenCentral()\n    maven { url = uri(\"https://gradle.corp.example/m2\") }\n    // maven { url = uri(\"https://old.example\") }\n}\n",
    ),
    (
        "gradle/wrapper/gradle-wrapper.properties",
        "distributionUrl=https\\://services.gradle.org/distributions/gradle-8.9-bin.zip\n",
    ),
    (
        "Gemfile.lock",
        "GEM\n  remote: https://gems.corp.example/\n  specs:\n    rack (3.0)\nPATH\n  remote: .\n",
    ),
    (
        "Gemfile",
        "source \"https://rubygems.org\"\ngem \"x\", git: \"https://git.example/x.git\"\n# homepage https://homepage.example\n",
    ),
    (
        "composer.lock",
        "{\n  \"packages\": [\n    {\n      \"source\": {\n        \"url\": \"https://github.com/x/y.git\"\n      },\n      \"dist\": {\n        \"url\": \"https://api.github.com/repos/x/y/zipball/0123\"\n      },\n      \"notification-url\": \"https://packagist.org/downloads/\",\n      \"funding\": [\n        {\n          \"url\": \"https://sponsor.example\"\n        }\n      ]\n    }\n  ]\n}\n",
    ),
    (
        "Dockerfile",
        "FROM registry.example/base:1\n# deb http://comment.example\nRUN echo 'deb [signed-by=/k] https://apt.corp.example/debian stable main' > /etc/apt/sources.list.d/x.list\n",
    ),
    (
        "etc/apt/sources.list.d/debian.sources",
        "Types: deb\nURIs: http://deb.corp.example/debian\nSuites: stable\n",
    ),
    (
        ".git/config",
        "[remote \"origin\"]\n\turl = https://oauth2:glpat-verysecret@gitlab.com/group/project.git\n[remote \"ssh\"]\n\turl = git@gitlab.corp.example:group/project.git\n[remote \"disk\"]\n\turl = /srv/git/project.git\n[credential]\n\turl = https://secret.example\n",
    ),
    (
        ".gitmodules",
        "[submodule \"x\"]\n\turl = ../relative.git\n[submodule \"y\"]\n\turl = ssh://git@git.corp.example:2222/y.git\n[submodule \"z\"]\n\turl = https://10.1.2.3/z.git\n",
    ),
];

#[test]
fn every_tool() {
    for (path, _) in FILES {
        assert!(is_evidence(path), "{path} is not looked at");
    }
    insta::assert_snapshot!(shown(&suggest(FILES.iter().copied())));
}

#[test]
fn a_mirror_takes_the_place_of_the_default() {
    let files = [
        ("package-lock.json", "{\"packages\": {\"node_modules/a\": {\"integrity\": \"x\"}}}\n"),
        ("Cargo.lock", "[[package]]\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n"),
        (
            ".cargo/config.toml",
            "[source.crates-io]\nreplace-with = \"corp\"\n[source.corp]\nregistry = \"sparse+https://cargo.corp.example/\"\n",
        ),
        (".npmrc", "registry=https://npm.corp.example/\n"),
    ];
    insta::assert_snapshot!(shown(&suggest(files)));
}

#[test]
fn secrets_and_pages_stay_out() {
    let suggested = suggest(FILES.iter().copied());
    let json = serde_json::to_string(&suggested).unwrap();
    for word in [
        "secret",
        "glpat",
        "oauth2",
        "token",
        "homepage",
        "sponsor",
        "comment",
        "aside",
        "publish",
        "scm.example",
        "old.example",
        "u:p",
    ] {
        assert!(!json.to_lowercase().contains(word), "{word} in {json}");
    }
}

#[test]
fn what_is_not_looked_at() {
    for path in [
        ".env",
        ".netrc",
        "id_rsa",
        "README.md",
        "src/config",
        "config",
        ".git/credentials",
        ".git/HEAD",
        "settings.py",
    ] {
        assert!(!is_evidence(path), "{path}");
    }
}

#[test]
fn hosts_that_no_policy_permits_are_told() {
    let suggested = suggest([
        (".npmrc", "registry=http://localhost:4873/\n"),
        ("requirements.txt", "--index-url http://host.docker.internal/simple\n-i https://${HOST}/simple\n"),
    ]);
    assert_eq!(suggested.suggestions, []);
    insta::assert_snapshot!(shown(&suggested));
}

proptest! {
    #[test]
    fn no_text_makes_a_reader_panic(text in "\\PC{0,40}://\\PC{0,40}|((url|resolved|registry|source|index|[a-z]|é|://|@|:|\"|=| |\n|/){0,30})") {
        for (path, _) in FILES {
            let _ = suggest([(*path, text.as_str())]);
        }
    }
}
