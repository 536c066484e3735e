//! The three file systems do the same: random calls on machine, memory and simulation give the same answers.

use std::io;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::vfs::{DirEntry, MemVfs, OsVfs};

/// A call; small numbers choose among a few paths and handles.
#[derive(Clone, Debug)]
enum Call {
    Open { path: u8, mode: u8 },
    Close { handle: u8 },
    CreateDir { path: u8 },
    Rename { from: u8, to: u8 },
    RemoveFile { path: u8 },
    RemoveDir { path: u8 },
    List { path: u8 },
    SyncDir { path: u8 },
    Lock { path: u8 },
    Unlock,
    Read { handle: u8, offset: u16, len: u16 },
    Write { handle: u8, offset: u16, len: u16, byte: u8 },
    Zeros { handle: u8, offset: u16, len: u16 },
    SetLen { handle: u8, len: u16 },
    Punch { handle: u8, offset: u16, len: u16 },
    Sync { handle: u8 },
}

/// What a call answered.
#[derive(Debug, PartialEq)]
enum Answer {
    Done,
    Bytes(Vec<u8>, u64),
    Entries(Vec<DirEntry>),
    /// With the kind where it is one that code looks at.
    Failed(Option<io::ErrorKind>),
    NoHandle,
}

/// One file system and what is open on it.
struct Session {
    disk: Arc<dyn Vfs>,
    root: PathBuf,
    handles: Vec<Arc<dyn VfsFile>>,
    locks: Vec<Box<dyn crate::vfs::FileLock>>,
}

const PATHS: [&str; 9] = ["a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "a/x", "missing/a"];

impl Session {
    fn new(disk: Arc<dyn Vfs>, root: PathBuf) -> Session {
        Session { disk, root, handles: Vec::new(), locks: Vec::new() }
    }

    fn path(&self, number: u8) -> PathBuf {
        self.root.join(PATHS[usize::from(number) % PATHS.len()])
    }

    fn on_handle(&self, number: u8, call: impl FnOnce(&dyn VfsFile) -> io::Result<Answer>) -> Answer {
        if self.handles.is_empty() {
            return Answer::NoHandle;
        }
        answer(call(&*self.handles[usize::from(number) % self.handles.len()]))
    }

    fn run(&mut self, call: &Call) -> Answer {
        let disk = Arc::clone(&self.disk);
        match *call {
            Call::Open { path, mode } => {
                let modes = [OpenMode::Read, OpenMode::ReadWrite, OpenMode::CreateNew, OpenMode::OpenOrCreate];
                let opened = disk.open(&self.path(path), modes[usize::from(mode) % 4]);
                answer(opened.map(|handle| {
                    self.handles.push(handle);
                    Answer::Done
                }))
            }
            Call::Close { handle } => {
                if !self.handles.is_empty() {
                    let index = usize::from(handle) % self.handles.len();
                    self.handles.swap_remove(index);
                }
                Answer::Done
            }
            Call::CreateDir { path } => done(disk.create_dir(&self.path(path))),
            Call::Rename { from, to } => done(disk.rename(&self.path(from), &self.path(to))),
            Call::RemoveFile { path } => done(disk.remove_file(&self.path(path))),
            Call::RemoveDir { path } => done(disk.remove_dir(&self.path(path))),
            Call::List { path } => {
                let path = if path == 0 { self.root.clone() } else { self.path(path) };
                answer(disk.list(&path).map(Answer::Entries))
            }
            Call::SyncDir { path } => match disk.list(&self.path(path)) {
                // Syncing what is not a directory is not something that systems agree on.
                Err(_) => Answer::Done,
                Ok(_) => done(disk.sync_dir(&self.path(path))),
            },
            Call::Lock { path } => answer(disk.lock(&self.path(path)).and_then(|lock| {
                lock.write_content(b"held")?;
                self.locks.push(lock);
                Ok(Answer::Done)
            })),
            Call::Unlock => {
                self.locks.pop();
                Answer::Done
            }
            Call::Read { handle, offset, len } => self.on_handle(handle, |file| {
                let mut bytes = vec![0; usize::from(len)];
                let count = file.read_at(&mut bytes, offset.into())?;
                bytes.truncate(count);
                Ok(Answer::Bytes(bytes, file.len()?))
            }),
            Call::Write { handle, offset, len, byte } => self.on_handle(handle, |file| {
                let count = file.write_at(&vec![byte; usize::from(len)], offset.into())?;
                Ok(Answer::Bytes(Vec::new(), count as u64))
            }),
            Call::Zeros { handle, offset, len } => {
                self.on_handle(handle, |file| file.write_zeros(offset.into(), len.into()).map(|()| Answer::Done))
            }
            Call::SetLen { handle, len } => {
                self.on_handle(handle, |file| file.set_len(len.into()).map(|()| Answer::Done))
            }
            Call::Punch { handle, offset, len } => {
                self.on_handle(handle, |file| file.punch(offset.into(), len.into()).map(|()| Answer::Done))
            }
            Call::Sync { handle } => self.on_handle(handle, |file| file.sync_data().map(|()| Answer::Done)),
        }
    }
}

fn done(result: io::Result<()>) -> Answer {
    answer(result.map(|()| Answer::Done))
}

fn answer(result: io::Result<Answer>) -> Answer {
    result.unwrap_or_else(|error| {
        let kind = error.kind();
        let known = [io::ErrorKind::NotFound, io::ErrorKind::AlreadyExists, io::ErrorKind::WouldBlock];
        Answer::Failed(known.contains(&kind).then_some(kind))
    })
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let path = || 0..PATHS.len() as u8;
    let offset = || 0..9000_u16;
    let call = prop_oneof![
        4 => (path(), 0..4_u8).prop_map(|(path, mode)| Call::Open { path, mode }),
        1 => any::<u8>().prop_map(|handle| Call::Close { handle }),
        1 => path().prop_map(|path| Call::CreateDir { path }),
        2 => (path(), path()).prop_map(|(from, to)| Call::Rename { from, to }),
        1 => path().prop_map(|path| Call::RemoveFile { path }),
        1 => path().prop_map(|path| Call::RemoveDir { path }),
        2 => path().prop_map(|path| Call::List { path }),
        1 => path().prop_map(|path| Call::SyncDir { path }),
        1 => path().prop_map(|path| Call::Lock { path }),
        1 => Just(Call::Unlock),
        4 => (any::<u8>(), offset(), offset()).prop_map(|(handle, offset, len)| Call::Read { handle, offset, len }),
        4 => (any::<u8>(), offset(), offset(), any::<u8>())
            .prop_map(|(handle, offset, len, byte)| Call::Write { handle, offset, len, byte }),
        1 => (any::<u8>(), offset(), offset()).prop_map(|(handle, offset, len)| Call::Zeros { handle, offset, len }),
        1 => (any::<u8>(), offset()).prop_map(|(handle, len)| Call::SetLen { handle, len }),
        1 => (any::<u8>(), offset(), offset()).prop_map(|(handle, offset, len)| Call::Punch { handle, offset, len }),
        1 => any::<u8>().prop_map(|handle| Call::Sync { handle }),
    ];
    prop::collection::vec(call, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn machine_memory_and_simulation_agree(calls in calls()) {
        let dir = tempfile::tempdir().unwrap();
        let sim = SimVfs::new();
        let mut sessions = [
            Session::new(Arc::new(OsVfs), dir.path().to_owned()),
            Session::new(Arc::new(MemVfs::new()), PathBuf::new()),
            Session::new(Arc::new(sim.clone()), PathBuf::from("/")),
        ];
        for call in &calls {
            let [machine, memory, simulated] = sessions.each_mut().map(|session| session.run(call));
            prop_assert_eq!(&machine, &memory, "{:?}: machine and memory", call);
            prop_assert_eq!(&machine, &simulated, "{:?}: machine and simulation", call);
        }
        // SR1: all pending effects on top of the durable state give what the program sees, in both models.
        let journal = sim.journal();
        for model in MODELS {
            let all = journal.crash_at(journal.len(), model, Keep::All, 512);
            prop_assert_eq!(all.digest(), sim.image().digest());
            let data_and_names = journal.crash_at(journal.len(), model, Keep::TornLast(0), 4096);
            prop_assert_eq!(data_and_names.files().len(), all.files().len());
        }
        prop_assert_eq!(journal.process_death_at(journal.len()).digest(), sim.image().digest());
    }
}
