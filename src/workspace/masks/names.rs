//! Files that are handled by name. `names.txt` has the list.

use std::path::Path;
use std::sync::OnceLock;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::copies;
use super::scrub::Form;

const TEXT: &str = include_str!("names.txt");
/// A file that holds both code and secrets.
pub(super) const ENVIRONMENT: &str = ".envrc";

/// Treatment of a file by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// An example: the name says nothing.
    Spare,
    /// A pure secret.
    Empty,
    /// Configuration whose secret values go.
    Scrub(Form),
    /// A configuration by a name that other files have too.
    Judge(Form),
    /// A file that the agent must not change.
    Fixed,
}

/// A line of the list.
#[derive(Debug)]
pub(crate) struct Name {
    /// Treatment of files with this name.
    pub(crate) treatment: Treatment,
    /// The pattern as it stands in the list.
    pub(crate) pattern: &'static str,
}

/// The list, made once.
pub(crate) struct Names {
    set: GlobSet,
    names: Vec<Name>,
}

impl Names {
    /// Returns the list.
    pub(crate) fn get() -> &'static Names {
        static NAMES: OnceLock<Names> = OnceLock::new();
        NAMES.get_or_init(|| {
            Names::read().unwrap_or_else(|error| unreachable!("a test reads the list: {error}"))
        })
    }

    fn read() -> Result<Names, globset::Error> {
        let (mut set, mut names) = (GlobSetBuilder::new(), Vec::new());
        for line in TEXT.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let pattern = rest.trim_start().split("  ").next().unwrap_or_default().trim();
            let form = |word: &str| {
                Some(match word {
                    "lines" => Form::Lines,
                    "values" => Form::Values,
                    "git" => Form::Git,
                    "words" => Form::Words,
                    "curl" => Form::Curl,
                    "php" => Form::Php,
                    "json" => Form::Json,
                    "xml" => Form::Xml,
                    _ => return None,
                })
            };
            let scrubbed = form(word).map(Treatment::Scrub);
            let judged = || word.strip_suffix('?').and_then(form).map(Treatment::Judge);
            let treatment = match word {
                "spare" => Treatment::Spare,
                "fixed" => Treatment::Fixed,
                // An unknown word hides most.
                _ => scrubbed.or_else(judged).unwrap_or(Treatment::Empty),
            };
            set.add(glob(&format!("**/{pattern}"))?);
            names.push(Name { treatment, pattern });
        }
        Ok(Names { set: set.build()?, names })
    }

    /// Returns the first line of the list that matches a path below the project.
    pub(crate) fn of(&self, path: &Path) -> Option<&Name> {
        let mut matches = Vec::new();
        self.set.matches_into(path, &mut matches);
        matches.into_iter().min().map(|index| &self.names[index])
    }

    /// Returns what is done by a pattern of the list.
    pub(super) fn by_pattern(&self, pattern: &str) -> Option<Treatment> {
        self.names.iter().find(|name| name.pattern == pattern).map(|name| name.treatment)
    }

    /// Returns the treatment of a file by its own name, or else by the name of the file of which it
    /// is a copy.
    pub(crate) fn of_file(&self, path: &Path) -> Option<(Treatment, &'static str)> {
        if let Some(name) = self.of(path) {
            return Some((name.treatment, name.pattern));
        }
        copies::originals(path).iter().filter_map(|original| self.of(original)).find_map(|name| {
            match name.treatment {
                Treatment::Spare => None,
                // Nothing runs a copy, but it holds the same secrets.
                Treatment::Fixed if name.pattern == ENVIRONMENT => {
                    Some((Treatment::Scrub(Form::Lines), name.pattern))
                }
                Treatment::Fixed => None,
                other => Some((other, name.pattern)),
            }
        })
    }
}

/// Compiles a pattern as the list and policies have it: in any case, `*` within one name.
pub(crate) fn glob(pattern: &str) -> Result<globset::Glob, globset::Error> {
    GlobBuilder::new(pattern).case_insensitive(true).literal_separator(true).backslash_escape(false).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn treatment(path: &str) -> Option<Treatment> {
        Names::get().of_file(Path::new(path)).map(|(treatment, _)| treatment)
    }

    #[test]
    fn every_line_of_the_list_has_a_treatment_a_pattern_and_a_reason() {
        for line in TEXT.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (word, rest) = line.split_once(' ').unwrap();
            let known =
                ["spare", "empty", "lines", "values", "git", "words", "curl", "json", "xml", "php", "fixed"];
            let plain =
                word.strip_suffix('?').filter(|word| !["spare", "empty", "fixed", "git"].contains(word));
            assert!(known.contains(&plain.unwrap_or(word)), "{line}");
            let (pattern, reason) = rest.trim_start().split_once("  ").expect(line);
            assert!(!pattern.is_empty() && !reason.trim().is_empty(), "{line}");
        }
        assert!(Names::read().unwrap().names.len() > 60);
    }

    #[test]
    fn secrets_are_known_at_any_depth_and_in_any_case() {
        for path in [
            ".env",
            ".ENV",
            "a/b/node_modules/c/.env.production",
            "deploy/web.env",
            ".netrc",
            "x/id_ed25519",
            "Certs/Server.P12",
            "infra/terraform.tfstate",
            "infra/terraform.tfstate.backup",
            "home/.aws/credentials",
            ".config/gcloud/legacy_credentials/me/adc.json",
            ".env_production",
            "api/.env_local",
            "worker/.dev.vars",
            ".dev.vars.staging",
            "dash/.streamlit/secrets.toml",
            "func/local.settings.json",
            // Each as the documents promise it, or as a program writes it.
            ".env~",
            ".env1",
            ".env copy",
            "..env.un~",
            ".env.keys",
            ".envs/.production/.django",
            ".azure/credentials",
            ".azure/msal_token_cache.bin",
            ".config/git/credentials",
            ".aws/login/cache/a.json",
            "infra/prod.tfplan",
            "key.p8",
            ".config/rclone/rclone.conf",
            ".local/share/gem/credentials",
            ".mylogin.cnf",
            ".m2/settings-security.xml",
            ".docker/trust/private/ab.key",
            "id_rsa (1)",
            "#.netrc#",
            ".secrets.toml",
        ] {
            assert_eq!(treatment(path), Some(Treatment::Empty), "{path}");
        }
        for path in ["web/.npmrc", ".npmrc.bak", ".envrc~"] {
            assert_eq!(treatment(path), Some(Treatment::Scrub(Form::Lines)), "{path}");
        }
        for path in ["infra/prod.tfvars", "infra/.prod.tfvars.swp", "x.auto.tfvars", "config/database.yml"] {
            assert_eq!(treatment(path), Some(Treatment::Judge(Form::Lines)), "{path}");
        }
        for path in ["prod.tfvars.json", "auth.json", "locales/de/auth.json", "auth.json.bak"] {
            assert_eq!(treatment(path), Some(Treatment::Judge(Form::Json)), "{path}");
        }
        assert_eq!(treatment("opencode/auth.json"), Some(Treatment::Empty));
        assert_eq!(treatment(".yarnrc"), Some(Treatment::Scrub(Form::Words)));
        assert_eq!(treatment(".curlrc"), Some(Treatment::Scrub(Form::Curl)));
        assert_eq!(treatment("config/secrets.yml"), Some(Treatment::Judge(Form::Values)));
        assert_eq!(treatment("www/wp-config.php"), Some(Treatment::Scrub(Form::Php)));
        assert_eq!(treatment(".databrickscfg"), Some(Treatment::Scrub(Form::Lines)));
        assert_eq!(treatment("web/.sentryclirc"), Some(Treatment::Scrub(Form::Lines)));
        assert_eq!(treatment(".terraform.d/credentials.tfrc.json"), Some(Treatment::Scrub(Form::Json)));
        assert_eq!(treatment(".docker/config.json"), Some(Treatment::Scrub(Form::Json)));
        assert_eq!(treatment("NuGet.Config"), Some(Treatment::Scrub(Form::Xml)));
        assert_eq!(treatment(".vscode/tasks.json"), Some(Treatment::Fixed));
        assert_eq!(treatment("sub/.idea"), Some(Treatment::Fixed));
    }

    #[test]
    fn examples_and_templates_are_spared() {
        for path in [
            ".env.example",
            "a/.env.sample",
            ".env.template",
            ".env.dist",
            ".env.schema",
            ".env.production.example",
            ".env_example",
            ".env-sample",
            ".env_production.example",
            ".dev.vars.example",
            ".streamlit/secrets.toml.example",
            "local.settings.json.sample",
            "example.env",
            "wp-config-sample.php",
            "docker/web.env.dist",
            ".npmrc.example",
            "terraform.tfvars.example",
        ] {
            assert_eq!(treatment(path), Some(Treatment::Spare), "{path}");
        }
        for path in [
            "README.md",
            "src/environment.rs",
            "env.js",
            "keystore.c",
            "id_rsa.pub",
            "netrc.py",
            "config.json",
            "secrets.toml",
            "dev.vars",
            "local.settings.example.json",
            "settings.json.md",
        ] {
            assert_eq!(treatment(path), None, "{path}");
        }
    }
}
