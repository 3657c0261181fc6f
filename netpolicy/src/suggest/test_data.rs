//! Files of tests: projects that are made up so that a test has something to read, and names that
//! tests alone need.

/// Names of folders that hold data of tests, by custom of a language or a tool.
const DATA: &[&str] = &[
    "fixture",
    "fixtures",
    "__fixtures__",
    "test-data",
    "test-fixtures",
    "test_data",
    "test_fixtures",
    "testdata",
    "testfixtures",
];
/// Folders of test data of maven and gradle, which have this meaning only beside each other.
const DATA_OF_MAVEN: &[&str] = &["src/test/resources", "src/it"];
/// Names of folders that hold tests.
const TESTS: &[&str] = &["__tests__", "spec", "specs", "test", "tests", "testsuite"];

/// Tells whether a folder holds data of tests. `folder` is relative to the project, with `/`.
pub fn is_test_data(folder: &str) -> bool {
    let mut names = folder.split('/');
    names.next_back().is_some_and(|name| DATA.contains(&name))
        || DATA_OF_MAVEN.iter().any(|data| {
            folder.strip_suffix(data).is_some_and(|before| before.is_empty() || before.ends_with('/'))
        })
}

/// Tells whether a file lies below a folder of tests.
pub(super) fn is_of_tests(path: &str) -> bool {
    let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
    folders.split('/').any(|name| TESTS.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_names_count_and_no_part_of_one() {
        for folder in ["fixtures", "tests/a/fixtures", "a/src/test/resources", "src/it", "pkg/testdata"] {
            assert!(is_test_data(folder), "{folder}");
        }
        for folder in
            ["", "tests", "my-fixtures", "src/main/resources", "othersrc/it", "it", "test/resources"]
        {
            assert!(!is_test_data(folder), "{folder}");
        }
        for (path, expected) in [("tests/a/go.sum", true), ("a/spec/Gemfile", true), ("tests", false)] {
            assert_eq!(is_of_tests(path), expected, "{path}");
        }
        assert!(!is_of_tests("latest/go.sum") && !is_of_tests("a/test.d/go.sum"));
    }
}
