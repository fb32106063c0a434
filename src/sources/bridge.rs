//! Carries bytes between async sockets and the blocking threads of [`crate::domain::stream`].
