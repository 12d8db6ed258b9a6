//! Every input in the fuzz targets' corpora, held against the targets' own relations.
//!
//! What a fuzzer once found stays found without a fuzzer. The folders are
//! `fuzz/corpus/<target>`; `fuzz/README.md` says how an input gets there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[path = "../../../fuzz/relations.rs"]
#[expect(unreachable_pub, reason = "the fuzz crate uses them as a library")]
mod relations;

/// A corpus has at most this many files: it is replayed in every build.
const FILES_MAX: usize = 20;

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    entries.map(|entry| entry.expect("the folder is readable").path()).collect()
}

#[test]
fn every_relation_holds_for_its_whole_corpus() {
    for (target, relation) in relations::TARGETS {
        let files = entries(&corpus().join(target));
        assert!((1..=FILES_MAX).contains(&files.len()), "{target} has {} files", files.len());
        for file in files {
            let bytes = std::fs::read(&file).expect("the file is readable");
            let outcome = std::panic::catch_unwind(|| relation(&bytes));
            assert!(outcome.is_ok(), "{} breaks its relation", file.display());
        }
    }
}

#[test]
fn every_corpus_has_a_relation_and_a_fuzz_target() {
    let names = |folder: &Path| -> BTreeSet<String> {
        let stem = |path: PathBuf| path.file_stem().map(|s| s.to_string_lossy().into_owned());
        entries(folder).into_iter().filter_map(stem).collect()
    };
    let targets = relations::TARGETS.iter().map(|(target, _)| (*target).to_owned()).collect();
    assert_eq!(names(&corpus()), targets);
    assert_eq!(names(&corpus().join("../fuzz_targets")), targets);
}
