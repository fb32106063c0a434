//! What is told of objects that differ, are missing, or are written badly.

use super::*;

fn lines(entries: &[(&str, &str, &str)]) -> String {
    let line = |(kind, name, attributes): &(&str, &str, &str)| {
        format!("{{\"kind\":{kind:?},\"name\":{name:?},\"attributes\":{attributes}}}\n")
    };
    entries.iter().map(line).collect::<Vec<_>>().concat()
}

fn compare(one: &str, other: &str) -> Result<InventoryComparison, ProofError> {
    compare_inventories(one.as_bytes(), other.as_bytes())
}

fn told(one: &[(&str, &str, &str)], other: &[(&str, &str, &str)]) -> Vec<String> {
    let found = compare(&lines(one), &lines(other)).unwrap();
    found.mismatches.iter().map(|m| format!("{}: {}: {} | {}", m.what, m.difference, m.expected, m.actual)).collect()
}

#[test]
fn equal_objects_are_counted_by_kind_whatever_the_order_of_their_attributes() {
    let one = lines(&[("index", "a", "{\"x\":1,\"y\":[1]}"), ("table", "a", "{}"), ("table", "b", "{}")]);
    let other = lines(&[("index", "a", "{\"y\":[1],\"x\":1}"), ("table", "a", "{}"), ("table", "b", "{}")]);
    let found = compare(&one, &other).unwrap();
    assert!(found.mismatches.is_empty());
    assert_eq!(found.equal_by_kind, BTreeMap::from([("index".to_owned(), 1), ("table".to_owned(), 2)]));
    assert_eq!(found.equal(), 3);
}

#[test]
fn each_attribute_that_differs_is_named_with_both_values() {
    let differing = told(
        &[("table", "public.a", "{\"owner\":\"ann\",\"comment\":\"old\",\"same\":1}")],
        &[("table", "public.a", "{\"owner\":\"bob\",\"same\":1,\"forced\":true}")],
    );
    assert_eq!(
        differing,
        [
            "table public.a: owner differs: ann | bob",
            "table public.a: comment differs: old | none",
            "table public.a: forced differs: none | true",
        ]
    );
}

#[test]
fn objects_missing_or_extra_anywhere_are_named_and_the_rest_still_compared() {
    let found = told(
        &[("a", "1", "{}"), ("a", "3", "{}"), ("b", "1", "{\"v\":1}"), ("c", "9", "{}")],
        &[("a", "2", "{}"), ("a", "3", "{}"), ("b", "1", "{\"v\":2}")],
    );
    assert_eq!(
        found,
        [
            "a 1: missing: in the backup | not in the restored system",
            "a 2: not in the backup: nothing | in the restored system",
            "b 1: v differs: 1 | 2",
            "c 9: missing: in the backup | not in the restored system",
        ]
    );
}

#[test]
fn an_inventory_that_is_unsorted_or_repeats_itself_or_is_cut_off_is_an_error() {
    let sorted = lines(&[("a", "1", "{}")]);
    for bad in [
        lines(&[("a", "2", "{}"), ("a", "1", "{}")]),
        lines(&[("b", "1", "{}"), ("a", "1", "{}")]),
        lines(&[("a", "1", "{}"), ("a", "1", "{}")]),
        sorted[..sorted.len() - 3].to_owned(),
    ] {
        assert!(matches!(compare(&sorted, &bad), Err(ProofError::Inventory { side: "restored", .. })), "{bad}");
        assert!(matches!(compare(&bad, &sorted), Err(ProofError::Inventory { side: "recorded", .. })), "{bad}");
    }
}

#[test]
fn a_long_definition_is_shown_where_it_differs() {
    let body = "x".repeat(5_000);
    let found = compare(
        &lines(&[("function", "f", &format!("{{\"definition\":\"{body}OLD{body}\"}}"))]),
        &lines(&[("function", "f", &format!("{{\"definition\":\"{body}NEW{body}\"}}"))]),
    )
    .unwrap();
    let mismatch = &found.mismatches[0];
    assert!(mismatch.expected.contains("OLD") && mismatch.actual.contains("NEW"));
    assert!(mismatch.expected.len() < 500);
}
