//! Markdown tables and numbers in them. Knows nothing of what the numbers mean.

use std::fmt::Write;

/// A table; the first column is left-aligned, the others are numbers.
#[derive(Debug)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    text_columns: usize,
}

impl Table {
    /// An empty table, whose first `text_columns` columns are left-aligned.
    pub fn new(header: impl IntoIterator<Item = impl Into<String>>, text_columns: usize) -> Self {
        Self {
            header: header.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
            text_columns,
        }
    }

    /// Adds a row.
    pub fn push(&mut self, row: impl IntoIterator<Item = String>) {
        self.rows.push(row.into_iter().collect());
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// As Markdown, columns padded so that it is readable as it is.
    pub fn render(&self) -> String {
        let columns = self.header.len();
        let cell = |row: &[String], column: usize| {
            row.get(column)
                .map(|text| text.replace('|', "\\|"))
                .unwrap_or_default()
        };
        let lines = || std::iter::once(&self.header).chain(&self.rows);
        let width = |column| {
            lines()
                .map(|row| cell(row, column).chars().count())
                .max()
                .unwrap_or(0)
                .max(3)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = String::new();
        for (number, row) in lines().enumerate() {
            out.push('|');
            for (column, width) in widths.iter().enumerate() {
                let text = cell(row, column);
                let _ = if column < self.text_columns {
                    write!(out, " {text:width$} |")
                } else {
                    write!(out, " {text:>width$} |")
                };
            }
            out.push('\n');
            if number == 0 {
                out.push('|');
                for (column, width) in widths.iter().enumerate() {
                    let dashes = "-".repeat(width + 1);
                    let _ = if column < self.text_columns {
                        write!(out, "-{dashes}|")
                    } else {
                        write!(out, "{dashes}:|")
                    };
                }
                out.push('\n');
            }
        }
        out
    }
}

/// A figure in thousands, with three digits or so.
pub fn thousands(value: f64) -> String {
    let value = value / 1e3;
    let decimals = if value >= 100.0 { 0 } else { 1 };
    group(&format!("{value:.decimals$}"))
}

/// A figure with as many decimals as its size deserves.
pub fn plain(value: f64) -> String {
    let decimals = if value.abs() >= 100.0 { 0 } else { 1 };
    group(&format!("{value:.decimals$}"))
}

/// `1.62x`.
pub fn times(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}x"))
}

/// Sets commas between groups of three digits of the whole part.
fn group(number: &str) -> String {
    let (sign, number) = number
        .strip_prefix('-')
        .map_or(("", number), |rest| ("-", rest));
    let (whole, fraction) = number
        .find('.')
        .map_or((number, ""), |point| number.split_at(point));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_padded_markdown() {
        let mut table = Table::new(["name", "k op/s"], 1);
        table.push(["a|b".to_owned(), "1.0".to_owned()]);
        table.push(["longer name".to_owned()]);
        assert_eq!(
            table.render(),
            "| name        | k op/s |\n\
             |-------------|-------:|\n\
             | a\\|b        |    1.0 |\n\
             | longer name |        |\n"
        );
    }

    #[test]
    fn numbers_have_about_three_digits_and_commas() {
        assert_eq!(thousands(76_340.0), "76.3");
        assert_eq!(thousands(4_350_400.0), "4,350");
        assert_eq!(plain(1_234_567.0), "1,234,567");
        assert_eq!(plain(-16.26), "-16.3");
        assert_eq!(times(Some(1.618)), "1.62x");
        assert_eq!(times(None), "-");
    }
}
