//! What is told of groups that are equal, differ, or are missing.

use super::*;

fn record(groups: &[(&str, u64, Option<u64>)]) -> (SourceRecord, HashMap<PartName, Fingerprint>) {
    let mut fingerprints = HashMap::new();
    let mut made = vec![];
    for (name, records, engine_count) in groups {
        let parts: Vec<PartName> = ["0", "1"].iter().map(|n| PartName::from_components(&[name, n])).collect();
        fingerprints.insert(parts[0].clone(), Fingerprint { sum: [1; 32], records: *records, bytes: 10 });
        fingerprints.insert(parts[1].clone(), Fingerprint { sum: [2; 32], records: 0, bytes: 0 });
        made.push(PartGroup { name: (*name).to_owned(), parts, engine_count: *engine_count, compared: true });
    }
    let record = SourceRecord {
        kind: "postgres".to_owned(),
        summary: String::new(),
        version: String::new(),
        instants: vec![],
        gaps: vec![],
        inventories: vec![],
        groups: made,
        details: serde_json::Value::Null,
    };
    (record, fingerprints)
}

fn compare(before: &[(&str, u64, Option<u64>)], after: &[(&str, u64, Option<u64>)]) -> GroupComparison {
    compare_of("postgres", before, after)
}

fn compare_of(kind: &str, before: &[(&str, u64, Option<u64>)], after: &[(&str, u64, Option<u64>)]) -> GroupComparison {
    let (mut left, left_prints) = record(before);
    left.kind = kind.to_owned();
    let (right, right_prints) = record(after);
    let recorded = Side { record: &left, fingerprints: &left_prints };
    compare_groups(recorded, Side { record: &right, fingerprints: &right_prints })
}

fn told(comparison: &GroupComparison) -> Vec<String> {
    comparison.mismatches.iter().map(|m| format!("{}: {}", m.what, m.difference)).collect()
}

#[test]
fn equal_groups_are_counted_as_evidence_and_nothing_is_told() {
    let comparison = compare(&[("a", 3, Some(3)), ("b", 0, None)], &[("b", 0, None), ("a", 3, Some(3))]);
    assert!(comparison.mismatches.is_empty());
    let evidence = comparison.evidence;
    assert_eq!((evidence.groups, evidence.rows, evidence.bytes, evidence.engine_counts), (2, 3, 20, 1));
}

#[test]
fn a_group_that_is_missing_or_extra_is_named() {
    let comparison = compare(&[("a", 1, None)], &[("b", 1, None)]);
    assert_eq!(told(&comparison), ["a: missing", "b: not in the backup"]);
    assert_eq!(comparison.evidence.groups, 0);
}

#[test]
fn a_differing_group_tells_how_many_rows_and_a_second_look_tells_exactly() {
    let mut comparison = compare(&[("a", 5, None)], &[("a", 2, None)]);
    assert_eq!(told(&comparison), ["a: rows differ: 3 missing"]);
    assert_eq!(comparison.differing, ["a"]);
    comparison.refine("a", RowCounts { missing: 4, extra: 1 });
    assert_eq!(told(&comparison), ["a: rows differ: 4 missing, 1 extra"]);
}

#[test]
fn what_differs_of_a_redis_are_keys_and_libraries() {
    let before = [("a", 5, None), ("functions", 2, None), ("b", 1, Some(2))];
    let after = [("a", 2, None), ("functions", 3, None), ("b", 1, Some(1))];
    let comparison = compare_of("redis", &before, &after);
    let count = "b: the engine's own count differs from the keys read from the backup";
    assert_eq!(told(&comparison), ["a: keys differ: 3 missing", "functions: libraries differ: 1 extra", count]);
    let sides: Vec<_> = comparison.mismatches.iter().map(|m| (m.expected.as_str(), m.actual.as_str())).collect();
    assert!(sides[0].0.starts_with("5 keys, ") && sides[1].1.starts_with("3 libraries, "), "{sides:?}");
    assert_eq!(sides[2], ("2 keys", "1 key"));
}

#[test]
fn records_with_names_are_told_by_them_also_where_a_whole_group_is_gone() {
    let mut comparison = compare(&[("a", 5, None), ("b", 1, None)], &[("a", 5, Some(5)), ("c", 1, None)]);
    comparison.differing.clear();
    comparison.kind = "redis".to_owned();
    assert_eq!(comparison.one_sided(), ["b", "c"]);
    let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let differing = NamedRecords::of(own(&["x", "y"]), own(&["y", "z"]));
    comparison.refine_by_names("b", RowCounts { missing: 2, extra: 2 }, &differing);
    assert_eq!(
        told(&comparison),
        ["b: keys differ: 2 missing, 2 extra (changed: `y`; missing: `x`; extra: `z`)", "c: not in the backup"]
    );
}

#[test]
fn an_engine_that_counted_otherwise_fails_the_group_although_fingerprints_are_equal() {
    let comparison = compare(&[("a", 5, Some(6))], &[("a", 5, Some(5))]);
    assert_eq!(told(&comparison), ["a: the engine's own count differs from the rows read from the backup"]);
    assert_eq!(comparison.evidence.engine_counts, 0);
}

#[test]
fn a_part_without_a_fingerprint_fails_its_group() {
    let (record, mut fingerprints) = record(&[("a", 1, None)]);
    let whole = fingerprints.clone();
    fingerprints.remove(&PartName::from_components(&["a", "1"]));
    let comparison = compare_groups(
        Side { record: &record, fingerprints: &whole },
        Side { record: &record, fingerprints: &fingerprints },
    );
    assert_eq!(told(&comparison), ["a: incomplete"]);
}
