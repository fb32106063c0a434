//! Cuts large tables into ranges of blocks that several connections read at once.

use super::catalog::Table;
use super::wire::quote_ident;

/// The most that one range holds, heap and TOAST; at least half of it, for the number of blocks is a power of two.
const RANGE_BYTES_MAX: u64 = 128 << 20;
/// Smaller ranges than half of this are not worth a part of their own.
const RANGE_BYTES_MIN: u64 = 32 << 20;
/// While the last range is read the other sessions have nothing to do, so a table is cut into about so many at least.
const RANGES_WANTED: u64 = 32;
/// Postgres's default block size; another one only makes ranges smaller or larger.
const BLOCK_BYTES: u64 = 8 << 10;
/// TID range scans came with this version.
const RANGE_SCANS_SINCE: u32 = 140_000;

/// One piece of work: a table, or the blocks `from..to` of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    /// Index into the tables of the plan.
    pub(super) table: usize,
    pub(super) blocks: Option<(u64, Option<u64>)>,
    /// Heap and TOAST, estimated.
    pub(super) bytes: u64,
}

/// Ranges of one table. Boundaries are multiples of a power of two of blocks, so the next backup of a table that grew at its end
/// cuts at the same places, or at every second of them; the last range is open, so rows that came after the size was taken are in it.
pub(super) fn of(index: usize, table: &Table, server_version_num: u32) -> Vec<Range> {
    let bytes = table.heap_bytes + table.toast_bytes;
    let blocks = table.heap_bytes.div_ceil(BLOCK_BYTES);
    let whole = vec![Range { table: index, blocks: None, bytes }];
    if server_version_num < RANGE_SCANS_SINCE || !table.heap || table.filter.is_some() || blocks == 0 {
        return whole;
    }
    let bytes_per_block = bytes.div_ceil(blocks);
    let range_bytes = (bytes / RANGES_WANTED).clamp(RANGE_BYTES_MIN, RANGE_BYTES_MAX);
    let step = prev_power_of_two((range_bytes / bytes_per_block).max(1));
    if blocks <= step {
        return whole;
    }
    let count = blocks.div_ceil(step);
    (0..count)
        .map(|at| {
            let last = at == count - 1;
            let in_range = if last { blocks - at * step } else { step };
            Range {
                table: index,
                blocks: Some((at * step, (!last).then_some((at + 1) * step))),
                bytes: in_range * bytes_per_block,
            }
        })
        .collect()
}

fn prev_power_of_two(number: u64) -> u64 {
    1 << number.ilog2()
}

/// The statement that reads a range.
pub(super) fn copy_sql(table: &Table, columns: &[String], blocks: Option<(u64, Option<u64>)>) -> String {
    let list = columns.iter().map(|column| quote_ident(column)).collect::<Vec<_>>().join(", ");
    let name = &table.quoted;
    match (blocks, &table.filter) {
        (Some((from, to)), _) => {
            let upper = to.map(|to| format!(" AND ctid < '({to},0)'::pg_catalog.tid")).unwrap_or_default();
            format!("COPY (SELECT {list} FROM ONLY {name} WHERE ctid >= '({from},0)'::pg_catalog.tid{upper}) TO STDOUT")
        }
        (None, Some(filter)) if !filter.is_empty() => {
            format!("COPY (SELECT {list} FROM ONLY {name} {filter}) TO STDOUT")
        }
        // The plain form is cheaper for the server, and reads the table itself only. Without a list it leaves out
        // generated columns by itself, and a table without columns has no list.
        (None, _) if list.is_empty() => format!("COPY {name} TO STDOUT"),
        (None, _) => format!("COPY {name} ({list}) TO STDOUT"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(heap_bytes: u64, toast_bytes: u64) -> Table {
        Table {
            oid: 1,
            schema: "s".into(),
            name: "t".into(),
            quoted: "s.t".into(),
            kind: 'r',
            unlogged: false,
            heap: true,
            parent: None,
            heap_bytes,
            toast_bytes,
            readable: true,
            hidden_rows: false,
            filter: None,
            columns: vec!["a".into(), "b\"c".into()],
        }
    }

    #[test]
    fn a_table_that_grew_is_cut_at_the_same_blocks_and_the_last_range_is_open() {
        let before = of(0, &table(100 << 20, 0), 150_000);
        let after = of(0, &table(150 << 20, 0), 150_000);
        let cuts = |ranges: &[Range]| ranges.iter().filter_map(|range| range.blocks?.1).collect::<Vec<_>>();
        assert_eq!(cuts(&before), [4096, 8192, 12288]);
        assert_eq!(cuts(&after), [4096, 8192, 12288, 16384]);
        assert_eq!(after.last().unwrap().blocks, Some((16384, None)));
        assert_eq!(before.iter().map(|range| range.bytes).sum::<u64>(), 100 << 20);
        let doubled = cuts(&of(0, &table(2 << 30, 0), 150_000));
        assert_eq!((doubled[0], doubled.len()), (8192, 31));
    }

    #[test]
    fn the_last_range_is_a_small_share_of_a_large_table_and_a_large_range_of_none() {
        for gib in [1, 3, 10, 1000] {
            let ranges = of(0, &table(gib << 30, 0), 150_000);
            let largest = ranges.iter().map(|range| range.bytes).max().unwrap();
            assert!(ranges.len() >= 16 && largest <= RANGE_BYTES_MAX, "{gib} GiB: {} of {largest}", ranges.len());
        }
    }

    #[test]
    fn toast_counts_so_a_small_heap_with_large_values_is_cut_too() {
        let ranges = of(0, &table(1 << 20, 8 << 30), 150_000);
        assert!(ranges.len() >= 64, "{}", ranges.len());
        assert!(ranges.iter().all(|range| range.bytes <= RANGE_BYTES_MAX));
    }

    #[test]
    fn small_tables_old_servers_and_other_storage_are_read_whole() {
        assert_eq!(of(0, &table(1 << 20, 0), 150_000).len(), 1);
        assert_eq!(of(0, &table(1 << 40, 0), 130_000).len(), 1);
        let columnar = Table { heap: false, ..table(1 << 40, 0) };
        assert_eq!(of(0, &columnar, 150_000).len(), 1);
        assert_eq!(of(0, &table(0, 0), 150_000)[0].blocks, None);
    }

    #[test]
    fn the_statement_fits_the_range_the_filter_and_the_lack_of_columns() {
        let table = table(1, 0);
        let columns = table.columns.clone();
        assert_eq!(copy_sql(&table, &columns, None), r#"COPY s.t ("a", "b""c") TO STDOUT"#);
        assert_eq!(copy_sql(&table, &[], None), "COPY s.t TO STDOUT");
        assert_eq!(
            copy_sql(&table, &columns[..1], Some((8, Some(16)))),
            r#"COPY (SELECT "a" FROM ONLY s.t WHERE ctid >= '(8,0)'::pg_catalog.tid AND ctid < '(16,0)'::pg_catalog.tid) TO STDOUT"#
        );
        let filtered = Table { filter: Some("WHERE a > 1".into()), ..table };
        assert_eq!(
            copy_sql(&filtered, &columns[..1], None),
            r#"COPY (SELECT "a" FROM ONLY s.t WHERE a > 1) TO STDOUT"#
        );
    }
}
