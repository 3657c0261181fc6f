//! The agent's variables: what was given, the token, a home, and who the agent is to git.

use std::collections::BTreeSet;

use netpolicy::decide::{Decider, Question, Target};
use netpolicy::floor::Surroundings;
use netpolicy::host::HostName;
use netpolicy::policy::Policy;

use super::files::Files;
use super::inputs::AgentInputs;
use crate::cli::run::RunArgs;
use crate::host::clock;
use crate::supervisor::spec::environment::OWN;
use crate::supervisor::spec::places::WORKSPACE;
use crate::term::{self, Warning};
use crate::workspace::identity::{self, Settings, TOKEN};
use crate::workspace::masks::Plan;
use crate::workspace::mounts::Bind;
use crate::workspace::secrets::Handed;
use crate::workspace::ssh_remotes::{SshAccount, ssh_accounts};
use crate::workspace::token::Token;

/// Returns the agent's variables, as far as they do not depend on the engine.
pub(crate) fn variables(
    args: &RunArgs,
    files: &Files,
    policy: &Policy,
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
    let accounts = by_https(files, config, policy);
    git_settings(config, &accounts, masks, args.policy.gitlab.as_deref(), &env, &given.handed)
        .lay_on(&mut env);
    env
}

/// Returns the accounts of the project's remotes and submodules that git inside reaches by https,
/// since the policy permits that and not ssh; tells it.
fn by_https(files: &Files, config: Option<(&Bind, &str)>, policy: &Policy) -> Vec<SshAccount> {
    let modules = files.project().map(|project| (project, ".gitmodules"));
    let decider = Decider::new(policy.clone());
    let permits = |host: &HostName, port: u16| {
        let target = Target::Name(host.clone());
        let question = Question::about(&target, clock::today()).port(port);
        decider.decide(&Surroundings::default(), &question).allowed
    };
    let named = config.into_iter().chain(modules).flat_map(|(mount, path)| ssh_accounts(mount, path));
    let accounts: BTreeSet<SshAccount> =
        named.filter(|account| permits(&account.host, 443) && !permits(&account.host, 22)).collect();
    let hosts: BTreeSet<&str> = accounts.iter().map(|account| account.host.as_str()).collect();
    for host in hosts {
        term::talk(format_args!(
            "git inside uses https in the place of ssh for {host}: its port 22 is not permitted"
        ));
    }
    accounts.into_iter().collect()
}

/// Returns who the agent is to git.
fn git_settings(
    config: Option<(&Bind, &str)>,
    accounts: &[SshAccount],
    masks: &[Plan],
    gitlab: Option<&str>,
    env: &[String],
    handed: &[Handed],
) -> Settings {
    let mut settings = Settings::default();
    settings.for_covers(masks);
    settings.for_https(accounts);
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
