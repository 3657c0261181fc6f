//! The numbers that a person types.

/// Reads numbers from 1 with blanks or commas between them, as indices from 0, each once.
///
/// # Errors
/// With the word that is no number of the list.
pub(super) fn chosen(answer: &str, length: usize) -> Result<Vec<usize>, String> {
    let words = answer.split([' ', ',', '\t', '\r', '\n']).filter(|word| !word.is_empty());
    let mut numbers = Vec::new();
    for word in words {
        let digits = word.bytes().all(|byte| byte.is_ascii_digit());
        let number = word.parse().ok().filter(|number| digits && (1..=length).contains(number));
        let number: usize = number.ok_or_else(|| word.to_owned())?;
        if !numbers.contains(&(number - 1)) {
            numbers.push(number - 1);
        }
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_numbers_of_the_list() {
        assert_eq!(chosen("\n", 3), Ok(vec![]));
        assert_eq!(chosen("1 3\n", 3), Ok(vec![0, 2]));
        assert_eq!(chosen(" 2,1,,2\r\n", 3), Ok(vec![1, 0]));
        for (answer, word) in
            [("4", "4"), ("0", "0"), ("1 +2", "+2"), ("all", "all"), ("1-3", "1-3"), ("-1", "-1")]
        {
            assert_eq!(chosen(answer, 3), Err(word.to_owned()), "{answer}");
        }
    }
}
