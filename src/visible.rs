//! Text of others, so that a terminal shows it and does nothing else.

use std::borrow::Cow;
use std::fmt::Write;

/// A text on one line, with everything escaped that moves a cursor, begins a line, colours, or turns the
/// order of what follows: keys, values, names and servers' messages can't pass for something else.
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, acts)
}

/// The same for several lines.
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && acts(c))
}

/// A JSON text, in whose strings such characters are escaped as JSON does it. (`serde_json` escapes those
/// below U+0020 only.)
pub fn visible_json(json: &str) -> Cow<'_, str> {
    if !json.contains(acts) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 8);
    for c in json.chars() {
        // All of them are below U+10000, and inside a string.
        let _ = match acts(c) {
            true => write!(out, "\\u{:04x}", u32::from(c)),
            false => out.write_char(c),
        };
    }
    Cow::Owned(out)
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match is_escaped(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Control characters (C0, DEL, C1), separators of lines and paragraphs, and what embeds, overrides, isolates
/// or marks directions.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_acts_on_a_terminal() {
        assert_eq!(visible("a#b \\ ä€😀"), "a#b \\ ä€😀");
        assert_eq!(
            visible("a\u{1b}[2J\r\n\t\u{7f}\u{9b}2J\u{202e}\u{2067}\u{2028}"),
            "a\\u{1b}[2J\\r\\n\\t\\u{7f}\\u{9b}2J\\u{202e}\\u{2067}\\u{2028}"
        );
        assert_eq!(visible_lines("a\nb\u{7}"), "a\nb\\u{7}");
        assert_eq!(
            visible_json("{\"a\":\"\u{9b}\u{202e}\u{7f}\"}"),
            "{\"a\":\"\\u009b\\u202e\\u007f\"}"
        );
    }
}
