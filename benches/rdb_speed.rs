//! How fast the reader of RDBs fingerprints a file, in MB/s of one core: the bench's row "fingerprint alone".
//!
//! `cargo run --release --example rdb_speed -- dump.rdb`
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool for a person or for the bench")]

use std::io::Read;
use std::time::Instant;

use lifeboat::sources::redis::rdb::{Hashed, Parser, Sum256, Visitor};

/// As large as the pieces that come from a server.
const PIECE_BYTES: usize = 128 << 10;
const ROUNDS: usize = 3;

#[derive(Default)]
struct Summing {
    sum: Sum256,
    records: u64,
}

impl Visitor for Summing {
    fn hashed(&mut self, record: &Hashed<'_>) {
        self.sum.add(record.hash);
        self.records += 1;
    }
}

fn main() -> std::process::ExitCode {
    let Some(file) = std::env::args_os().nth(1) else {
        eprintln!("usage: rdb_speed FILE");
        return std::process::ExitCode::from(2);
    };
    match (0..ROUNDS).map(|_| megabytes_a_second(&file)).collect::<Result<Vec<f64>, _>>() {
        Ok(speeds) => {
            println!("{:.0}", speeds.into_iter().fold(0.0, f64::max));
            std::process::ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: {error}", file.display());
            std::process::ExitCode::FAILURE
        }
    }
}

/// Only the reading of what is in memory is timed.
fn megabytes_a_second(file: &std::ffi::OsStr) -> Result<f64, Box<dyn std::error::Error>> {
    let mut file = std::fs::File::open(file)?;
    let (mut parser, mut summing, mut piece) = (Parser::new(), Summing::default(), vec![0; PIECE_BYTES]);
    let (mut secs, mut megabytes) = (0.0, 0.0);
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            break;
        }
        let begun = Instant::now();
        parser.feed(&piece[..count], &mut summing)?;
        secs += begun.elapsed().as_secs_f64();
        megabytes += f64::from(u32::try_from(count)?) / 1e6;
    }
    let summary = parser.finish()?;
    if summary.unknown.is_some() || summary.records != summing.records {
        return Err("the file was not read to its end".into());
    }
    Ok(megabytes / secs)
}
