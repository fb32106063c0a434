//! Recipes: what reads, reads again as the same after it was written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat::repository::recipe;

fuzz_target!(|data: &[u8]| {
    if let Ok(read) = recipe::decode("recipe", data) {
        assert_eq!(recipe::decode("recipe", &recipe::encode(&read)).unwrap().parts, read.parts);
    }
});
