//! The table of `docs/dashboards-proof.md`.

use std::fmt::Write;

use crate::support::dashboard::Query;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/dashboards-proof.md");

/// Lines of a table.
#[derive(Debug, Default)]
pub struct Proof {
    lines: String,
}

impl Proof {
    /// What a query of a panel gave, for each choice.
    pub fn add(&mut self, query: &Query, seen: &[String]) {
        let (id, kind, title) = &query.panel;
        let number = if query.number == 0 { String::new() } else { format!(", query {}", query.number + 1) };
        writeln!(self.lines, "| {id} | {title}{number} | {kind} | {} |", seen.join(" | ")).unwrap();
    }

    /// How many values a variable offered, for All and for one task.
    pub fn add_variable(&mut self, name: &str, offered: impl Iterator<Item = usize>) {
        let offered: Vec<String> = offered.map(|count| format!("{count} offered")).collect();
        writeln!(self.lines, "| | `{name}` | variable | {} | |", offered.join(" | ")).unwrap();
    }

    /// The whole table.
    pub fn table(&self) -> String {
        let columns = self.lines.lines().next().unwrap_or_default().matches(" | ").count() - 2;
        let heads = &[" All |", " Chosen runs of boot32 |", " SCDF's link |"][..columns];
        let line = " --- |".repeat(3 + columns);
        format!("| Id | Panel | Type |{}\n|{line}\n{}", heads.concat(), self.lines)
    }
}

/// Compares the table with the one between the marks of that name, or writes it there.
#[allow(clippy::disallowed_methods, reason = "whether to check or to write is for who starts the test")]
pub fn same_as_documented(name: &str, table: &str) {
    let marks = [format!("<!-- table: {name} -->\n"), format!("<!-- end of {name} -->\n")];
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(&marks[0]).unwrap();
    let (old, after) = rest.split_once(&marks[1]).unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(PAGE, [before, &marks[0], table, &marks[1], after].concat()).unwrap();
    } else {
        assert_eq!(old, table, "{PAGE} says something else; UPDATE_DOCS=1 writes what was seen");
    }
}
