//! Fingerprints, inventories, checks: what makes a verdict.
