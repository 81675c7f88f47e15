//! Grouped bars as SVG, legible on light and dark pages. Knows nothing of what the bars mean.

use std::fmt::Write;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const HEAD: f64 = 92.0;
const PANEL: f64 = 216.0;
/// Height of the plot in a panel; the rest is its title and labels.
const PLOT: f64 = 146.0;
const WIDEST_BAR: f64 = 22.0;

const STYLE: &str = "
.page { fill: #ffffff }
text { font: 12px -apple-system, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif; fill: #24292f }
.title { font-size: 17px; font-weight: 600 }
.panel { font-size: 13px; font-weight: 600 }
.note { fill: #57606a }
.value { font-size: 10px; font-weight: 600 }
.grid { stroke: #d0d7de; stroke-width: 1 }
.base { stroke: #57606a; stroke-width: 1 }
.reference { stroke: #24292f; stroke-width: 1.5; stroke-dasharray: 5 3 }
.s0 { fill: #0969da } .s1 { fill: #8c959f } .s2 { fill: #cf4a3e } .s3 { fill: #3f9142 } .s4 { fill: #b7791f } .s5 { fill: #8250df }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117 }
text { fill: #e6edf3 }
.note { fill: #8d96a0 }
.grid { stroke: #30363d }
.base { stroke: #8d96a0 }
.reference { stroke: #e6edf3 }
.s0 { fill: #4493f8 } .s1 { fill: #767e88 } .s2 { fill: #e5675c } .s3 { fill: #4fb654 } .s4 { fill: #d29922 } .s5 { fill: #ab7df8 }
}
";

/// Bars in groups, groups in panels.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// How it is to be read.
    pub subtitle: String,
    /// Names of the series, with the number of the colour that each has.
    pub series: Vec<(String, usize)>,
    /// A line across all plots and what it stands for.
    pub reference: Option<(f64, String)>,
    /// The panels, one below the other, all with the same scale.
    pub panels: Vec<Panel>,
}

/// Groups side by side.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What its groups have in common.
    pub title: String,
    /// The groups.
    pub groups: Vec<Group>,
}

/// One bar for each series.
#[derive(Clone, Debug)]
pub struct Group {
    /// Text below it.
    pub label: String,
    /// Heights; `None` where there is no figure.
    pub bars: Vec<Option<f64>>,
}

impl Chart {
    /// As a file.
    pub fn svg(&self) -> String {
        let height = HEAD + PANEL * self.panels.len() as f64;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
             viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">\n<style>{STYLE}</style>\n\
             <rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\" rx=\"6\"/>\n",
            escape(&self.title)
        );
        text(&mut out, "title", 16.0, 28.0, "start", &self.title);
        text(&mut out, "note", 16.0, 48.0, "start", &self.subtitle);
        self.legend(&mut out);
        let step = step(self.highest());
        let top = step * (self.highest() / step).ceil().max(1.0);
        for (number, panel) in self.panels.iter().enumerate() {
            self.panel(&mut out, panel, HEAD + PANEL * number as f64, step, top);
        }
        out.push_str("</svg>\n");
        out
    }

    fn highest(&self) -> f64 {
        let bars = self
            .panels
            .iter()
            .flat_map(|panel| &panel.groups)
            .flat_map(|group| &group.bars)
            .flatten();
        let reference = self.reference.as_ref().map(|(value, _)| value);
        bars.chain(reference)
            .copied()
            .fold(0.0, f64::max)
            .max(f64::MIN_POSITIVE)
    }

    fn legend(&self, out: &mut String) {
        let mut x = 16.0;
        for (name, colour) in &self.series {
            let _ = writeln!(
                out,
                "<rect class=\"s{colour}\" x=\"{x:.1}\" y=\"62\" width=\"12\" height=\"12\" rx=\"2\"/>"
            );
            text(out, "", x + 17.0, 72.5, "start", name);
            x += 34.0 + 7.2 * name.chars().count() as f64;
        }
        if let Some((_, name)) = &self.reference {
            let _ = writeln!(
                out,
                "<line class=\"reference\" x1=\"{x:.1}\" y1=\"68\" x2=\"{:.1}\" y2=\"68\"/>",
                x + 22.0
            );
            text(out, "", x + 28.0, 72.5, "start", name);
        }
    }

    fn panel(&self, out: &mut String, panel: &Panel, y: f64, step: f64, top: f64) {
        text(out, "panel", 16.0, y + 14.0, "start", &panel.title);
        let floor = y + 26.0 + PLOT;
        let height = |value: f64| PLOT * value / top;
        let decimals = if step < 1.0 { 1 } else { 0 };
        let lines = (top / step).round() as usize;
        for line in 0..=lines {
            let value = step * line as f64;
            let at = floor - height(value);
            horizontal(out, if line == 0 { "base" } else { "grid" }, at);
            text(
                out,
                "note",
                LEFT - 8.0,
                at + 4.0,
                "end",
                &format!("{value:.decimals$}"),
            );
        }
        let group_width = (WIDTH - LEFT - RIGHT) / panel.groups.len().max(1) as f64;
        let bar = (group_width * 0.8 / self.series.len().max(1) as f64).min(WIDEST_BAR);
        // Figures stand above all lines.
        let mut figures = String::new();
        for (place, group) in panel.groups.iter().enumerate() {
            let middle = LEFT + group_width * (place as f64 + 0.5);
            text(out, "", middle, floor + 17.0, "middle", &group.label);
            let start = middle - bar * group.bars.len() as f64 / 2.0;
            for (number, value) in group.bars.iter().enumerate() {
                let Some(value) = value else { continue };
                let colour = self.series.get(number).map_or(0, |(_, colour)| *colour);
                let x = start + bar * number as f64;
                let high = height(value.max(0.0));
                let _ = writeln!(
                    out,
                    "<rect class=\"s{colour}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{high:.1}\"/>",
                    x + 0.5,
                    floor - high,
                    bar - 1.0
                );
                // The first series is the one that the chart is about.
                if number == 0 {
                    let decimals = if *value < 10.0 { 2 } else { 0 };
                    let label = format!("{value:.decimals$}");
                    let _ = writeln!(
                        figures,
                        "<rect class=\"page\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{bar:.1}\" height=\"11\"/>",
                        floor - high - 13.0
                    );
                    text(
                        &mut figures,
                        "value",
                        x + bar / 2.0,
                        floor - high - 4.0,
                        "middle",
                        &label,
                    );
                }
            }
        }
        if let Some((value, _)) = &self.reference {
            horizontal(out, "reference", floor - height(*value));
        }
        out.push_str(&figures);
    }
}

fn horizontal(out: &mut String, class: &str, y: f64) {
    let end = WIDTH - RIGHT;
    let _ = writeln!(
        out,
        "<line class=\"{class}\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{end}\" y2=\"{y:.1}\"/>"
    );
}

fn text(out: &mut String, class: &str, x: f64, y: f64, anchor: &str, text: &str) {
    let text = escape(text);
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// A round distance of grid lines, so that there are three to seven.
fn step(highest: f64) -> f64 {
    let magnitude = 10_f64.powf((highest / 3.0).log10().floor());
    let steps = [5.0, 2.0, 1.0].into_iter().map(|factor| factor * magnitude);
    steps
        .into_iter()
        .find(|step| highest / step >= 3.0)
        .unwrap_or(magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Chart {
        Chart {
            title: "A & B <\"x\">".to_owned(),
            subtitle: String::new(),
            series: vec![("one".to_owned(), 0), ("two".to_owned(), 2)],
            reference: Some((1.0, "Valkey".to_owned())),
            panels: vec![Panel {
                title: "P1".to_owned(),
                groups: vec![Group {
                    label: "GET".to_owned(),
                    bars: vec![Some(1.5), None],
                }],
            }],
        }
    }

    /// Whether every element that is opened is closed in its turn, and no text holds what is markup.
    fn is_well_formed(xml: &str) -> bool {
        let mut open = Vec::new();
        for piece in xml.split('<').skip(1) {
            let Some((tag, text)) = piece.split_once('>') else {
                return false;
            };
            let style = open.last() == Some(&"style");
            if text.contains('>') && !style || tag.matches('"').count() % 2 != 0 {
                return false;
            }
            if let Some(name) = tag.strip_prefix('/') {
                if open.pop() != Some(name) {
                    return false;
                }
            } else if !tag.ends_with('/') {
                open.push(tag.split_whitespace().next().unwrap_or_default());
            }
        }
        open.is_empty()
    }

    #[test]
    fn a_chart_is_well_formed_whatever_its_texts() {
        let svg = chart().svg();
        assert!(is_well_formed(&svg), "{svg}");
        assert!(svg.contains("A &amp; B &lt;&quot;x&quot;&gt;"));
        assert!(!is_well_formed("<a><b></a></b>") && !is_well_formed("<a"));
    }

    #[test]
    fn only_figures_that_exist_have_bars() {
        let svg = chart().svg();
        let bars = svg
            .lines()
            .filter(|line| line.starts_with("<rect class=\"s") && !line.contains("rx="));
        assert_eq!(bars.count(), 1);
        assert!(svg.contains(">1.50</text>"));
    }

    #[test]
    fn bars_reach_as_high_as_their_values_say() {
        let mut chart = chart();
        chart.panels[0].groups[0].bars = vec![Some(1.0), Some(2.0)];
        let svg = chart.svg();
        let heights: Vec<f64> = svg
            .lines()
            .filter(|line| line.starts_with("<rect class=\"s") && !line.contains("rx="))
            .filter_map(|line| {
                line.split("height=\"")
                    .nth(1)?
                    .split('"')
                    .next()?
                    .parse()
                    .ok()
            })
            .collect();
        assert!((heights[1] - 2.0 * heights[0]).abs() < 0.2, "{heights:?}");
        assert!(heights[1] <= PLOT);
    }

    #[test]
    fn grid_lines_are_round_and_few() {
        for highest in [0.3, 1.0, 1.2, 2.6, 7.0, 88.0, 340.0] {
            let lines = highest / step(highest);
            assert!(
                (2.99..8.0).contains(&lines),
                "{lines} lines up to {highest}"
            );
        }
        assert!((step(2.6) - 0.5).abs() < 1e-9);
    }
}
