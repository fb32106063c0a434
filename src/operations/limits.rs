//! How large an object of a repository may be before it is set aside unread: a target may hold anything.

/// Larger than `lifeboat.json` will ever be.
pub const INFO_BYTES_MAX: u64 = 64 << 10;
pub const SIGNATURE_BYTES_MAX: u64 = 8 << 10;
pub const EPOCH_BYTES_MAX: u64 = 1 << 20;
pub const INDEX_BYTES_MAX: u64 = 256 << 20;
/// Recipes hold a line for each part and extent.
pub const RECIPE_BYTES_MAX: u64 = 512 << 20;
/// The text of a recipe or an index.
pub const RECIPE_RAW_BYTES_MAX: usize = 1 << 30;
