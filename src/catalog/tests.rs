//! What a catalog shows, and what becomes of one that is damaged, newer or opened by many.

use super::*;

fn proof_row(id: &str, target: &str, finished: &str) -> ProofRow {
    ProofRow {
        id: id.into(),
        job: "j".into(),
        snapshot: "s".into(),
        target: target.into(),
        dumped_at: finished.into(),
        started: finished.into(),
        finished: finished.into(),
        verdict: "{}".into(),
        measured: "{}".into(),
    }
}

#[tokio::test]
async fn the_newest_proof_of_each_target_is_shown_however_old() {
    let state = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(state.path()).await.unwrap();
    for (id, target, at) in [("1", "a", "2020"), ("2", "a", "2021"), ("3", "b", "2019"), ("4", "b", "2025")] {
        catalog.put_proof(&proof_row(id, target, at)).await.unwrap();
    }
    let ids: Vec<_> = catalog.proofs("j", "2024").await.unwrap().into_iter().map(|proof| proof.id).collect();
    assert_eq!(ids, ["4", "2"]);
}

#[tokio::test]
async fn a_damaged_catalog_is_set_aside_and_said() {
    let state = tempfile::tempdir().unwrap();
    std::fs::write(state.path().join("catalog.sqlite"), b"not a database at all ".repeat(500)).unwrap();
    let catalog = Catalog::open(state.path()).await.unwrap();
    assert!(catalog.set_aside.as_ref().is_some_and(|aside| aside.exists()));
    assert_eq!(catalog.newest_snapshot("j").await.unwrap(), None);
    drop(catalog);
    assert!(Catalog::open(state.path()).await.unwrap().set_aside.is_none());
}

#[tokio::test]
async fn a_copy_shows_what_is_known_and_changes_nothing() {
    let state = tempfile::tempdir().unwrap();
    assert_eq!(Catalog::copy_of(state.path()).await.unwrap().proofs("j", "").await.unwrap(), []);
    assert!(std::fs::read_dir(state.path()).unwrap().next().is_none());
    let catalog = Catalog::open(state.path()).await.unwrap();
    catalog.put_proof(&proof_row("1", "a", "2025")).await.unwrap();
    // The catalog is still open, so the row is in the write-ahead log alone.
    let copy = Catalog::copy_of(state.path()).await.unwrap();
    assert_eq!(copy.proofs("j", "").await.unwrap().len(), 1);
    copy.put_proof(&proof_row("2", "a", "2026")).await.unwrap();
    assert_eq!(catalog.proofs("j", "").await.unwrap().len(), 1);
    catalog.connection.into_inner().close().await.unwrap();
    std::fs::write(state.path().join("catalog.sqlite"), b"not a database at all ".repeat(500)).unwrap();
    assert_eq!(Catalog::copy_of(state.path()).await.unwrap().proofs("j", "").await.unwrap(), []);
}

#[tokio::test]
async fn a_catalog_of_a_newer_version_is_left_alone() {
    let state = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(state.path()).await.unwrap();
    sqlx::raw_sql("pragma user_version = 99").execute(&mut *catalog.connection.lock().await).await.unwrap();
    drop(catalog);
    assert!(matches!(Catalog::open(state.path()).await, Err(CatalogError::TooNew { found: 99, .. })));
}

#[tokio::test]
async fn many_processes_may_open_and_write_at_once() {
    let state = tempfile::tempdir().unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let state = state.path().to_owned();
            tokio::spawn(async move {
                let catalog = Catalog::open(&state).await.unwrap();
                catalog.put_proof(&proof_row(&number.to_string(), &number.to_string(), "2025")).await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let catalog = Catalog::open(state.path()).await.unwrap();
    assert_eq!(catalog.proofs("j", "").await.unwrap().len(), 8);
}
