mod checks;
mod inventory;
#[path = "support/mutations.rs"]
mod mutations;
