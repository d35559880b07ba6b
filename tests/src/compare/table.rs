//! Lays a table out in columns that are as wide as what stands in them.

/// On which side a column's texts stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// A table for a terminal. Heads and cells may have several lines.
#[derive(Debug, Clone, Default)]
pub struct Table {
    heads: Vec<(String, Side)>,
    rows: Vec<Row>,
}

#[derive(Debug, Clone)]
enum Row {
    Cells(Vec<String>),
    Across(String),
    Blank,
}

impl Table {
    /// Adds a column.
    pub fn column(&mut self, head: &str, side: Side) {
        self.heads.push((head.to_owned(), side));
    }

    /// Adds a row; what is missing is empty.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(Row::Cells(cells));
    }

    /// Adds a line across all columns. It may be broken between words.
    pub fn across(&mut self, text: impl Into<String>) {
        self.rows.push(Row::Across(text.into()));
    }

    /// Adds an empty line.
    pub fn blank(&mut self) {
        self.rows.push(Row::Blank);
    }

    /// The columns an ordinary row takes, with this many between two columns.
    #[must_use]
    pub fn width(&self, gap: usize) -> usize {
        self.widths().iter().sum::<usize>() + gap * self.heads.len().saturating_sub(1)
    }

    /// The lines, with `gap` between two columns. Lines across are at most `widest`; ordinary rows are
    /// as wide as [`width`](Self::width) says.
    #[must_use]
    pub fn lines(&self, gap: usize, widest: usize) -> Vec<String> {
        let widths = self.widths();
        let heads: Vec<String> = self.heads.iter().map(|(head, _)| head.clone()).collect();
        let mut lines = self.cells(&lowered(&heads), &widths, gap);
        lines.push("─".repeat(self.width(gap)));
        for row in &self.rows {
            match row {
                Row::Cells(cells) => lines.extend(self.cells(cells, &widths, gap)),
                Row::Across(text) => lines.extend(wrapped(text, widest)),
                Row::Blank => lines.push(String::new()),
            }
        }
        lines
    }

    fn widths(&self) -> Vec<usize> {
        let column = |index: usize| {
            let cells = self.rows.iter().filter_map(move |row| match row {
                Row::Cells(cells) => cells.get(index),
                Row::Across(_) | Row::Blank => None,
            });
            let texts = cells.map(String::as_str).chain([self.heads[index].0.as_str()]);
            texts.flat_map(str::lines).map(width).max().unwrap_or(0)
        };
        (0..self.heads.len()).map(column).collect()
    }

    /// One row, as many lines as its highest cell.
    fn cells(&self, cells: &[String], widths: &[usize], gap: usize) -> Vec<String> {
        let height = cells.iter().map(|cell| cell.lines().count()).max().unwrap_or(0).max(1);
        let line = |number: usize| {
            let mut line = String::new();
            for (index, (column, (_, side))) in widths.iter().zip(&self.heads).enumerate() {
                let text = cells.get(index).and_then(|cell| cell.lines().nth(number));
                let text = text.unwrap_or_default();
                let fill = " ".repeat(column - width(text));
                let between = " ".repeat(if index == 0 { 0 } else { gap });
                line += &between;
                match side {
                    Side::Right => line.extend([&fill, text]),
                    Side::Left => line.extend([text, &fill]),
                }
            }
            line.truncate(line.trim_end().len());
            line
        };
        (0..height).map(line).collect()
    }
}

/// Heads stand right above the rule.
fn lowered(heads: &[String]) -> Vec<String> {
    let height = heads.iter().map(|head| head.lines().count()).max().unwrap_or(0);
    heads.iter().map(|head| "\n".repeat(height - head.lines().count()) + head).collect()
}

/// How many columns a text takes: all that is written here takes one for each character.
#[must_use]
pub fn width(text: &str) -> usize {
    text.chars().count()
}

/// The text in lines of at most `widest`, broken between words, or within one that is longer. What
/// follows the first line is indented by two more.
#[must_use]
pub fn wrapped(text: &str, widest: usize) -> Vec<String> {
    let widest = widest.max(12);
    let indent = text.chars().take_while(|c| *c == ' ').count().min(widest / 2);
    let mut lines = Vec::new();
    let mut line = " ".repeat(indent);
    let mut fresh = true;
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let space = usize::from(!fresh);
            let room = widest.saturating_sub(width(&line) + space);
            if word.len() <= room {
                line += if fresh { "" } else { " " };
                line.extend(&word);
                fresh = false;
                break;
            }
            if fresh {
                line.extend(word.drain(..room));
            }
            lines.push(std::mem::replace(&mut line, " ".repeat((indent + 2).min(widest / 2))));
            fresh = true;
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_line() {
        let mut table = Table::default();
        table.column("layer", Side::Left);
        table.column("deli-\nvered", Side::Right);
        table.column("answers", Side::Left);
        table.across("redis");
        table.row(vec!["bare".into(), "1,234,567".into(), "queued 7\nopen 12".into()]);
        table.row(vec!["counted".into(), "5".into()]);
        let text = table.lines(2, 80).join("\n");
        let wanted = "             deli-
layer        vered  answers
────────────────────────────
redis
bare     1,234,567  queued 7
                    open 12
counted          5";
        assert_eq!(text, wanted);
        assert_eq!(table.width(2), 28);
        assert_eq!(table.width(1), 26);
    }

    #[test]
    fn text_is_broken_between_words() {
        assert_eq!(wrapped("  one two three four", 13), ["  one two", "    three", "    four"]);
        assert_eq!(wrapped("", 20), [""]);
        for widest in 12..40 {
            let lines = wrapped("what is µs long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa b", widest);
            assert!(lines.iter().all(|line| width(line) <= widest), "{lines:?}");
            let all: String = lines.concat().split_whitespace().collect();
            assert_eq!(all, "whatisµslong:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab");
        }
    }
}
