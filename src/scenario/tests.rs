//! The reader and the judge, held together: what a scenario says is what a case is judged by.

mod judged;
mod read_files;
