//! Leases a disposable instance and always tears it down.
