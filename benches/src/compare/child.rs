//! One turn: an engine at a workload, in this process and an empty folder. Prints its rows and ends.
//!
//! The process ends without closing the engine in an orderly way if that takes long: its figures are out, its folder is thrown away.

use super::options::{Options, Turn};
use super::row::{Better, Found};
use super::scenes;
use super::stand::Stand;
use crate::peer::{Failure, registry};

/// Runs the turn; its rows. A wrong answer or an error leaves one row that says so and no figure (M2).
pub fn rows(stand: &mut Stand, run: fn(&mut Stand) -> crate::peer::Outcome<()>) {
    match run(stand) {
        Ok(()) => {}
        Err(Failure::NotOffered(why)) => {
            stand.rows.clear();
            stand.without("", &why);
        }
        Err(failure) => {
            stand.rows.clear();
            stand.note("", 0, "", Better::More, Found::Failed(failure.to_string()));
        }
    }
}

/// What the command line asks for.
///
/// # Errors
/// An engine or a workload of that name does not exist.
pub fn stand(options: &Options, turn: &Turn) -> Result<(Stand, scenes::Scene), String> {
    let entry = registry::find(&turn.engine).ok_or_else(|| format!("there is no engine {}", turn.engine))?;
    let scene = scenes::find(&turn.scene).ok_or_else(|| format!("there is no workload {}", turn.scene))?;
    let (plan, folder, round) = (options.plan.clone(), turn.folder.clone(), turn.round);
    Ok((Stand { entry, plan, folder, round, scene: scene.name, rows: Vec::new() }, scene))
}

/// The turn as a process.
///
/// # Errors
/// As [`stand`]; of a second process, what went wrong before that.
pub fn main(options: &Options, turn: &Turn, is_second: bool) -> Result<(), String> {
    let (mut stand, scene) = stand(options, turn)?;
    if is_second {
        return scenes::second(&stand).map_err(|failure| failure.to_string());
    }
    rows(&mut stand, scene.run);
    stand.rows.iter().for_each(|row| println!("{}", row.to_json()));
    Ok(())
}

#[cfg(test)]
mod tests;
