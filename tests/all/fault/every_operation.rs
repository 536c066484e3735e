//! Each class of error at every operation of the run: at one operation, at three in a row, and from one on for ever.
//!
//! For each: the run ends in order or by the death of the process, then the database is opened again as it is, and once more on what a
//! loss of power leaves of it. An error that is met by nobody ends the walk: the run has no operation that far.
//!
//! The quick form takes every operation for the one-shot forms of EIO, and steps through the others by a stride;
//! `DURAMEN_CASES=<n>` divides the strides.

use duramen_base::vfs::sim::{CrashModel, Fault, FaultKind, Keep, OpKind, OsError, SimVfs};

use super::history::After;
use super::run::{Machine, Run};
use super::watch::{Watch, watched};
use crate::random;

/// Calls that answer for want of space: those that need some.
const NEED_SPACE: [OpKind; 9] = [
    OpKind::Create,
    OpKind::Write,
    OpKind::WriteZeros,
    OpKind::SetLen,
    OpKind::SyncData,
    OpKind::CreateDir,
    OpKind::Rename,
    OpKind::SyncDir,
    OpKind::Lock,
];
/// Calls that need a file descriptor.
const NEED_DESCRIPTOR: [OpKind; 6] =
    [OpKind::Open, OpKind::Create, OpKind::List, OpKind::SyncDir, OpKind::Lock, OpKind::Random];
/// Calls that a signal can interrupt: all but those that ask an open file for its length, and syncs of files, after whose failure nobody knows.
const SLOW: [OpKind; 15] = [
    OpKind::Open,
    OpKind::Create,
    OpKind::Read,
    OpKind::Write,
    OpKind::WriteZeros,
    OpKind::SetLen,
    OpKind::Punch,
    OpKind::CreateDir,
    OpKind::Rename,
    OpKind::RemoveFile,
    OpKind::RemoveDir,
    OpKind::List,
    OpKind::SyncDir,
    OpKind::Lock,
    OpKind::Random,
];

/// How often a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Once,
    Window,
    Sticky,
}

/// A class of errors.
#[derive(Clone, Copy, Debug)]
struct Class {
    kind: FaultKind,
    ops: &'static [OpKind],
    /// It must not be noticed at all.
    unnoticed: bool,
}

impl Class {
    fn fault(&self, form: Form, at: u64) -> Fault {
        let fault = Fault::new(self.kind).on(self.ops).at(at);
        match form {
            Form::Once => fault,
            Form::Window => fault.times(3),
            Form::Sticky => fault.for_ever(),
        }
    }
}

/// What became of a walk.
#[derive(Debug, Default)]
struct Figures {
    cases: u64,
    acknowledged: u64,
    stalls: u64,
}

const SEED: u64 = 11;

/// Throws `class` into the run at every `stride`-th operation until one is not reached.
fn walk(class: Class, form: Form, stride: u64) {
    watched(move |watch| {
        let stride = stride.div_ceil(random::factor()).max(1);
        let mut figures = Figures::default();
        let mut at = 1;
        while strike(watch, class, form, at, &mut figures) {
            at += stride;
        }
        println!("{:?} {form:?}: {figures:?} up to operation {at}", class.kind);
        assert!(figures.cases >= 3, "the class strikes somewhere");
    });
}

/// One run with one fault; whether the fault was met.
fn strike(watch: &Watch, class: Class, form: Form, at: u64, figures: &mut Figures) -> bool {
    let machine = Machine::on(SimVfs::new());
    let disk = machine.disk.clone();
    watch.begin(format!("{:?} {form:?} at operation {at} of {:?}", class.kind, class.ops), &disk);
    disk.inject(class.fault(form, at));
    let mut run = Run::new(machine, SEED + random::seed() % 1000, watch, class.kind == FaultKind::SyncDrops);
    run.unnoticed = class.unnoticed;
    run.go();
    let (disk, history) = if at.is_multiple_of(2) { run.die() } else { run.end() };
    let struck = disk.faults_struck() > 0;
    disk.clear_faults();
    figures.cases += u64::from(struck);
    figures.acknowledged += history.acknowledged;
    figures.stalls += u64::from(watch.space_returned());
    if !struck {
        return false;
    }
    let journal = disk.journal();
    let power_loss = |model| Machine::on(SimVfs::on(journal.crash_at(journal.len(), model, Keep::None, 512)));
    let found = [
        (power_loss(CrashModel::Strict), After::PowerLoss),
        (power_loss(CrashModel::Ext4Like), After::PowerLoss),
        (Machine::on(disk), After::ProcessDeath),
    ];
    for (machine, after) in found {
        let db = machine.open().unwrap_or_else(|error| panic!("{after:?}: opening again: {error}"));
        history.check(&db, after);
        db.close().unwrap_or_else(|error| panic!("{after:?}: closing again: {error}"));
    }
    true
}

const EIO: Class = Class { kind: FaultKind::Error(OsError::Io), ops: &OpKind::ALL, unnoticed: false };

fn error(error: OsError, ops: &'static [OpKind]) -> Class {
    Class { kind: FaultKind::Error(error), ops, unnoticed: false }
}

#[test]
fn a_failed_call_at_any_operation_loses_nothing() {
    walk(EIO, Form::Once, 1);
}

#[test]
fn failed_calls_in_a_row_lose_nothing() {
    walk(EIO, Form::Window, 7);
}

#[test]
fn a_device_that_is_gone_from_any_operation_on_loses_nothing() {
    walk(EIO, Form::Sticky, 7);
}

#[test]
fn a_write_that_fails_half_way_loses_nothing() {
    let class = Class { kind: FaultKind::PartialThenError(OsError::Io), ops: &OpKind::ALL, unnoticed: false };
    walk(class, Form::Once, 1);
}

#[test]
fn a_moment_without_space_is_waited_out_or_told() {
    walk(error(OsError::NoSpace, &NEED_SPACE), Form::Once, 1);
    walk(error(OsError::NoSpace, &NEED_SPACE), Form::Window, 5);
    walk(error(OsError::Quota, &NEED_SPACE), Form::Once, 5);
    let class = Class { kind: FaultKind::PartialThenError(OsError::NoSpace), ops: &OpKind::ALL, unnoticed: false };
    walk(class, Form::Once, 3);
}

#[test]
fn a_disk_that_is_full_from_any_operation_on_stalls_or_tells() {
    walk(error(OsError::NoSpace, &NEED_SPACE), Form::Sticky, 5);
    walk(error(OsError::Quota, &NEED_SPACE), Form::Sticky, 11);
}

#[test]
fn too_many_open_files_lose_nothing() {
    for form in [Form::Once, Form::Window, Form::Sticky] {
        walk(error(OsError::TooManyFiles, &NEED_DESCRIPTOR), form, 1);
    }
}

#[test]
fn interrupted_calls_are_not_noticed() {
    let class = Class { kind: FaultKind::Error(OsError::Interrupted), ops: &SLOW, unnoticed: true };
    walk(class, Form::Once, 3);
    walk(class, Form::Window, 7);
}

#[test]
fn short_reads_and_writes_are_not_noticed() {
    for kind in [FaultKind::ShortRead, FaultKind::ShortWrite] {
        let class = Class { kind, ops: &OpKind::ALL, unnoticed: true };
        walk(class, Form::Once, 3);
        walk(class, Form::Window, 7);
        walk(class, Form::Sticky, 20);
    }
}

#[test]
fn a_failed_sync_that_drops_its_data_loses_nothing_that_was_acknowledged() {
    let class = Class { kind: FaultKind::SyncDrops, ops: &OpKind::ALL, unnoticed: false };
    for form in [Form::Once, Form::Window, Form::Sticky] {
        walk(class, form, 1);
    }
}
