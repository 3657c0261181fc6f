//! The agent's variables: what was given, the token, a home, and who the agent is to git.

use super::files::Files;
use super::inputs::AgentInputs;
use crate::cli::run::RunArgs;
use crate::supervisor::spec::environment::OWN;
use crate::supervisor::spec::places::WORKSPACE;
use crate::term::{self, Warning};
use crate::workspace::identity::{self, Settings, TOKEN};
use crate::workspace::masks::Plan;
use crate::workspace::mounts::Bind;
use crate::workspace::secrets::Handed;
use crate::workspace::token::Token;

/// Returns the agent's variables, as far as they do not depend on the engine.
pub(crate) fn variables(
    args: &RunArgs,
    files: &Files,
    given: &AgentInputs,
    masks: &[Plan],
    token: Option<&Token>,
) -> Vec<String> {
    let mut env = given.env.clone();
    for name in OWN.into_iter().filter(|name| env.iter().any(|pair| pair.split('=').next() == Some(name))) {
        term::warn(Warning::VariableReplaced(name));
    }
    env.extend(token.map(Token::variable));
    if args.read_only
        && args.home.is_none()
        && args.user.is_none()
        && files.owner.is_some()
        && !env.iter().any(|pair| pair.starts_with("HOME="))
    {
        // No account can be added, and no home be written.
        env.push("HOME=/tmp".to_owned());
    }
    let config = match &files.worktree {
        Some(worktree) => Some((&worktree.git, "config")),
        None => files.project().map(|project| (project, ".git/config")),
    };
    git_settings(config, masks, args.policy.gitlab.as_deref(), &env, &given.handed).lay_on(&mut env);
    env
}

/// Returns who the agent is to git.
fn git_settings(
    config: Option<(&Bind, &str)>,
    masks: &[Plan],
    gitlab: Option<&str>,
    env: &[String],
    handed: &[Handed],
) -> Settings {
    let mut settings = Settings::default();
    settings.for_covers(masks);
    if let Some(config) = config {
        settings.for_project(WORKSPACE, config);
    }
    let has_token = handed.iter().any(|file| file.name == TOKEN)
        || env.iter().any(|pair| pair.split_once('=').is_some_and(|(name, _)| name == TOKEN));
    if has_token && let Some(authority) = identity::authority(gitlab.unwrap_or("https://gitlab.com")) {
        settings.for_instance(authority);
    }
    settings
}
