//! Drawings: a second is never lost in them. Where there are more seconds than columns, a column is as high as the
//! highest of its seconds.

use std::fmt::Write;

use super::html::HtmlPage;
use crate::format;

/// Columns of a drawing, and its height, in units of its own.
const COLUMNS: i64 = 900;
const HEIGHT: f64 = 90.0;

/// What was measured in single seconds: seconds since 1970, and how much.
pub type Series = Vec<(i64, f64)>;

/// A drawing of seconds.
pub struct Chart<'a> {
    pub title: &'static str,
    pub unit: &'static str,
    /// The first second, and the one after the last.
    pub from: i64,
    pub to: i64,
    pub all: &'a Series,
    /// A part of it, drawn over it, with its name.
    pub part: Option<(&'static str, &'a Series)>,
    /// How much there may have been, with its name.
    pub most: Option<(&'static str, &'a Series)>,
}

impl Chart<'_> {
    /// How many seconds share a column.
    fn seconds_each(&self) -> i64 {
        let span = (self.to - self.from).max(1);
        (span + COLUMNS - 1) / COLUMNS
    }

    /// The highest of each column's seconds; `None` where nothing was measured.
    fn columns(&self, series: &Series) -> Vec<Option<f64>> {
        let each = self.seconds_each();
        let count = ((self.to - self.from).max(1) + each - 1) / each;
        let mut columns = vec![None; usize::try_from(count).unwrap_or(0)];
        for (at, value) in series {
            let column = usize::try_from((at - self.from).div_euclid(each)).ok();
            if let Some(there) = column.and_then(|column| columns.get_mut(column)) {
                *there = Some(value.max(there.unwrap_or(0.0)));
            }
        }
        columns
    }

    /// Draws it; nothing where all of it is 0.
    pub fn draw(&self, page: &mut HtmlPage) {
        let all = self.columns(self.all);
        let highest = all.iter().flatten().copied().fold(0.0, f64::max);
        if highest <= 0.0 {
            return;
        }
        let each = self.seconds_each();
        let mut told = format!("{}: at most {} {}", self.title, number(highest), self.unit);
        if each > 1 {
            let _ = write!(told, "; a column is the highest of {each} seconds");
        }
        page.markup("<figure><figcaption>");
        page.text(&told);
        for (name, class) in [
            (self.part.map(|(name, _)| name), "part"),
            (self.most.map(|(name, _)| name), "most"),
        ] {
            if let Some(name) = name {
                page.markup(" <span class=\"");
                page.text(class);
                page.markup("\">■ ");
                page.text(name);
                page.markup("</span>");
            }
        }
        page.markup("</figcaption>\n<svg class=\"chart\" viewBox=\"0 0 900 94\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"");
        page.text(&told);
        page.markup("\">");
        path(page, "all", &bars(&all, highest));
        if let Some((_, part)) = self.part {
            path(page, "part", &bars(&self.columns(part), highest));
        }
        if let Some((_, most)) = self.most {
            path(page, "most", &line(&self.columns(most), highest));
        }
        page.markup("<path class=\"base\" d=\"M0,92H900\"/></svg>\n<div class=\"axis\"><span>");
        page.text(&format::moment(self.from));
        page.markup("</span><span>");
        page.text(&format::moment(self.to));
        page.markup("</span></div></figure>\n");
    }
}

fn path(page: &mut HtmlPage, class: &'static str, d: &str) {
    page.markup("<path class=\"");
    page.markup(class);
    page.markup("\" d=\"");
    page.text(d);
    page.markup("\"/>");
}

/// A rectangle for each column that has something.
fn bars(columns: &[Option<f64>], highest: f64) -> String {
    let width = COLUMNS as f64 / columns.len().max(1) as f64;
    let mut d = String::new();
    for (at, value) in columns.iter().enumerate() {
        let Some(value) = value.filter(|value| *value > 0.0) else {
            continue;
        };
        // One that is low is seen too.
        let height = (value / highest * HEIGHT).max(1.5);
        let (left, right) = (at as f64 * width, (at + 1) as f64 * width);
        let top = HEIGHT + 2.0 - height;
        let _ = write!(d, "M{left:.1},92V{top:.1}H{right:.1}V92Z");
    }
    d
}

/// A line through the columns that have something, where it isn't above the drawing.
fn line(columns: &[Option<f64>], highest: f64) -> String {
    let width = COLUMNS as f64 / columns.len().max(1) as f64;
    let mut d = String::new();
    for (at, value) in columns.iter().enumerate() {
        let Some(value) = value.filter(|value| *value <= highest * 1.02) else {
            continue;
        };
        let top = HEIGHT + 2.0 - value / highest * HEIGHT;
        let (left, right) = (at as f64 * width, (at + 1) as f64 * width);
        let _ = write!(d, "M{left:.1},{top:.1}H{right:.1}");
    }
    d
}

/// `1,234`, or `12.5` where it is small.
pub fn number(value: f64) -> String {
    match value < 100.0 && value.fract() != 0.0 {
        true => format!("{value:.1}"),
        false => format::count(value.round() as u64),
    }
}

/// Something that lasted.
pub struct Bar {
    pub name: String,
    pub class: &'static str,
    pub from: i64,
    pub to: i64,
}

/// Draws lines of bars over one time. What lasted for less than can be seen is widened.
pub fn bands(page: &mut HtmlPage, title: &str, lines: &[Vec<Bar>], from: i64, to: i64) {
    let span = (to - from).max(1) as f64;
    let place = |at: i64| (at.clamp(from, to) - from) as f64 / span * COLUMNS as f64;
    page.markup("<figure><figcaption>");
    page.text(title);
    page.markup("</figcaption>\n<svg viewBox=\"0 0 900 ");
    page.text(&format!("{}", lines.len() * 26));
    page.markup("\" role=\"img\" aria-label=\"");
    page.text(title);
    page.markup("\">");
    for (at, line) in lines.iter().enumerate() {
        for bar in line {
            let left = place(bar.from).min(COLUMNS as f64 - 3.0);
            let width = (place(bar.to) - left).max(3.0);
            let top = at * 26 + 2;
            page.markup("<g class=\"");
            page.markup(bar.class);
            page.markup("\"><title>");
            page.text(&format!(
                "{}: {} to {}",
                bar.name,
                format::moment(bar.from),
                format::moment(bar.to)
            ));
            page.markup("</title><rect ");
            page.numbers(&[
                ("x", left),
                ("y", top as f64),
                ("width", width),
                ("height", 22.0),
            ]);
            page.markup("/>");
            // About as wide as its letters are.
            if width > bar.name.chars().count() as f64 * 8.0 {
                page.markup("<text ");
                page.numbers(&[("x", left + 4.0), ("y", top as f64 + 15.0)]);
                page.markup(">");
                page.text(&bar.name);
                page.markup("</text>");
            }
            page.markup("</g>");
        }
    }
    page.markup("</svg>\n<div class=\"axis\"><span>");
    page.text(&format::moment(from));
    page.markup("</span><span>");
    page.text(&format::moment(to));
    page.markup("</span></div></figure>\n");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn chart(seconds: i64, all: &Series) -> Chart<'_> {
        Chart {
            title: "t",
            unit: "u",
            from: 1_000,
            to: 1_000 + seconds,
            all,
            part: None,
            most: None,
        }
    }

    #[test]
    fn a_spike_of_one_second_in_five_hours_is_as_high_as_it_was() {
        let mut series: Series = (0..18_000).map(|at| (1_000 + at, 1.0)).collect();
        series[7_777].1 = 500.0;
        let chart = chart(18_000, &series);
        let columns = chart.columns(&series);
        assert_eq!((chart.seconds_each(), columns.len()), (20, 900));
        let high: Vec<usize> = (0..900).filter(|at| columns[*at].unwrap() > 1.0).collect();
        assert_eq!((high.as_slice(), columns[388]), (&[388][..], Some(500.0)));
        let mut page = HtmlPage::default();
        chart.draw(&mut page);
        let html = page.finish();
        assert!(html.contains("M388.0,92V2.0H389.0V92Z"), "the top of it");
        assert!(html.contains("at most 500 u; a column is the highest of 20 seconds"));
    }

    #[test]
    fn each_second_of_a_short_time_has_its_column() {
        let series: Series = vec![(1_000, 3.0), (1_002, 6.0)];
        let columns = chart(3, &series).columns(&series);
        assert_eq!(columns, [Some(3.0), None, Some(6.0)]);
        assert!(bars(&columns, 6.0).starts_with("M0.0,92V47.0H300.0V92Z"));
    }
}
