//! The report of a run: a Markdown table, plots, and one HTML page that needs nothing but itself, all from `results.jsonl`.
//!
//! P1  Every row of the results is a row of the page's tables, and every plot is on the page.
//! P2  The page is well-formed XML inside and refers to nothing outside itself.
//! P3  Losses come first, each with the best peer and our ratio to it.
//!
//! Next: `results.rs` (reading), `standing.rs` (medians, best peer, ratio), `markdown.rs`, `chart.rs` and `plots.rs` (SVG), `page.rs`, `fits.rs`, `goals.rs`.

pub mod chart;
pub mod fits;
pub mod goals;
pub mod markdown;
pub mod page;
pub mod plots;
pub mod results;
pub mod standing;
pub mod xml;

use std::path::Path;

use results::Results;

/// Writes `report.md`, `report.html` and `plots/*.svg` beside the results, and says where they are.
///
/// # Errors
/// There are no results, or the folder cannot be written.
pub fn write(out: &Path) -> Result<(), String> {
    let results = Results::read(&out.join("results.jsonl"))?;
    let plots = plots::all(&results);
    save(&out.join("report.md"), &markdown::document(&results))?;
    save(&out.join("report.html"), &page::document(&results, &plots))?;
    std::fs::create_dir_all(out.join("plots")).map_err(|error| error.to_string())?;
    for plot in &plots {
        save(&out.join("plots").join(format!("{}.svg", plot.id)), &chart::standalone(&plot.svg))?;
    }
    println!("{}\n{}", markdown::losses(&results), goals::table(&results));
    println!("{}", out.join("report.html").display());
    Ok(())
}

fn save(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Three digits that matter, with a letter for thousands.
pub fn short(value: f64) -> String {
    let (scaled, letter) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    match scaled.abs() {
        size if size >= 100.0 => format!("{scaled:.0}{letter}"),
        size if size >= 10.0 => format!("{scaled:.1}{letter}"),
        _ => format!("{scaled:.2}{letter}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(short(1_234_567.0), "1.23M");
        assert_eq!(short(45_678.0), "45.7k");
        assert_eq!(short(4_567.0), "4567");
        assert_eq!(short(0.123), "0.12");
    }
}
