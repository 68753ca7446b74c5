//! The result on the terminal, as Markdown, and as CSV.

use std::{fmt::Write as _, path::Path};

use anyhow::Context as _;

use crate::{goal::Goal, report::Row};

/// The columns of the CSV.
const COLUMNS: &str = "workload,clients,subject,per_second,p50_ms,p99_ms";

/// Writes the rows; a figure that there is not stays empty.
pub fn write_csv(path: &Path, rows: &[Row]) -> anyhow::Result<()> {
    let mut text = format!("{COLUMNS}\n");
    for row in rows {
        let ms = |value: Option<f64>| value.map_or_else(String::new, |ms| format!("{ms:.3}"));
        let Row { workload, clients, subject, per_second, .. } = row;
        writeln!(text, "{workload},{clients},{subject},{per_second:.1},{},{}", ms(row.p50_ms), ms(row.p99_ms))?;
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Both tables as Markdown, which reads well on a terminal too.
pub fn markdown(rows: &[Row], goals: &[Goal], notes: &[String]) -> String {
    let head = ["workload", "clients", "subject", "a second", "p50 ms", "p99 ms", "remarks"];
    let ms = |value: Option<f64>| value.map_or_else(String::new, |ms| format!("{ms:.2}"));
    let body: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let mut remarks = row.way.clone();
            if row.conflicts > 0 {
                let comma = if remarks.is_empty() { "" } else { ", " };
                remarks += &format!("{comma}{:.0} conflicts shown per 1,000", row.conflicts_per_thousand);
            }
            vec![
                row.workload.to_owned(),
                row.clients.to_string(),
                row.subject.clone(),
                grouped(row.per_second),
                ms(row.p50_ms),
                ms(row.p99_ms),
                remarks,
            ]
        })
        .collect();
    let mut text = table(&head, &body, &[1, 3, 4, 5]);
    text.push('\n');
    let wanted: Vec<Vec<String>> = goals
        .iter()
        .map(|goal| vec![goal.what.clone(), goal.measured_text(), goal.wanted_text(), goal.verdict()])
        .collect();
    text += &table(&["goal", "measured", "wanted", "verdict"], &wanted, &[1, 2]);
    text.push('\n');
    for note in notes {
        text += &format!("- {note}\n");
    }
    text
}

/// A Markdown table whose columns are as wide as their widest cell; the columns in `right` hold numbers.
fn table(head: &[&str], body: &[Vec<String>], right: &[usize]) -> String {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let width =
        |column: usize| body.iter().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or(0).max(3);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: &[String]| {
        for (column, cell) in cells.iter().enumerate() {
            let width = widths[column];
            text += &if right.contains(&column) { format!("| {cell:>width$} ") } else { format!("| {cell:<width$} ") };
        }
        text += "|\n";
    };
    line(&head);
    let rule: Vec<String> = widths
        .iter()
        .enumerate()
        .map(
            |(column, width)| {
                if right.contains(&column) { format!("{}:", "-".repeat(width - 1)) } else { "-".repeat(*width) }
            },
        )
        .collect();
    line(&rule);
    for row in body {
        line(row);
    }
    text
}

/// `12,345.6` below a hundred with its decimal, above without.
fn grouped(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{grouped, table};

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(1_234_567.4), "1,234,567");
        assert_eq!(grouped(999.0), "999");
        assert_eq!(grouped(12.34), "12.3");
    }

    #[test]
    fn a_table_is_aligned() {
        let text = table(&["a", "b"], &[vec!["long".to_owned(), "1".to_owned()]], &[1]);
        assert_eq!(text, "| a    |   b |\n| ---- | --: |\n| long |   1 |\n");
    }
}
