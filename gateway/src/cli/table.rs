//! Tables for people: columns by what letters take on a terminal, where Chinese ones take two places.

use std::io::Write;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

/// A column's head, and whether numbers stand in it.
pub(super) type Column = (&'static str, bool);

/// Prints rows under their heads.
pub(super) fn print(
    out: &mut dyn Write,
    columns: &[Column],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> std::io::Result<()> {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(columns.iter().map(|(head, _)| *head));
    for row in rows {
        table.add_row(row.iter().map(|cell| plain(cell)));
    }
    for (index, (_, number)) in columns.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
            if *number {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    writeln!(out, "{}", table.trim_fmt())
}

/// A text without control characters: what a device says of itself must not steer a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_behind_chinese_names_and_numbers_stand_right() {
        let mut out = Vec::new();
        let rows = [
            ["登记".to_owned(), "7".to_owned(), "x".to_owned()],
            ["portal".to_owned(), "12".to_owned(), "y".to_owned()],
        ];
        print(&mut out, &[("GROUP", false), ("LOAD", true), ("END", false)], rows.map(Vec::from)).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "GROUP   LOAD  END\n登记       7  x\nportal    12  y\n");
    }

    #[test]
    fn a_text_cannot_steer_the_terminal() {
        assert_eq!(plain("a\x1b[31mb\nc"), "a [31mb c");
    }
}
