//! Tables as text: aligned for a terminal, or as Markdown.

use super::{Machine, Results};

/// A table with a title and notes.
#[derive(Debug)]
pub(crate) struct Table {
    title: &'static str,
    notes: Vec<String>,
    code: Option<&'static str>,
    head: Vec<&'static str>,
    // Invariant: every row is as long as the head.
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Without rows.
    pub(super) fn new(title: &'static str, head: &[&'static str]) -> Table {
        let (notes, code, head, rows) = (Vec::new(), None, head.to_vec(), Vec::new());
        Table { title, notes, code, head, rows }
    }

    /// Adds a sentence above the table.
    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Adds a program below the notes.
    pub(super) fn code(&mut self, code: &'static str) {
        self.code = Some(code);
    }

    /// Adds a row.
    pub(super) fn row(&mut self, row: Vec<String>) {
        assert_eq!(row.len(), self.head.len(), "a row has a cell for each column");
        self.rows.push(row);
    }

    fn lines(&self) -> impl Iterator<Item = Vec<&str>> {
        let head = std::iter::once(self.head.clone());
        head.chain(self.rows.iter().map(|row| row.iter().map(String::as_str).collect()))
    }

    fn widths(&self) -> Vec<usize> {
        let column = |index: usize| self.lines().map(|row| row[index].chars().count()).max();
        (0..self.head.len()).map(|index| column(index).unwrap_or(0)).collect()
    }
}

fn machine(machine: &Machine) -> String {
    format!(
        "{}: {} core(s) for the servers, {} for the load generator",
        machine.processor, machine.server_cores, machine.client_cores
    )
}

/// For a terminal.
pub(crate) fn plain(tables: &[Table], results: &Results) -> String {
    let mut text = format!("{}\n", machine(&results.machine));
    for table in tables {
        text += &format!("\n{}\n", table.title);
        for note in &table.notes {
            text += &wrapped(note);
        }
        for line in table.code.unwrap_or_default().lines() {
            text += &format!("    {line}\n");
        }
        let widths = table.widths();
        for row in table.lines().filter(|_| !table.rows.is_empty()) {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
            let line: Vec<String> = cells.collect();
            text += &format!("  {}\n", line.join("  ").trim_end());
        }
    }
    text
}

/// Breaks a note into lines a terminal has.
fn wrapped(note: &str) -> String {
    const COLUMNS: usize = 100;
    let mut text = String::new();
    let mut column = 0;
    for word in note.split_whitespace() {
        let length = word.chars().count();
        let starts_line = column == 0 || COLUMNS < column + 1 + length;
        if starts_line && column > 0 {
            text.push('\n');
        }
        text.push_str(if starts_line { "  " } else { " " });
        text.push_str(word);
        column = if starts_line { 2 + length } else { column + 1 + length };
    }
    text.push('\n');
    text
}

/// For a README.
pub(crate) fn markdown(tables: &[Table], results: &Results) -> String {
    let mut text = format!("Measured on {}.\n", machine(&results.machine));
    for table in tables {
        text += &format!("\n### {}\n\n", table.title);
        for note in &table.notes {
            text += &format!("{note}\n\n");
        }
        if let Some(code) = table.code {
            text += &format!("```lua\n{code}```\n\n");
        }
        for (number, row) in table.lines().filter(|_| !table.rows.is_empty()).enumerate() {
            let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
            text += &format!("| {} |\n", cells.join(" | "));
            if number == 0 {
                text += &format!("|{}\n", "---|".repeat(row.len()));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results() -> Results {
        let processor = "a chip".to_owned();
        Results::new(Machine { processor, server_cores: 1, client_cores: 1 })
    }

    fn table() -> Table {
        let mut table = Table::new("Title", &["what", "n"]);
        table.note("A note.".to_owned());
        table.row(vec!["a long one".to_owned(), "1".to_owned()]);
        table
    }

    #[test]
    fn a_terminal_gets_columns() {
        let expected = "a chip: 1 core(s) for the servers, 1 for the load generator\n\n\
                        Title\n  A note.\n  what        n\n  a long one  1\n";
        assert_eq!(plain(&[table()], &results()), expected);
    }

    #[test]
    fn markdown_gets_a_rule_below_the_head() {
        let text = markdown(&[table()], &results());
        assert!(
            text.ends_with("### Title\n\nA note.\n\n| what | n |\n|---|---|\n| a long one | 1 |\n")
        );
    }

    #[test]
    fn notes_are_wrapped_between_words() {
        let text = wrapped(&"word ".repeat(50));
        assert!(text.lines().count() == 3 && text.lines().all(|line| line.len() <= 100));
    }
}
