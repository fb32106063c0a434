//! The frames of a pack: spans lie within the content, and decoding one never brings more than it states.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat::repository::frame::{self, FRAME_RAW_BYTES_MAX};

fuzz_target!(|data: &[u8]| {
    let Ok(spans) = frame::spans("pack", data) else { return };
    for span in spans.iter().take(8) {
        assert!(span.raw_length <= FRAME_RAW_BYTES_MAX);
        let compressed = &data[span.offset..span.offset + span.length];
        if let Ok(raw) = frame::decode("pack", compressed, span.raw_length) {
            assert_eq!(raw.len(), span.raw_length);
        }
    }
});
