//! Two kinds of plot as SVG: bars with whiskers, and lines over threads or size. Text in, text out.
//!
//! V1  A bar begins at zero: lengths may be compared. A whisker goes from the smallest to the largest figure of all rounds.
//! V2  Lines have logarithmic axes: slopes may be compared.

use std::fmt::Write;

use super::short;
use super::xml::escape;

/// A bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Engine.
    pub label: String,
    /// Its colour.
    pub color: &'static str,
    /// One of ours.
    pub strong: bool,
    /// Smallest, median, largest.
    pub figures: (f64, f64, f64),
}

/// A line.
#[derive(Clone, Debug)]
pub struct Series {
    /// Engine.
    pub label: String,
    /// Its colour.
    pub color: &'static str,
    /// One of ours.
    pub strong: bool,
    /// A floor.
    pub dashed: bool,
    /// Place, smallest, median, largest; in order of place.
    pub points: Vec<(f64, f64, f64, f64)>,
}

const WIDTH: f64 = 420.0;
const LABELS: f64 = 128.0;
const NUMBERS: f64 = 52.0;
const ROW: f64 = 17.0;
const HEAD: f64 = 34.0;

fn open(height: f64, title: &str, unit: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" font-family=\"system-ui, sans-serif\" font-size=\"11\" fill=\"#1f2328\">\
         <title>{0}</title><rect width=\"{WIDTH}\" height=\"{height:.0}\" fill=\"#ffffff\"/>\
         <text x=\"8\" y=\"14\" font-weight=\"600\">{0}</text><text x=\"8\" y=\"27\" fill=\"#656d76\" font-size=\"10\">{1}</text>",
        escape(title),
        escape(unit)
    )
}

/// Bars, one below the other.
pub fn bars(title: &str, unit: &str, bars: &[Bar]) -> String {
    let height = HEAD + ROW * bars.len() as f64 + 8.0;
    let mut svg = open(height, title, unit);
    let most = bars.iter().map(|bar| bar.figures.2).fold(f64::MIN_POSITIVE, f64::max);
    let room = WIDTH - LABELS - NUMBERS;
    for (row, bar) in bars.iter().enumerate() {
        let (y, (low, mid, high)) = (HEAD + ROW * row as f64, bar.figures);
        let x = |figure: f64| LABELS + room * figure / most;
        let weight = if bar.strong { "700" } else { "400" };
        let text_y = y + 11.0;
        let _ = write!(
            svg,
            "<text x=\"{:.0}\" y=\"{text_y:.1}\" text-anchor=\"end\" font-weight=\"{weight}\">{}</text>\
             <rect x=\"{LABELS}\" y=\"{:.1}\" width=\"{:.1}\" height=\"11\" rx=\"1.5\" fill=\"{}\"/>\
             <path d=\"M{:.1} {:.1}H{:.1}M{:.1} {:.1}v6M{:.1} {:.1}v6\" stroke=\"#1f2328\" fill=\"none\"/>\
             <text x=\"{:.1}\" y=\"{text_y:.1}\" font-weight=\"{weight}\">{}</text>",
            LABELS - 6.0,
            escape(&bar.label),
            y + 2.0,
            (x(mid) - LABELS).max(0.5),
            bar.color,
            x(low),
            y + 7.5,
            x(high),
            x(low),
            y + 4.5,
            x(high),
            y + 4.5,
            x(high) + 5.0,
            short(mid)
        );
    }
    svg + "</svg>"
}

const PLOT_LEFT: f64 = 46.0;
const PLOT_RIGHT: f64 = 282.0;
const PLOT_HEIGHT: f64 = 190.0;

/// Where a figure stands on a logarithmic axis.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn new(figures: impl Iterator<Item = f64>, from: f64, to: f64) -> Axis {
        let (low, high) = figures
            .filter(|figure| *figure > 0.0 && figure.is_finite())
            .fold((f64::INFINITY, 0.0f64), |(low, high), figure| (low.min(figure), high.max(figure)));
        let (low, high) = if low > high { (1.0, 10.0) } else { (low, high) };
        // One figure alone gets some room on both sides.
        let (low, high) = if high / low < 1.2 { (low / 1.5, high * 1.5) } else { (low, high) };
        Axis { low: low.ln(), high: high.ln(), from, to }
    }

    fn at(&self, figure: f64) -> f64 {
        let share = (figure.max(f64::MIN_POSITIVE).ln() - self.low) / (self.high - self.low);
        self.from + (self.to - self.from) * share.clamp(-0.02, 1.02)
    }

    /// Round figures within: powers of ten, and halves of them if those are few.
    fn ticks(&self) -> Vec<f64> {
        let steps = |parts: &'static [f64]| -> Vec<f64> {
            let powers = self.low.exp().log10().floor() as i32..=self.high.exp().log10().ceil() as i32;
            let all = powers.flat_map(|power| parts.iter().map(move |part| part * 10f64.powi(power)));
            all.filter(|tick| (self.low - 0.01..=self.high + 0.01).contains(&tick.ln())).collect()
        };
        let coarse = steps(&[1.0]);
        if coarse.len() >= 3 { coarse } else { steps(&[1.0, 2.0, 5.0]) }
    }
}

/// Lines over `places`, with a legend on the right.
pub fn lines(title: &str, unit: &str, place_name: &str, series: &[Series]) -> String {
    let height = (HEAD + PLOT_HEIGHT + 34.0).max(HEAD + 13.0 * series.len() as f64 + 20.0);
    let mut svg = open(height, title, unit);
    let (top, bottom) = (HEAD + 4.0, HEAD + PLOT_HEIGHT);
    let points = || series.iter().flat_map(|one| one.points.iter());
    let x = Axis::new(points().map(|point| point.0), PLOT_LEFT + 8.0, PLOT_RIGHT - 8.0);
    let y = Axis::new(points().flat_map(|point| [point.1, point.3]), bottom - 6.0, top + 6.0);
    for tick in y.ticks() {
        let at = y.at(tick);
        let _ = write!(
            svg,
            "<path d=\"M{PLOT_LEFT} {at:.1}H{PLOT_RIGHT}\" stroke=\"#e6e8eb\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\" font-size=\"9.5\">{}</text>",
            PLOT_LEFT - 4.0,
            at + 3.5,
            tick_label(tick)
        );
    }
    let mut places: Vec<f64> = points().map(|point| point.0).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    for place in places {
        let at = x.at(place);
        let _ = write!(
            svg,
            "<path d=\"M{at:.1} {bottom}v4\" stroke=\"#8c959f\"/><text x=\"{at:.1}\" y=\"{:.0}\" text-anchor=\"middle\" font-size=\"9.5\">{}</text>",
            bottom + 15.0,
            plain(place)
        );
    }
    let _ = write!(
        svg,
        "<path d=\"M{PLOT_LEFT} {top}V{bottom}H{PLOT_RIGHT}\" stroke=\"#8c959f\" fill=\"none\"/>\
         <text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"#656d76\" font-size=\"10\">{}</text>",
        (PLOT_LEFT + PLOT_RIGHT) / 2.0,
        bottom + 28.0,
        escape(place_name)
    );
    series.iter().enumerate().for_each(|(row, one)| svg += &line(one, row, &x, &y));
    svg + "</svg>"
}

fn line(series: &Series, row: usize, x: &Axis, y: &Axis) -> String {
    let width = if series.strong { 2.6 } else { 1.3 };
    let dashes = if series.dashed { " stroke-dasharray=\"4 3\"" } else { "" };
    let path: Vec<String> =
        series.points.iter().map(|point| format!("{:.1} {:.1}", x.at(point.0), y.at(point.2))).collect();
    let mut svg = format!(
        "<path d=\"M{}\" stroke=\"{}\" stroke-width=\"{width}\" fill=\"none\"{dashes}/>",
        path.join("L"),
        series.color
    );
    for (place, low, mid, high) in &series.points {
        let at = x.at(*place);
        let _ = write!(
            svg,
            "<path d=\"M{at:.1} {0:.1}V{1:.1}\" stroke=\"{2}\" stroke-width=\"1\"/><circle cx=\"{at:.1}\" cy=\"{3:.1}\" r=\"{4}\" fill=\"{2}\"/>",
            y.at(*low),
            y.at(*high),
            series.color,
            y.at(*mid),
            if series.strong { 3.0 } else { 2.0 }
        );
    }
    let legend = HEAD + 8.0 + 13.0 * row as f64;
    let weight = if series.strong { "700" } else { "400" };
    let _ = write!(
        svg,
        "<path d=\"M{:.0} {legend:.1}h16\" stroke=\"{}\" stroke-width=\"{width}\"{dashes}/>\
         <text x=\"{:.0}\" y=\"{:.1}\" font-size=\"10\" font-weight=\"{weight}\">{}</text>",
        PLOT_RIGHT + 10.0,
        series.color,
        PLOT_RIGHT + 30.0,
        legend + 3.5,
        escape(&series.label)
    );
    svg
}

/// A round figure of an axis.
fn tick_label(tick: f64) -> String {
    match tick {
        tick if tick >= 1e6 => format!("{:.0}M", tick / 1e6),
        tick if tick >= 1e3 => format!("{:.0}k", tick / 1e3),
        tick if tick >= 1.0 => format!("{tick:.0}"),
        tick => format!("{tick}"),
    }
}

/// A number of threads or keys.
fn plain(place: f64) -> String {
    match place {
        place if place >= 1e6 => format!("{}M", place / 1e6),
        place if place >= 1e3 => format!("{}k", place / 1e3),
        place => format!("{place}"),
    }
}

/// A plot as a file of its own. The name space is a name, not a place to load from.
pub fn standalone(svg: &str) -> String {
    svg.replacen("<svg ", concat!("<svg xmlns=\"http:", "//www.w3.org/2000/svg\" "), 1)
}

#[cfg(test)]
mod tests {
    use super::super::xml;
    use super::*;

    #[test]
    fn plots_are_well_formed_and_hold_every_figure() {
        let bar = |label: &str, mid: f64| Bar {
            label: label.into(),
            color: "#000000",
            strong: false,
            figures: (mid * 0.9, mid, mid * 1.1),
        };
        let svg = bars("a < b", "gets/s", &[bar("one", 10.0), bar("two", 0.0)]);
        assert_eq!(xml::check(&svg).expect("well-formed")["path"], 2);
        let points = vec![(1.0, 1.0, 2.0, 3.0), (8.0, 10.0, 20.0, 30.0)];
        let one = Series { label: "x & y".into(), color: "#000000", strong: true, dashed: false, points };
        let svg = lines("t", "ns", "threads", &[one]);
        assert_eq!(xml::check(&svg).expect("well-formed")["circle"], 2);
    }
}
