//! What a person can do about what `git`, `git-lfs` and `ssh` say.

/// What they say, and what helps; the first that fits counts.
const HINTS: [(&[&str], &str); 6] = [
    (
        &["Host key verification failed", "REMOTE HOST IDENTIFICATION HAS CHANGED"],
        "add the server's key to `ssh_known_hosts` once its fingerprint was compared with what its owner publishes",
    ),
    (
        &["Permission denied (", "Too many authentication failures"],
        "`ssh_key` names a private key that the server lets in",
    ),
    (
        &[
            "Connection refused",
            "Connection timed out",
            "Could not resolve host",
            "No route to host",
            "Couldn't connect",
        ],
        "check the address and the network",
    ),
    (
        &["could not read Username", "Authentication failed", "error: 401", "error: 403"],
        "`token` names one that may read this repository, `token_user` whose it is",
    ),
    (&["certificate", "SSL", "CAfile"], "`tls_ca` names a file with the authority that the server's certificate is of"),
    (&["`git` did not finish within"], "`answer_timeout` says how long a server may take to list its refs"),
];

pub(super) fn hint(why: &str) -> Option<&'static str> {
    HINTS.iter().find(|(said, _)| said.iter().any(|said| why.contains(said))).map(|(_, hint)| *hint)
}
