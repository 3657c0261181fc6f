//! Forms of real projects' files, one by one: each gives its hosts, or says why it gives none.

use netpolicy::suggest::suggest;

/// Files of one project, and all that is suggested for them: `host:port` in order, then `!WORDS` for each note.
type Form<'t> = (&'t [(&'t str, &'t str)], &'t [&'t str]);

const NPM: &str = "registry.npmjs.org:443";
const PYPI: &[&str] = &["files.pythonhosted.org:443", "pypi.org:443"];

fn shown(files: &[(&str, &str)]) -> Vec<String> {
    let suggested = suggest(files.iter().copied());
    let hosts = suggested.suggestions.iter().map(|suggestion| suggestion.rule.origin.text.clone());
    let notes = suggested.notes.iter().map(|note| format!("!{note}"));
    hosts.chain(notes).collect()
}

fn check(forms: &[Form<'_>]) {
    for (files, expected) in forms {
        let shown = shown(files);
        let alike = shown.len() == expected.len()
            && shown.iter().zip(*expected).all(|(shown, expected)| match expected.strip_prefix('!') {
                Some(words) => shown.starts_with('!') && shown.contains(words),
                None => shown == expected,
            });
        assert!(alike, "{files:#?}\ngave {shown:#?}\nnot  {expected:#?}");
    }
}

#[test]
fn npm() {
    check(&[
        // Version 1, a package of git named by its version, a nested one from a mirror.
        (
            &[(
                "package-lock.json",
                r#"{"lockfileVersion":1,"dependencies":{"a":{"version":"git+ssh://git@git.example/a.git#01","from":"a@git"},"b":{"version":"1.0.0","resolved":"https://npm.corp.example/b.tgz","dependencies":{"c":{"version":"https://tar.example/c.tgz"}}}}}"#,
            )],
            &["git.example:22", "npm.corp.example:443", "tar.example:443"],
        ),
        // A lockfile without places, on one line: the default.
        (
            &[(
                "package-lock.json",
                r#"{"packages":{"":{"name":"x"},"node_modules/a":{"version":"1.0.0","integrity":"sha512-x"}}}"#,
            )],
            &[NPM],
        ),
        // The project's own packages and bundled ones need nothing.
        (
            &[(
                "package-lock.json",
                r#"{"packages":{"":{},"node_modules/a":{"resolved":"packages/a","link":true},"packages/a":{"version":"1.0.0"},"node_modules/b":{"version":"1","inBundle":true}}}"#,
            )],
            &["!no host is named in"],
        ),
        (
            &[("package-lock.json", "{\"packages\": {")],
            &["!package-lock.json:1: left out: file: it could not be understood: no JSON"],
        ),
        // Words that hold `oken` and a password with a `#` in it.
        (
            &[(
                ".npmrc",
                "registry = https://npm.tokens.example/\n@token:registry=https://me:${NPM_TOKEN}@scoped.example:8443/\n//npm.tokens.example/:_authToken=https://secret.example\nelectron_mirror=https://mirror.example/electron/\n",
            )],
            &["mirror.example:443", "npm.tokens.example:443", "scoped.example:8443"],
        ),
        (&[(".npmrc", "registry=${NPM_REGISTRY}\n")], &["!names no host"]),
        (&[(".npmrc", "registry=https://${NPM_HOST}/npm\n")], &["!its host is a variable"]),
        (&[(".npmrc", "save-exact=true\n")], &["!no host is named in"]),
        (&[(".npmrc", "https-proxy=http://proxy.example:3128\n")], &["!network.proxy"]),
        // A manifest alone: what it would need.
        (
            &[(
                "package.json",
                r#"{"dependencies":{"a":"^1","b":"github:x/b","c":"git+https://git.example/c.git","d":"x/d","e":"file:../e"}}"#,
            )],
            &["git.example:443", "github.com:443", NPM],
        ),
        (
            &[("package.json", r#"{"dependencies":{"a":"^1"}}"#), ("pnpm-lock.yaml", "packages: {}\n")],
            &["!no host is named in"],
        ),
    ]);
}

#[test]
fn a_configuration_is_for_its_own_folder() {
    let lockfile = r#"{"packages":{"node_modules/a":{"integrity":"x"}}}"#;
    check(&[
        (
            &[("a/.npmrc", "registry=https://npm.corp.example/\n"), ("b/package-lock.json", lockfile)],
            &["npm.corp.example:443", NPM],
        ),
        (
            &[("a/.npmrc", "registry=https://npm.corp.example/\n"), ("a/b/package-lock.json", lockfile)],
            &["npm.corp.example:443", "!names another place"],
        ),
        // Later yarns do not read `.npmrc`.
        (
            &[
                (".npmrc", "registry=https://npm.corp.example/\n"),
                ("yarn.lock", "__metadata:\n  version: 8\n\"a@npm:1\":\n  resolution: \"a@npm:1.0.0\"\n"),
            ],
            &["npm.corp.example:443", "registry.yarnpkg.com:443"],
        ),
    ]);
}

#[test]
fn yarn_pnpm_bun() {
    check(&[
        // A scope's own registry leaves the default in place.
        (
            &[
                (
                    ".yarnrc.yml",
                    "npmScopes:\n  corp:\n    npmRegistryServer: \"https://yarn.corp.example\"\n    npmAuthToken: https://secret.example\n",
                ),
                (
                    "yarn.lock",
                    "__metadata:\n  version: 8\n\"a@npm:^1\":\n  version: 1.0.0\n  resolution: \"a@npm:1.0.0\"\n",
                ),
            ],
            &["registry.yarnpkg.com:443", "yarn.corp.example:443"],
        ),
        (
            &[(".yarnrc.yml", "npmRegistryServer: \"${REG:-https://fallback.example}\"\n")],
            &["fallback.example:443"],
        ),
        (
            &[(
                "yarn.lock",
                "__metadata:\n  version: 8\n\"@s/a@npm:^1\":\n  resolution: \"@s/a@npm:1.0.0::__archiveUrl=https%3A%2F%2Fnpm.corp.example%2Fa.tgz\"\n\"b@git\":\n  resolution: \"b@https://git.example/b.git#commit=01\"\n\"c@workspace:.\":\n  resolution: \"c@workspace:.\"\n\"d@git@forge.example:x/d.git\":\n  resolution: \"d@git@forge.example:x/d.git#commit=01\"\n",
            )],
            &["forge.example:22", "git.example:443", "npm.corp.example:443"],
        ),
        (
            &[(
                "yarn.lock",
                "# yarn lockfile v1\n\n\"a@^1\", a@2:\n  version \"1.0.0\"\n  resolved \"https://npm.corp.example/a.tgz#01\"\n  dependencies:\n    resolved \"^1.0.0\"\n\"b@git\":\n  resolved \"git+ssh://git@git.example/b.git#01\"\n",
            )],
            &["git.example:22", "npm.corp.example:443", "!yarn lockfile"],
        ),
        (
            &[(".yarnrc", "registry \"https://one.example/\"\n\"@corp:registry\" \"https://two.example\"\n")],
            &["one.example:443", "two.example:443"],
        ),
        (
            &[(
                "pnpm-lock.yaml",
                "lockfileVersion: '9.0'\npackages:\n  a@1:\n    resolution:\n      integrity: sha512-x\n  b@1:\n    resolution: {tarball: https://tar.example/b.tgz}\n  c@1:\n    resolution: {type: git, repo: 'git@git.example:x/c.git', commit: '01'}\n  d@file:d:\n    resolution: {directory: d, type: directory}\n",
            )],
            &["git.example:22", NPM, "tar.example:443"],
        ),
        (
            &[(
                "bun.lock",
                "{\n  \"lockfileVersion\": 1,\n  \"packages\": {\n    \"a\": [\"a@1.0.0\", \"\", {}, \"sha512-x\"],\n    \"b\": [\"b@1.0.0\", \"https://npm.corp.example/b/-/b-1.0.0.tgz\", {}, \"sha512-x\"],\n    \"c\": [\"c@github:x/c#01\", {}, \"x-c-01\"],\n    \"d\": [\"d@workspace:d\"],\n  }\n}\n",
            )],
            &["github.com:443", "npm.corp.example:443", NPM],
        ),
        (
            &[(
                "bunfig.toml",
                "[install]\nregistry = { url = \"https://bun.example\", token = \"https://secret.example\" }\n[install.scopes]\ncorp = \"https://scoped.example/\"\n",
            )],
            &["bun.example:443", "scoped.example:443"],
        ),
    ]);
}

#[test]
fn python() {
    check(&[
        (
            &[(
                "requirements.txt",
                "--index-url=https://u:p@pypi.corp.example/simple \\\n  --extra-index-url https://more.example/simple\n-fhttps://links.example/\n-e git+https://git.example/x.git@main#egg=x\n",
            )],
            &["git.example:443", "links.example:443", "more.example:443", "pypi.corp.example:443"],
        ),
        (
            &[(
                "requirements.txt",
                "a==1 --hash=sha256:x\nb @ https://wheels.example/b.whl ; python_version > '3'\n./local\n",
            )],
            &[PYPI[0], PYPI[1], "wheels.example:443"],
        ),
        (&[("requirements.txt", "-r other.txt\n")], &["!no host is named in"]),
        (
            &[("requirements.txt", "--index-url https://${USER}:${PASS}@pypi.corp.example/simple\na\n")],
            &["pypi.corp.example:443"],
        ),
        (
            &[(
                "pip.conf",
                "[global]\nindex_url: https://one.example/simple\nextra-index-url = https://two.example/simple https://three.example/simple\nproxy = http://p.example\n",
            )],
            &["one.example:443", "three.example:443", "two.example:443", "!network.proxy"],
        ),
        (
            &[(
                "pyproject.toml",
                "[project]\ndependencies = [\n  \"a\",\n  \"b @ git+ssh://git@git.example/b.git\",\n]\n[tool.uv.sources]\nc = { git = \"https://uv.example/c\" }\n[[tool.uv.index]]\nname = \"x\"\nurl = \"https://index.example/simple\"\n",
            )],
            &[PYPI[0], "git.example:22", "index.example:443", PYPI[1], "uv.example:443"],
        ),
        (
            &[(
                "pyproject.toml",
                "[project]\ndependencies = [\"a\"]\n[[tool.uv.index]]\nurl = \"https://index.example/simple\"\ndefault = true\n",
            )],
            &["index.example:443", "!names another place"],
        ),
        (
            &[(
                "pyproject.toml",
                "[tool.poetry.dependencies]\npython = \"^3\"\na = {git = \"https://git.example/a.git\"}\n[tool.poetry.group.dev.dependencies]\nb = {url = \"https://url.example/b.whl\"}\n[[tool.poetry.source]]\nname = \"x\"\nurl = \"https://source.example/simple\"\n",
            )],
            &["git.example:443", "source.example:443", "url.example:443"],
        ),
        (
            &[(
                "Pipfile",
                "[[source]]\nurl = \"https://pipfile.example/simple\"\n[packages]\na = {git = \"https://git.example/a\"}\n",
            )],
            &["git.example:443", "pipfile.example:443"],
        ),
        (
            &[(
                "Pipfile.lock",
                r#"{"_meta":{"sources":[{"url":"https://lock.example/simple"}]},"default":{"a":{"git":"https://git.example/a","ref":"01"}}}"#,
            )],
            &["git.example:443", "lock.example:443"],
        ),
        (
            &[(
                "pylock.toml",
                "lock-version = \"1.0\"\n[[packages]]\nname = \"a\"\nindex = \"https://idx.example/simple\"\nwheels = [{ url = \"https://whl.example/a.whl\" }]\n",
            )],
            &["idx.example:443", "whl.example:443"],
        ),
        (&[("poetry.lock", "package = []\n[metadata]\n")], &["!no host is named in"]),
        (
            &[(
                "uv.lock",
                "[[package]]\nname = \"a\"\nsource = { git = \"https://git.example/a?rev=x#01\" }\n[[package]]\nname = \"b\"\nsource = { editable = \".\" }\n",
            )],
            &["git.example:443"],
        ),
    ]);
}

#[test]
fn dotnet() {
    const NUGET: &str = "api.nuget.org:443";
    let project = "<Project><ItemGroup><PackageReference Include=\"A\" Version=\"1\"/></ItemGroup></Project>";
    let lockfile = r#"{"version":1,"dependencies":{"net8.0":{"A":{"type":"Direct","resolved":"1.0.0"}}}}"#;
    let own = "\u{FEFF}<configuration><packageSources><clear /><add key=\"corp\" value=\"https://nuget.corp.example/v3/index.json\" /><add key=\"local\" value=\"..\\packages\" /></packageSources><packageSourceCredentials><corp><add key=\"Password\" value=\"https://no.example\"/></corp></packageSourceCredentials></configuration>";
    check(&[
        (&[("src/a/a.csproj", project)], &[NUGET]),
        (&[("packages.lock.json", lockfile), ("a.fsproj", project)], &[NUGET]),
        // Only projects of the same solution.
        (
            &[("packages.lock.json", r#"{"dependencies":{"net8.0":{"b":{"type":"Project"}}}}"#)],
            &["!no host is named in"],
        ),
        (
            &[("NuGet.Config", own), ("src/a.csproj", project)],
            &["nuget.corp.example:443", "!NuGet.Config names another place"],
        ),
        (&[("a.csproj", "<Project><PropertyGroup/></Project>")], &["!no host is named in"]),
        (&[("nuget.config", "<configuration>")], &["!it could not be understood: no XML"]),
    ]);
}

#[test]
fn rust_go_php_ruby() {
    check(&[
        (
            &[(
                "Cargo.lock",
                "version = 4\n[[package]]\nname = \"a\"\nsource = \"registry+ssh://git@git.example/index.git\"\n",
            )],
            &["git.example:22"],
        ),
        (
            &[(
                "Cargo.toml",
                "[dependencies]\na = \"1\"\nb = { git = \"https://git.example/b\" }\n[target.'cfg(unix)'.dependencies]\nc = { git = \"ssh://git@ssh.example/c\" }\n",
            )],
            &["git.example:443", "index.crates.io:443", "ssh.example:22", "static.crates.io:443"],
        ),
        (&[("Cargo.toml", "[dependencies]\na = { path = \"a\" }\n")], &["!no host is named in"]),
        (
            &[
                (
                    "w/.cargo/config.toml",
                    "[source.crates-io]\nreplace-with = 'm'\n[source.m]\nregistry = 'sparse+https://m.example/'\n",
                ),
                (
                    "w/Cargo.lock",
                    "[[package]]\nname='a'\nsource='registry+https://github.com/rust-lang/crates.io-index'\n",
                ),
                (
                    "v/Cargo.lock",
                    "[[package]]\nname='a'\nsource='registry+https://github.com/rust-lang/crates.io-index'\n",
                ),
            ],
            &["index.crates.io:443", "m.example:443", "static.crates.io:443", "!names another place"],
        ),
        (&[("go.mod", "module x\n\ngo 1.22\n")], &["!no host is named in"]),
        (
            &[("go.mod", "module x\n\nrequire (\n\texample.com/y v1.0.0 // indirect\n)\n")],
            &["proxy.golang.org:443", "sum.golang.org:443"],
        ),
        (
            &[(
                "composer.lock",
                r#"{"packages":[{"name":"a/a","dist":{"url":"https://dist.example/a.zip"},"support":{"source":"https://no.example"},"funding":[{"url":"https://no.example"}]}]}"#,
            )],
            &["dist.example:443"],
        ),
        (
            &[(
                "composer.json",
                r#"{"repositories":[{"type":"composer","url":"https://repo.example"},{"packagist.org":false}],"require":{"php":">=8","a/a":"1"}}"#,
            )],
            &["repo.example:443", "!names another place"],
        ),
        (
            &[(
                "composer.json",
                r#"{"repositories":{"x":{"type":"vcs","url":"git@git.example:x/y.git"}},"require":{"php":">=8"}}"#,
            )],
            &["git.example:22"],
        ),
        (
            &[(
                "Gemfile",
                "source('https://gems.example') # https://no.example\ngem 'a', :git => 'https://git.example/a.git'\ngem 'b', github: 'x/b'\ngem 'c', path: '../c'\n",
            )],
            &["gems.example:443", "git.example:443", "github.com:443"],
        ),
        (
            &[(
                "Gemfile.lock",
                "GIT\n  remote: git@git.example:x/y.git\n  revision: 01\nGEM\n  remote: https://one.example/\n  remote: https://two.example/\n  specs:\n",
            )],
            &["git.example:22", "one.example:443", "two.example:443"],
        ),
        (
            &[(
                ".bundle/config",
                "---\nBUNDLE_MIRROR__HTTPS://GEMS__EXAMPLE/: \"https://mirror.example/\"\n",
            )],
            &["mirror.example:443"],
        ),
    ]);
}

#[test]
fn java() {
    check(&[
        (
            &[(
                "pom.xml",
                "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n<properties><base>https://prop.example</base></properties>\n<repositories><repository>\n<url>\n  https://lines.example/all\n</url></repository>\n<repository><url>${base}/x</url></repository></repositories>\n<!-- <repository><url>https://no.example</url></repository> -->\n</project>",
            )],
            &["lines.example:443", "prop.example:443"],
        ),
        (
            &[
                (
                    "settings.xml",
                    "<settings><mirrors><mirror><mirrorOf>external:*,!x</mirrorOf><url>https://mirror.example/</url></mirror></mirrors></settings>",
                ),
                ("pom.xml", "<project><dependencies/></project>"),
            ],
            &["mirror.example:443", "!names another place"],
        ),
        (&[("pom.xml", "<project><dependencies>")], &["!no XML"]),
        (
            &[
                ("gradle.properties", "nexusUrl=https\\://nexus.example/repo\n"),
                (
                    "build.gradle",
                    "repositories {\n  maven { url nexusUrl }\n  google { content { includeGroup 'x' } }\n}\n",
                ),
            ],
            &["dl.google.com:443", "nexus.example:443"],
        ),
        (
            &[
                ("gradle.properties", "base=https://props.example\n"),
                (
                    "app/build.gradle.kts",
                    "repositories {\n    maven(\"$base/m2\")\n    maven { url = uri(\"${project.property(\"base\")}/x\") }\n    maven { setUrl(\"https://set.example\") }\n}\n",
                ),
            ],
            &["props.example:443", "set.example:443"],
        ),
        (
            &[(
                "build.gradle",
                "def repo = 'https://own.example'\nrepositories { maven { url \"${repo}/x\" }\n /* maven { url 'https://no.example' } */ }\npublishing { repositories { maven { url 'https://publish.example' } } }\n",
            )],
            &["own.example:443"],
        ),
        (
            &[("build.gradle", "repositories { maven { url \"${System.getenv('X')}/x\" } }\n")],
            &["!put together when the script runs"],
        ),
        (
            &[(
                "gradle/wrapper/gradle-wrapper.properties",
                "distributionUrl = https\\://gradle.example/g.zip\n",
            )],
            &["gradle.example:443"],
        ),
    ]);
}

#[test]
fn apt_and_git() {
    check(&[
        (
            &[(
                "sources.list.d/x.sources",
                "Types: deb\nURIs: http://one.example/debian\n https://two.example/debian\nSuites: x\n\nEnabled: no\nURIs: http://no.example/\n",
            )],
            &["one.example:80", "two.example:443"],
        ),
        (
            &[(
                "etc/apt/sources.list",
                "deb [arch=amd64 signed-by=/k] https://apt.example/x stable main # http://no.example\ndeb-src cdrom:[x]/ y main\ndebug http://no.example\n",
            )],
            &["apt.example:443"],
        ),
        (
            &[(
                ".git/config",
                "[url \"https://real.example/\"]\n\tinsteadOf = gl:\n[remote \"origin\"] url = gl:x/y.git\n\tpushurl = \"ssh://git@push.example:2222/x.git\" ; why\n[lfs]\n\turl = https://lfs.example/x\n",
            )],
            &["lfs.example:443", "push.example:2222", "real.example:443"],
        ),
        (&[(".gitmodules", "[submodule \"x\"]\n\tpath = x\n\turl = ../x.git\n")], &["!no host is named in"]),
        (&[("Dockerfile", "FROM x\n")], &["!no host is named in"]),
    ]);
}
