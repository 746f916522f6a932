//! HTML that nothing in it can break: markup is written in the code alone, and all that comes from elsewhere goes
//! through [`HtmlPage::text`].

use crossfade::visible::visible;

/// A page that is being written.
#[derive(Default)]
pub struct HtmlPage(String);

/// A column of a table.
#[derive(Clone, Copy)]
pub struct HtmlColumn {
    name: &'static str,
    is_number: bool,
}

/// A column of words.
pub const WORD: HtmlColumn = HtmlColumn {
    name: "",
    is_number: false,
};
/// A column of numbers.
pub const NUMBER: HtmlColumn = HtmlColumn {
    name: "",
    is_number: true,
};

impl HtmlColumn {
    pub fn named(self, name: &'static str) -> Self {
        HtmlColumn { name, ..self }
    }
}

impl HtmlPage {
    /// Markup of the code's own.
    pub fn markup(&mut self, html: &'static str) {
        self.0.push_str(html);
    }

    /// Text from elsewhere, so that it is text: in content and in quoted attributes.
    pub fn text(&mut self, text: &str) {
        for c in visible(text).chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                c => self.0.push(c),
            }
        }
    }

    /// A paragraph.
    pub fn paragraph(&mut self, text: &str) {
        self.markup("<p>");
        self.text(text);
        self.markup("</p>\n");
    }

    /// A paragraph about what isn't known.
    pub fn unknown(&mut self, text: &str) {
        self.markup("<p class=\"unknown\">");
        self.text(text);
        self.markup("</p>\n");
    }

    /// A table. Cells of letters that run from right to left leave their neighbours alone.
    pub fn table(&mut self, columns: &[HtmlColumn], rows: &[Vec<String>]) {
        self.markup("<table>\n<thead><tr>");
        for column in columns {
            self.cell("th", column.is_number, column.name);
        }
        self.markup("</tr></thead>\n<tbody>\n");
        for row in rows {
            self.markup("<tr>");
            for (cell, column) in row.iter().zip(columns) {
                self.cell("td", column.is_number, cell);
            }
            self.markup("</tr>\n");
        }
        self.markup("</tbody>\n</table>\n");
    }

    fn cell(&mut self, tag: &'static str, is_number: bool, text: &str) {
        self.markup("<");
        self.markup(tag);
        self.markup(if is_number { " class=\"number\">" } else { ">" });
        self.markup("<bdi>");
        self.text(text);
        self.markup("</bdi></");
        self.markup(tag);
        self.markup(">");
    }

    /// Attributes of a drawing.
    pub fn numbers(&mut self, attributes: &[(&'static str, f64)]) {
        for (name, value) in attributes {
            self.markup(name);
            self.markup("=\"");
            self.text(&format!("{value:.1}"));
            self.markup("\" ");
        }
    }

    /// The page so far.
    pub fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_elsewhere_is_text() {
        let mut page = HtmlPage::default();
        page.table(
            &[WORD.named("key")],
            &[vec![
                "</td><script src=\"http://x\">'&\u{202e}\u{0}\n\u{1b}".to_owned(),
            ]],
        );
        let html = page.finish();
        let cell = "<td><bdi>&lt;/td&gt;&lt;script src=&quot;http://x&quot;&gt;&#39;&amp;\\u{202e}\\u{0}\\n\\u{1b}</bdi></td>";
        assert!(html.contains(cell), "{html}");
    }
}
