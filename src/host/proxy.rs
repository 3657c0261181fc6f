//! The credentials of a corporate proxy, as the caller's environment has them.

use crate::term::{COULD_NOT_RUN, Failure};

/// Reads `user:password` for the proxy from a variable of this name.
pub(crate) fn proxy_credentials(name: &str) -> Result<String, Failure> {
    read_credentials(name, std::env::var(name).ok())
}

/// Reads `user:password` from a variable. The error never has the value.
fn read_credentials(name: &str, value: Option<String>) -> Result<String, Failure> {
    let cannot = |why: &str| {
        Failure::new(COULD_NOT_RUN, format!("the proxy's credentials: the variable {name} {why}"))
            .hint(format!("export {name}=USER:PASSWORD before the run"))
    };
    match value {
        None => Err(cannot("is not set here")),
        Some(value) if !value.contains(':') || value.chars().any(char::is_control) => {
            Err(cannot("does not hold USER:PASSWORD"))
        }
        Some(value) => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_from_the_variable_and_never_shown() {
        assert_eq!(read_credentials("PROXY", Some("u:p".to_owned())).unwrap(), "u:p");
        for bad in [None, Some("no-colon-s3cret"), Some("s3cret:\n")] {
            let failure = read_credentials("PROXY", bad.map(str::to_owned)).unwrap_err();
            assert!(!failure.to_string().contains("s3cret"), "{failure}");
            assert!(failure.to_string().contains("PROXY"), "{failure}");
        }
    }
}
