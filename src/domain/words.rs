//! What people who run a kind of system call what is in it: the one place for these words, for proofs, reports and the terminal
//! alike.

/// One, and many.
pub type Noun = [&'static str; 2];

/// The words of one kind of source.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    pub groups: Noun,
    /// Empty where what is in a group has no name, and is not counted.
    pub rows: Noun,
    /// Definitions are compared, too.
    pub has_catalog: bool,
}

impl Words {
    pub fn has_rows(self) -> bool {
        !self.rows[1].is_empty()
    }

    /// `12 keys, `, before what else there is to tell; nothing where nothing is counted.
    pub fn counted_first(self, rows: u64) -> String {
        if self.has_rows() { format!("{}, ", counted(rows, self.rows)) } else { String::new() }
    }
}

/// Tables and rows, unless the kind has other words.
pub fn words(kind: &str) -> Words {
    match kind {
        "redis" => Words { groups: ["group of keys", "groups of keys"], rows: ["key", "keys"], has_catalog: false },
        "command" => Words { groups: ["stream", "streams"], rows: ["", ""], has_catalog: false },
        "files" => Words { groups: ["list of files", "lists of files"], rows: ["file", "files"], has_catalog: false },
        "git" => Words {
            groups: ["list of repositories", "lists of repositories"],
            rows: ["ref or object", "refs and objects"],
            has_catalog: false,
        },
        "objects" => Words { groups: ["bucket", "buckets"], rows: ["object", "objects"], has_catalog: false },
        _ => Words { groups: ["table", "tables"], rows: ["row", "rows"], has_catalog: true },
    }
}

/// What the records of one group are called.
pub fn records(kind: &str, group: &str) -> Noun {
    match (kind, group) {
        ("redis", "functions") => ["library", "libraries"],
        ("command", _) => words(kind).groups,
        _ => words(kind).rows,
    }
}

/// `1 row`, `12000 rows`: plain digits, which a terminal shows and a script finds.
pub fn counted(number: u64, [one, many]: Noun) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_told_in_its_own_words_and_one_is_not_many() {
        for (kind, one, many) in [("postgres", "1 row", "12000 rows"), ("redis", "1 key", "12000 keys")] {
            let words = words(kind);
            assert_eq!((counted(1, words.rows).as_str(), counted(12_000, words.rows).as_str()), (one, many));
        }
        assert_eq!(counted(0, words("redis").groups), "0 groups of keys");
        assert_eq!(words("redis").counted_first(2) + "read", "2 keys, read");
        assert_eq!(words("command").counted_first(0) + "read", "read");
        assert_eq!(counted(2, records("redis", "functions")), "2 libraries");
        assert_eq!(counted(2, records("redis", "db0/hash")), "2 keys");
    }
}
