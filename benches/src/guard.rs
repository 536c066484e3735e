//! Refusing to measure what nobody would run (R2).

/// Ends the process with a reason if this build is not one to measure.
pub fn refuse_unfit_build() {
    let reason = if cfg!(duramen_sim) {
        "simulated locks and threads"
    } else if duramen_base::mutant::ARE_COMPILED_IN {
        "mutants"
    } else if cfg!(debug_assertions) {
        "debug assertions"
    } else {
        return;
    };
    eprintln!("not measured: this build has {reason} compiled in; use a plain release build");
    std::process::exit(2);
}
