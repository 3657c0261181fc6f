//! Words of a command that a person copies.

/// Quotes a word for a shell, where it needs to be.
pub(crate) fn in_shell(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    if !word.is_empty() && !word.starts_with('-') && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_each_word_as_it_is() {
        for word in [".", "/a/b-c.d", "a b", "it's", "$(id)", "-x", "a;b", "", "ä", "a\nb"] {
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", in_shell(word))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), word);
        }
        assert_eq!((in_shell("/a/b"), in_shell("a b")), ("/a/b".to_owned(), "'a b'".to_owned()));
    }
}
