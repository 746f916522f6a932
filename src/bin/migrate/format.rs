//! Numbers and sizes as people read them.

use crossfade::visible::{visible, visible_json, visible_lines};

/// `1234567` as `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1536` as `1.5 KB`.
pub fn bytes(bytes: u64) -> String {
    let units = ["B", "KB", "MB", "GB", "TB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < units.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{size:.1} {}", units[unit])
    }
}

/// Seconds as `2 h 05 min`, `3 min 20 s` or `12 s`.
pub fn time(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

/// Seconds since 1970 as `2026-12-05T19:00:00Z`.
pub fn moment(at: i64) -> String {
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;
    let at = OffsetDateTime::from_unix_timestamp(at).ok();
    at.and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| "another day".to_owned())
}

/// Writes lines to stdout, with nothing in them that acts on a terminal. A reader that has gone away (`| head`) has seen enough.
pub fn print(text: &str) {
    use std::io::Write;
    if let Err(error) = writeln!(std::io::stdout(), "{}", visible_lines(text)) {
        if error.kind() != std::io::ErrorKind::BrokenPipe {
            eprintln!("error: can't write to stdout: {error}");
        }
        std::process::exit(crate::Exit::Error as i32);
    }
}

/// A line of JSON, its fields in the order they are declared.
pub fn json(line: &impl serde::Serialize) -> String {
    // Nothing that is shown has keys that aren't text, the one thing JSON can't have.
    let json = serde_json::to_string(line).unwrap_or_default();
    visible_json(&json).into_owned()
}

/// A table of results: as [`table`] where that fits the terminal, else a paragraph for each row.
pub fn results(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let columns = columns();
    let whole = table(header, rows.clone());
    let fits = |most| whole.lines().all(|line| line.chars().count() <= most);
    match columns {
        Some(most) if !fits(most) => paragraphs(header, &rows, most),
        Some(_) | None => whole,
    }
}

/// A row's first cells, and below it what else it has, cut between cells.
fn paragraphs(header: &[&str], rows: &[Vec<String>], most: usize) -> String {
    let mut lines = Vec::new();
    for row in rows {
        let mut cells = header.iter().zip(row).map(|(name, cell)| match *name {
            "" => visible(cell).into_owned(),
            name => format!("{name} {}", visible(cell)),
        });
        let mut line = cells.next().unwrap_or_default();
        for cell in cells.filter(|cell| !cell.is_empty()) {
            if line.chars().count() + 2 + cell.chars().count() > most {
                lines.push(std::mem::replace(&mut line, format!("  {cell}")));
            } else {
                line = format!("{line}, {cell}");
            }
        }
        lines.push(line);
    }
    lines.join("\n")
}

/// Columns of the terminal that stdout is; none if it is none.
fn columns() -> Option<usize> {
    use std::io::IsTerminal;
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok();
    Some(size.map_or(80, |size| usize::from(size.ws_col)).max(20))
}

/// A table without lines around it.
pub fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(header.to_vec());
    rows.into_iter().for_each(|row| {
        table.add_row(row.iter().map(|cell| visible(cell)));
    });
    table
        .to_string()
        .lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_doesnt_fit_is_cut_between_cells() {
        let row = ["votes", "copied", "1,000,000", "0"]
            .map(str::to_owned)
            .to_vec();
        let header = ["table", "", "read", "dead letters"];
        let text = paragraphs(&header, &[row.clone(), row], 30);
        let one =
            "table votes, copied\n  read 1,000,000\n  dead letters 0".replace("\n  dead", ", dead");
        assert!(
            text.lines().all(|line| line.chars().count() <= 30),
            "{text}"
        );
        assert_eq!(
            text.replace("\n  ", ", "),
            format!("{0}\n{0}", one.replace("\n  ", ", "))
        );
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(0), "0");
        assert_eq!(count(123), "123");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(bytes(1_023), "1023 B");
        assert_eq!(bytes(1_536), "1.5 KB");
        assert_eq!(time(59.6), "1 min 00 s");
        assert_eq!(time(7_500.0), "2 h 05 min");
    }
}
