//! Index objects: every byte counts, so what reads encodes back to itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat::repository::index;

fuzz_target!(|data: &[u8]| {
    if let Ok(read) = index::decode("index", data) {
        assert_eq!(index::encode(&read), data);
    }
});
