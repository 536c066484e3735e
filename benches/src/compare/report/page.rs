//! The report as one HTML page: tables and plots, no script, no font, nothing to load (P1, P2).

use std::fmt::Write;

use super::fits;
use super::markdown::{provenance, title};
use super::plots::Plot;
use super::results::{Cell, Engine, Line, Results};
use super::short;
use super::standing::{Standing, ranked};
use super::xml::escape;
use crate::compare::scenes;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;color:#1f2328;max-width:1900px;margin:2rem auto;padding:0 1.2rem}\
h1{font-size:1.7rem}h2{margin-top:2.6rem;border-bottom:1px solid #d0d7de;padding-bottom:.3rem}h3{margin:2rem 0 .2rem}\
p{max-width:1200px}p.about{color:#656d76;margin:.1rem 0 .8rem}nav a{margin-right:.9rem;display:inline-block}table.rows td:first-child,table.rows th:first-child{position:sticky;left:0;background:#fff;z-index:1}table.rows th:first-child{background:#f6f8fa}\
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:13px;margin:.6rem 0}\
th,td{border:1px solid #d0d7de;padding:3px 8px;text-align:right;white-space:nowrap}th{background:#f6f8fa;text-align:center}\
td.t{text-align:left}table.facts td{white-space:normal;text-align:left;min-width:7rem}\
td.best{background:#dafbe1;font-weight:600}td.ours{background:#fff5e5}td.ours.best{background:#b9f2c5}\
td.lost{color:#b42318;font-weight:600}td.won{color:#116329;font-weight:600}small{color:#656d76}td.none{color:#8c959f}td.failed{color:#b42318;font-weight:700}\
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(400px,1fr));gap:14px;align-items:start;margin:.8rem 0 1.4rem}\
.plots figure{margin:0;border:1px solid #d0d7de;border-radius:6px;padding:6px;background:#fff}";

/// The page.
pub fn document(results: &Results, plots: &[Plot]) -> String {
    let mut page = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"/><meta name=\"viewport\" content=\"width=device-width\"/>\
         <title>Duramen: comparison</title><style>{}</style></head><body><h1>Comparison</h1><p>{}</p>",
        escape(STYLE),
        escape(&provenance(results))
    );
    page += "<p>Medians of all rounds; the spread from smallest to largest is small beside them. A ratio above 1 is in our favour. Green is the best engine of a row; floors are raw loops and plain maps, no engines.</p>";
    page += &contents(results);
    page += &losses(results);
    page += &engines(results);
    for scene in results.scenes() {
        page += &section(results, scene, plots);
    }
    page += &growth(results);
    page += &gaps(results);
    page + "</body></html>"
}

fn contents(results: &Results) -> String {
    let mut text = String::from("<nav><a href=\"#lost\">Lost</a><a href=\"#engines\">Engines</a>");
    for scene in results.scenes() {
        let _ = write!(text, "<a href=\"#{0}\">{0}</a>", escape(scene));
    }
    text + "<a href=\"#exponents\">Exponents</a><a href=\"#gaps\">Not offered</a></nav>"
}

fn losses(results: &Results) -> String {
    let ranked = ranked(results);
    let lost: Vec<&Standing<'_>> =
        ranked.iter().filter(|standing| standing.best_ratio().is_some_and(|ratio| ratio < 1.0)).collect();
    let mut text = format!(
        "<h2 id=\"lost\">Lost</h2><p>{} of {} rows that a peer has too, the worst first. Nothing here means: nothing lost.</p>\
         <div class=\"wide\"><table><tr><th>what</th><th>unit</th><th>B-tree</th><th>LSM</th><th>best peer</th><th>B-tree to it</th><th>LSM to it</th></tr>",
        lost.len(),
        ranked.len()
    );
    for standing in lost {
        let _ = write!(
            text,
            "<tr><td class=\"t\">{}</td><td class=\"t\">{}</td>",
            escape(&title(standing)),
            escape(&standing.line.name.measure)
        );
        let ours = |name: &str| standing.ours.iter().find(|(other, ..)| *other == name);
        for name in ["duramen-btree", "duramen-lsm"] {
            let _ = write!(text, "<td>{}</td>", ours(name).map_or("-".to_owned(), |(_, figure, _)| short(*figure)));
        }
        let (peer, figure) = standing.best_peer.unwrap_or(("-", 0.0));
        let _ = write!(text, "<td class=\"t\">{} {}</td>", escape(peer), short(figure));
        for name in ["duramen-btree", "duramen-lsm"] {
            text += &ratio_cell(ours(name).and_then(|(.., ratio)| *ratio));
        }
        text += "</tr>";
    }
    text + "</table></div>"
}

fn ratio_cell(ratio: Option<f64>) -> String {
    match ratio {
        None => "<td class=\"none\">-</td>".to_owned(),
        Some(ratio) => format!("<td class=\"{}\">{}</td>", if ratio < 1.0 { "lost" } else { "won" }, short(ratio)),
    }
}

fn engines(results: &Results) -> String {
    let mut text = String::from(
        "<h2 id=\"engines\">Engines</h2><div class=\"wide\"><table class=\"facts\"><tr><th>engine</th><th>version</th><th>isolation</th><th>durability</th><th>checksums</th><th>compression</th><th>cache</th></tr>",
    );
    for engine in &results.engines {
        let _ = write!(text, "<tr><td>{}</td><td>{}</td>", escape(&engine.name), escape(&engine.version));
        match &engine.missing {
            Some(missing) => text += &format!("<td colspan=\"5\">{}</td>", escape(missing)),
            None => engine.facts.iter().for_each(|fact| text += &format!("<td>{}</td>", escape(fact))),
        }
        text += "</tr>";
    }
    text + "</table></div>"
}

fn section(results: &Results, scene: &str, plots: &[Plot]) -> String {
    let about = scenes::find(scene).map_or("", |scene| scene.about);
    let lines: Vec<&Line> = results.of_scene(scene).collect();
    let has_cell = |engine: &&Engine| lines.iter().any(|line| line.cells.contains_key(&engine.name));
    let engines: Vec<&Engine> = results.engines.iter().filter(has_cell).collect();
    let mut text = format!(
        "<h2 id=\"{0}\">{0}</h2><p class=\"about\">{1}</p><div class=\"wide\"><table class=\"rows\"><tr><th>case</th><th>threads</th><th>measure</th><th>best peer</th><th>B-tree to it</th><th>LSM to it</th>",
        escape(scene),
        escape(about)
    );
    engines.iter().for_each(|engine| text += &format!("<th>{}</th>", escape(&engine.name)));
    text += "</tr>";
    lines.iter().for_each(|line| text += &row(results, line, &engines));
    text += "</table></div><div class=\"plots\">";
    for plot in plots.iter().filter(|plot| plot.scene == scene) {
        let _ = write!(text, "<figure id=\"{}\">{}</figure>", plot.id, plot.svg);
    }
    text + "</div>"
}

fn row(results: &Results, line: &Line, engines: &[&Engine]) -> String {
    let standing = Standing::of(results, line);
    let ratio = |name: &str| standing.ours.iter().find(|(other, ..)| *other == name).and_then(|(.., ratio)| *ratio);
    let best = best_engine(&standing);
    let mut text = format!(
        "<tr><td class=\"t\">{}</td><td>{}</td><td class=\"t\">{}</td>",
        escape(&line.name.case),
        line.name.threads,
        escape(&line.name.measure)
    );
    let peer = standing.best_peer.map_or("-", |(name, _)| name);
    let _ = write!(text, "<td class=\"t\">{}</td>", escape(peer));
    text += &ratio_cell(ratio("duramen-btree"));
    text += &ratio_cell(ratio("duramen-lsm"));
    for engine in engines {
        text += &cell(line.cells.get(&engine.name), engine.ours, best == Some(engine.name.as_str()));
    }
    text + "</tr>"
}

/// The best of ours and peers.
fn best_engine<'a>(standing: &Standing<'a>) -> Option<&'a str> {
    let ours = standing.ours.iter().filter_map(|(name, _, ratio)| Some((*name, (*ratio)?)));
    let best = ours.reduce(|one, other| if other.1 > one.1 { other } else { one });
    match best {
        Some((name, ratio)) if ratio >= 1.0 => Some(name),
        _ => standing.best_peer.map(|(name, _)| name),
    }
}

fn cell(cell: Option<&Cell>, ours: bool, best: bool) -> String {
    let class = match (ours, best) {
        (true, true) => "ours best",
        (true, false) => "ours",
        (false, true) => "best",
        (false, false) => "peer",
    };
    match cell {
        None => "<td class=\"none\">not run</td>".to_owned(),
        Some(Cell::NotOffered(why)) => format!("<td class=\"none\" title=\"{}\">not offered</td>", escape(why)),
        Some(Cell::Failed(what)) => format!("<td class=\"failed\" title=\"{}\">failed</td>", escape(what)),
        Some(figures) => {
            let (mid, (low, high)) = (figures.median().unwrap_or(0.0), figures.spread().unwrap_or((0.0, 0.0)));
            let spread =
                if low < high { format!(" <small>{} to {}</small>", short(low), short(high)) } else { String::new() };
            format!("<td class=\"{class}\">{}{spread}</td>", short(mid))
        }
    }
}

fn growth(results: &Results) -> String {
    let mut text = String::from(
        "<h2 id=\"exponents\">Exponents</h2><p>Fitted to the workload growth: processor time on one thread over sizes, and rate by the clock over threads that can run at once at the largest size.</p>\
         <table><tr><th>operation</th><th>engine</th><th>cpu ~ size^e</th><th>a search would be</th><th>rate ~ cores^e</th><th>should be</th></tr>",
    );
    for fit in fits::all(results) {
        let _ = write!(
            text,
            "<tr><td class=\"t\">{}</td><td class=\"t\">{}</td><td>{:.2}</td><td>{:.2}</td><td>{:.2}</td><td>{}</td></tr>",
            fit.operation.name(),
            escape(fit.engine),
            fit.over_sizes,
            fit.expected,
            fit.over_threads,
            escape(fit.operation.expected_over_threads())
        );
    }
    text + "</table>"
}

fn gaps(results: &Results) -> String {
    let mut text = String::from(
        "<h2 id=\"gaps\">Not offered, and failed</h2><table class=\"facts\"><tr><th>engine</th><th>workload</th><th>what</th><th>why</th></tr>",
    );
    for (engine, scene, why, failed) in results.gaps() {
        let what = if failed { "failed" } else { "not offered" };
        let _ = write!(
            text,
            "<tr><td>{}</td><td>{}</td><td>{what}</td><td>{}</td></tr>",
            escape(&engine),
            escape(&scene),
            escape(&why)
        );
    }
    text + "</table>"
}

#[cfg(test)]
mod tests;
