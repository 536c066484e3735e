//! The report as Markdown: for documents and terminals. Losses first, then every row against the best peer, then what is missing.

use std::fmt::Write;

use super::results::Results;
use super::short;
use super::standing::{Standing, ranked};
use super::{fits, goals};
use crate::compare::scenes;

/// Where the figures come from, in one paragraph.
pub fn provenance(results: &Results) -> String {
    let run = &results.run;
    let text = |key: &str| run[key].as_str().unwrap_or("?").to_owned();
    let number = |key: &str| run[key].as_u64().unwrap_or(0);
    format!(
        "{} Load {} before and {} after; plan `{}`: {} keys of 16 bytes, values of {}, cache {} MiB, {} rounds, {} ms a measurement; {} s in all, {} turns left out for want of time.",
        text("machine").replace('\n', " "),
        text("load_before"),
        text("load_after"),
        text("plan"),
        number("keys"),
        number("value_bytes"),
        number("cache_bytes") >> 20,
        number("rounds"),
        number("slice_ms"),
        number("seconds"),
        number("turns_skipped")
    )
}

/// Name of a row.
pub fn title(standing: &Standing<'_>) -> String {
    let name = &standing.line.name;
    let threads = if name.threads > 1 { format!(", {} threads", name.threads) } else { String::new() };
    format!("{}: {}{threads}", name.scene, name.case)
}

/// The table of rows that some peer does better than both of ours.
pub fn losses(results: &Results) -> String {
    let ranked = ranked(results);
    let lost: Vec<&Standing<'_>> =
        ranked.iter().filter(|standing| standing.best_ratio().is_some_and(|ratio| ratio < 1.0)).collect();
    let mut text =
        format!("Lost: {} of {} rows that a peer has too (ratios above 1 are ours).\n\n", lost.len(), ranked.len());
    text += &table(lost.into_iter());
    text
}

fn table<'a>(standings: impl Iterator<Item = &'a Standing<'a>>) -> String {
    let mut text = String::from(
        "| what | unit | duramen-btree | duramen-lsm | best peer | B-tree to it | LSM to it | best floor |\n|---|---|---|---|---|---|---|---|\n",
    );
    for standing in standings {
        let ours = |name: &str| standing.ours.iter().find(|(other, ..)| *other == name);
        let figure = |name: &str| ours(name).map_or_else(|| "-".to_owned(), |(_, figure, _)| short(*figure));
        let ratio = |name: &str| {
            let ratio = ours(name).and_then(|(.., ratio)| *ratio);
            ratio.map_or_else(
                || "-".to_owned(),
                |ratio| if ratio < 1.0 { format!("**{}**", short(ratio)) } else { short(ratio) },
            )
        };
        let pair = |pair: Option<(&str, f64)>| {
            pair.map_or_else(|| "-".to_owned(), |(name, figure)| format!("{name} {}", short(figure)))
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            title(standing),
            standing.line.name.measure,
            figure("duramen-btree"),
            figure("duramen-lsm"),
            pair(standing.best_peer),
            ratio("duramen-btree"),
            ratio("duramen-lsm"),
            pair(standing.floor)
        );
    }
    text
}

/// Every row of every workload, in their order.
fn all_rows(results: &Results) -> String {
    let mut text = String::new();
    for scene in results.scenes() {
        let about = scenes::find(scene).map_or("", |scene| scene.about);
        let standings: Vec<Standing<'_>> = results.of_scene(scene).map(|line| Standing::of(results, line)).collect();
        let _ = write!(text, "### {scene}\n\n{about}.\n\n{}\n", table(standings.iter()));
    }
    text
}

/// Every figure of every engine, one workload a table: medians, with the spread behind them.
fn all_engines(results: &Results) -> String {
    let mut text = String::new();
    for scene in results.scenes() {
        let lines: Vec<_> = results.of_scene(scene).collect();
        let engines: Vec<_> = results
            .engines
            .iter()
            .filter(|engine| lines.iter().any(|line| line.cells.contains_key(&engine.name)))
            .collect();
        let _ = write!(text, "### {scene}, all engines\n\n| case | threads | measure |");
        engines.iter().for_each(|engine| text += &format!(" {} |", engine.name));
        text += &format!("\n|---|---|---|{}\n", "---|".repeat(engines.len()));
        for line in lines {
            let _ = write!(text, "| {} | {} | {} |", line.name.case, line.name.threads, line.name.measure);
            engines.iter().for_each(|engine| text += &format!(" {} |", cell(line.cells.get(&engine.name))));
            text.push('\n');
        }
        text.push('\n');
    }
    text
}

/// A cell: the median and the spread, or why there is none.
pub fn cell(cell: Option<&super::results::Cell>) -> String {
    use super::results::Cell;
    match cell {
        None => "not run".to_owned(),
        Some(Cell::NotOffered(_)) => "not offered".to_owned(),
        Some(Cell::Failed(_)) => "failed".to_owned(),
        Some(figures) => match (figures.median(), figures.spread()) {
            (Some(mid), Some((low, high))) => format!("{} ({} to {})", short(mid), short(low), short(high)),
            _ => String::new(),
        },
    }
}

/// The engines and what is true of them.
fn engines(results: &Results) -> String {
    let mut text = String::from(
        "| engine | version | isolation | durability | checksums | compression | cache |\n|---|---|---|---|---|---|---|\n",
    );
    for engine in &results.engines {
        let facts = match &engine.missing {
            Some(missing) => format!("{missing} | | | |"),
            None => engine.facts.join(" | "),
        };
        let _ = writeln!(text, "| {} | {} | {facts} |", engine.name, engine.version);
    }
    text
}

fn growth(results: &Results) -> String {
    let mut text = String::from(
        "| operation | engine | cpu ~ size^e | a search would be | rate ~ cores^e | should be |\n|---|---|---|---|---|---|\n",
    );
    for fit in fits::all(results) {
        let _ = writeln!(
            text,
            "| {} | {} | {:.2} | {:.2} | {:.2} | {} |",
            fit.operation.name(),
            fit.engine,
            fit.over_sizes,
            fit.expected,
            fit.over_threads,
            fit.operation.expected_over_threads()
        );
    }
    text
}

fn gaps(results: &Results) -> String {
    let mut text = String::from("| engine | workload | what | why |\n|---|---|---|---|\n");
    for (engine, scene, why, failed) in results.gaps() {
        let what = if failed { "**failed**" } else { "not offered" };
        let _ = writeln!(text, "| {engine} | {scene} | {what} | {} |", why.replace(['\n', '|'], " "));
    }
    text
}

/// The whole report.
pub fn document(results: &Results) -> String {
    format!(
        "# Comparison\n\n{}\n\n## Lost\n\n{}\n## Goals\n\n{}\n## Engines\n\n{}\n## Growth\n\n{}\n## Not offered, and failed\n\n{}\n## Every row\n\n{}\n## Every engine\n\n{}",
        provenance(results),
        losses(results),
        goals::table(results),
        engines(results),
        growth(results),
        gaps(results),
        all_rows(results),
        all_engines(results)
    )
}
