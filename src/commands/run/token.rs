//! The agent's GitLab token: checked before the run, revoked after it.

use netpolicy::policy::Policy;

use crate::cli::run::RunArgs;
use crate::term::Failure;
use crate::workspace::token::{Source, Token};

/// Asks the instance about the token that the agent is to have, if any.
///
/// # Errors
/// When the policy does not permit what the token may do, or it cannot be revoked and shall be.
pub(crate) async fn check(args: &RunArgs, policy: &Policy) -> Result<Option<Token>, Failure> {
    let source = args.gitlab_token_env.as_deref().map(Source::Variable);
    let Some(source) = source.or(args.gitlab_token_glab.then_some(Source::Glab)) else { return Ok(None) };
    let ca = args.ca.as_ref().or(policy.container.ca.as_ref());
    let token = Token::check(source, args.policy.gitlab.as_deref(), ca, policy).await?;
    if args.revoke_token {
        token.can_be_revoked()?;
    }
    Ok(Some(token))
}

/// Revokes the token after the run. A failure is told, and changes nothing of how the run ended.
pub(crate) async fn revoke(token: Option<Token>) {
    if let Some(token) = token
        && let Err(failure) = token.revoke().await
    {
        failure.tell();
    }
}
