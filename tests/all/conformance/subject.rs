//! What is tested: each backend, and how it is created and opened.

use duramen_base::{Backend, BackendKind, Compression, Result, StoreEnv, model};

/// One backend.
pub(crate) trait Subject: 'static {
    /// Its store.
    type Store: Backend;
    /// Which options it takes.
    const KIND: BackendKind;
    /// The same.
    const COMPRESSION: Compression = Compression::None;
    /// Whether it has files; one without is empty after a reopen and never moves `persisted`.
    const HAS_FILES: bool;

    /// Creates the files of an empty store.
    fn create(env: &StoreEnv) -> Result<()>;
    /// Opens a store.
    fn open(env: StoreEnv) -> Result<Self::Store>;
}

/// The model, which keeps every version.
pub(crate) struct Model;

impl Subject for Model {
    type Store = model::Model;
    const KIND: BackendKind = BackendKind::Model;
    const HAS_FILES: bool = false;

    fn create(env: &StoreEnv) -> Result<()> {
        model::Model::create(env)
    }

    fn open(env: StoreEnv) -> Result<model::Model> {
        model::Model::open(env)
    }
}

/// The model that drops what nobody reads: shows that the pruning rule itself is right.
pub(crate) struct PruningModel;

impl Subject for PruningModel {
    type Store = model::Model;
    const KIND: BackendKind = BackendKind::Model;
    const HAS_FILES: bool = false;

    fn create(env: &StoreEnv) -> Result<()> {
        model::Model::create(env)
    }

    fn open(env: StoreEnv) -> Result<model::Model> {
        model::Model::open_pruning(env)
    }
}

/// The B-tree.
pub(crate) struct BTree;

impl Subject for BTree {
    type Store = duramen_btree::BTree;
    const KIND: BackendKind = BackendKind::BTree;
    const HAS_FILES: bool = true;

    fn create(env: &StoreEnv) -> Result<()> {
        duramen_btree::BTree::create(env)
    }

    fn open(env: StoreEnv) -> Result<duramen_btree::BTree> {
        duramen_btree::BTree::open(env)
    }
}

/// The log-structured store.
pub(crate) struct Lsm;

impl Subject for Lsm {
    type Store = duramen_lsm::Lsm;
    const KIND: BackendKind = BackendKind::Lsm;
    const HAS_FILES: bool = true;

    fn create(env: &StoreEnv) -> Result<()> {
        duramen_lsm::Lsm::create(env)
    }

    fn open(env: StoreEnv) -> Result<duramen_lsm::Lsm> {
        duramen_lsm::Lsm::open(env)
    }
}

/// The log-structured store with blocks stored compressed.
pub(crate) struct PackedLsm;

impl Subject for PackedLsm {
    type Store = duramen_lsm::Lsm;
    const KIND: BackendKind = BackendKind::Lsm;
    const COMPRESSION: Compression = Compression::Lz4;
    const HAS_FILES: bool = true;

    fn create(env: &StoreEnv) -> Result<()> {
        duramen_lsm::Lsm::create(env)
    }

    fn open(env: StoreEnv) -> Result<duramen_lsm::Lsm> {
        duramen_lsm::Lsm::open(env)
    }
}

/// Makes of each generic test one test per backend, called `<test>::<backend>`.
macro_rules! on_each_backend {
    ($($test:ident),+ $(,)?) => {$(
        mod $test {
            use $crate::conformance::subject;

            #[test]
            fn model() {
                super::$test::<subject::Model>();
            }

            #[test]
            fn pruning_model() {
                super::$test::<subject::PruningModel>();
            }

            #[test]
            fn btree() {
                super::$test::<subject::BTree>();
            }

            #[test]
            fn lsm() {
                super::$test::<subject::Lsm>();
            }

            #[test]
            fn packed_lsm() {
                super::$test::<subject::PackedLsm>();
            }
        }
    )+};
}

/// The same for the backends with files.
macro_rules! on_each_backend_with_files {
    ($($test:ident),+ $(,)?) => {$(
        mod $test {
            use $crate::conformance::subject;

            #[test]
            fn btree() {
                super::$test::<subject::BTree>();
            }

            #[test]
            fn lsm() {
                super::$test::<subject::Lsm>();
            }

            #[test]
            fn packed_lsm() {
                super::$test::<subject::PackedLsm>();
            }
        }
    )+};
}

pub(crate) use {on_each_backend, on_each_backend_with_files};
