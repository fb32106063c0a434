//! Roots and lists: whatever reads must encode back to the same bytes, or name the same objects.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat::repository::root::{Root, fold_packs, unfold_list};
use lifeboat::repository::writer::verify_root;

fuzz_target!(|data: &[u8]| {
    if let Ok(root) = Root::decode("root", data) {
        assert_eq!(root.encode(), data);
    }
    if let Ok(needed) = unfold_list("list", data) {
        fold_packs(needed);
    }
    // The signature's own parser, which sees bytes before anything is trusted.
    let _refused = verify_root("root", b"", &String::from_utf8_lossy(data), &["RWQ".repeat(18)]);
});
