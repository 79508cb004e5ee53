//! What is wrong with a file, told all at once: place, text, suggestion, the line and a caret.
//!
//! A line that holds a secret is never shown: problems are printed, logged and sent to clients.

use std::fmt;

pub use headroom_core::suggest::closest;

/// A place in a file: line and column count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The first character.
    pub column: usize,
    /// How many characters are meant.
    pub width: usize,
}

impl Place {
    /// The first character of a file, for what is wrong with all of it.
    pub const START: Place = Place { line: 1, column: 1, width: 1 };
}

/// One thing wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where. `None`: the file could not even be read, or the value did not come from it.
    pub place: Option<Place>,
    /// What is wrong, lower case, without a full stop.
    pub message: String,
    /// The word that was probably meant.
    pub suggestion: Option<String>,
    /// Never show the line: whatever stands on it may be a secret.
    pub hides_line: bool,
    /// How many problems it stands for that are not listed. 0: it is one itself.
    pub left_out: usize,
}

impl Problem {
    /// A problem at a place.
    pub fn at(place: Place, message: impl Into<String>) -> Problem {
        Problem { place: Some(place), ..Problem::of_file(message) }
    }

    /// A problem of the file as a whole.
    pub fn of_file(message: impl Into<String>) -> Problem {
        let (message, suggestion) = (message.into(), None);
        Problem { place: None, message, suggestion, hides_line: false, left_out: 0 }
    }

    /// So many more of them.
    pub fn more(left_out: usize) -> Problem {
        let message = format!("and {left_out} more, which are not listed");
        Problem { left_out, ..Problem::of_file(message) }
    }

    /// Adds the one of `known` that is most like `word`, if one is like it at all.
    #[must_use]
    pub fn suggest<'a>(mut self, word: &str, known: impl IntoIterator<Item = &'a str>) -> Problem {
        self.suggestion = closest(word, known).map(str::to_owned);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.suggestion {
            Some(word) => write!(f, ", did you mean `{word}`?"),
            None => Ok(()),
        }
    }
}

/// Everything wrong with one file. It is an error: `Display` is the full report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    file: String,
    source: String,
    // Invariant: not empty, and sorted by place.
    list: Vec<Problem>,
}

impl std::error::Error for Problems {}

impl Problems {
    /// The problems of `file`, whose text is `source` (empty when it could not be read).
    ///
    /// # Panics
    /// Without any problem.
    pub fn new(file: &str, source: &str, mut list: Vec<Problem>) -> Problems {
        assert!(!list.is_empty(), "a refusal has a reason");
        list.sort_by(|a, b| {
            (a.left_out, a.place, &a.message).cmp(&(b.left_out, b.place, &b.message))
        });
        list.dedup();
        Problems { file: file.to_owned(), source: source.to_owned(), list }
    }

    /// One line each, as `catalog.yaml:14:5: unknown key …`.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.list.iter().map(|problem| self.headline(problem))
    }

    /// Lines as [`Problems::lines`] has them, of what may be nothing.
    pub fn lines_of(file: &str, list: impl Iterator<Item = Problem>) -> Vec<String> {
        let list: Vec<Problem> = list.collect();
        match list.is_empty() {
            true => Vec::new(),
            false => Problems::new(file, "", list).lines().collect(),
        }
    }

    /// The problems, sorted by place.
    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// For programs.
    pub fn to_json(&self) -> Vec<serde_json::Value> {
        let json = |problem: &Problem| {
            serde_json::json!({
                "file": self.file,
                "line": problem.place.map(|place| place.line),
                "column": problem.place.map(|place| place.column),
                "message": problem.message,
                "suggestion": problem.suggestion,
            })
        };
        self.list.iter().map(json).collect()
    }

    fn headline(&self, problem: &Problem) -> String {
        match problem.place {
            Some(Place { line, column, .. }) => format!("{}:{line}:{column}: {problem}", self.file),
            None => format!("{}: {problem}", self.file),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<&str> = self.source.lines().collect();
        for problem in &self.list {
            writeln!(f, "{}", self.headline(problem))?;
            if let Some(place) = problem.place
                && let Some(text) = lines.get(place.line - 1)
                && !holds_secret(text, problem)
            {
                excerpt(f, text, place)?;
            }
        }
        match self.list.iter().map(|problem| problem.left_out.max(1)).sum::<usize>() {
            1 => write!(f, "1 problem in {}", self.file),
            count => write!(f, "{count} problems in {}", self.file),
        }
    }
}

/// The line and a caret below what is meant, cut to a width that terminals have.
fn excerpt(f: &mut fmt::Formatter<'_>, text: &str, place: Place) -> fmt::Result {
    const BEFORE_CHARS: usize = 80;
    const LINE_CHARS_MAX: usize = 110;
    if text.trim().is_empty() {
        return Ok(());
    }
    let skipped = (place.column - 1).saturating_sub(BEFORE_CHARS);
    let shown: String = text
        .chars()
        .skip(skipped)
        .take(LINE_CHARS_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let number = place.line.to_string();
    let blank = " ".repeat(number.len());
    let indent = " ".repeat(place.column - 1 - skipped);
    let room = shown.chars().count().saturating_sub(indent.len()).max(1);
    let carets = "^".repeat(place.width.clamp(1, room));
    writeln!(f, "{number} | {}", shown.trim_end())?;
    writeln!(f, "{blank} | {indent}{carets}")
}

/// Whether showing a line could show a secret, also where the key of one is mistyped.
fn holds_secret(text: &str, problem: &Problem) -> bool {
    let meant = problem.suggestion.as_deref().unwrap_or("");
    let has_password = text.split_once("://").is_some_and(|(_, rest)| rest.contains('@'));
    problem.hides_line
        || has_password
        || ["secret", "whsec_"].iter().any(|word| text.contains(word) || meant.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_closest(word: &str, expected: Option<&str>) {
        let known = ["soft_limits", "included", "policy", "on", "off"];
        assert_eq!(closest(word, known), expected, "{word}");
    }

    #[test]
    fn a_suggestion_is_a_likely_typing_error() {
        check_closest("sof_limits", Some("soft_limits"));
        check_closest("Soft_Limits", Some("soft_limits"));
        check_closest("inlcuded", Some("included"));
        check_closest("om", Some("on"));
        check_closest("incl", Some("included"));
        check_closest("price", None);
        check_closest("", None);
        check_closest(&"soft_limits".repeat(10), None);
    }

    #[test]
    fn the_report_is_sorted_and_points_at_the_place() {
        let place = |line, column, width| Place { line, column, width };
        let list = vec![
            Problem::at(place(2, 3, 4), "unknown key `colr`").suggest("colr", ["color"]),
            Problem::at(place(1, 1, 90), "too long"),
            Problem::at(place(3, 1, 6), "no secret"),
            Problem::of_file("too large"),
        ];
        let problems = Problems::new("f.yaml", "first:\n  colr: red\nsecret: 5", list);
        let expected = "\
f.yaml: too large
f.yaml:1:1: too long
1 | first:
  | ^^^^^^
f.yaml:2:3: unknown key `colr`, did you mean `color`?
2 |   colr: red
  |   ^^^^
f.yaml:3:1: no secret
4 problems in f.yaml";
        assert_eq!(problems.to_string(), expected);
        let json = problems.to_json();
        assert_eq!(json[2]["line"], 2);
        assert_eq!(json[2]["suggestion"], "color");
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let source = format!("{}here{}", "x".repeat(300), "y".repeat(300));
        let place = Place { line: 1, column: 301, width: 4 };
        let shown = Problems::new("f", &source, vec![Problem::at(place, "m")]).to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[1].find("here"), lines[2].find("^^^^"));
        assert_eq!(lines[1].len(), 4 + 110);
    }
}
