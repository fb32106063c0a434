#!/bin/sh
# Backs up, restores from each target, writes a report, waits, again. A stand-in until the daemon (`lifeboat run`) is there.
set -eu

every=${LIFEBOAT_EVERY_MINUTES:-15}
config=${LIFEBOAT_CONFIG:-/etc/lifeboat/lifeboat.toml}
home=/var/lib/lifeboat
identity=$home/identity.txt
umask 077

# The recovery key is made once and stays in this volume. In earnest it belongs on another machine.
if [ ! -s "$identity" ]; then
    age-keygen -o "$identity.part" 2>/dev/null
    mv "$identity.part" "$identity"
    echo "lifeboat: made $identity; keep a copy elsewhere, without it nothing can be restored"
fi
LIFEBOAT_RECIPIENT=$(age-keygen -y "$identity")
export LIFEBOAT_RECIPIENT

while :; do
    if lifeboat -c "$config" backup now && lifeboat -c "$config" restore-test --from each; then
        touch "$home/last-success"
    else
        echo "lifeboat: this round failed; the report says what, the health check turns red if it stays so" >&2
    fi
    lifeboat -c "$config" report --format html,json --out /reports || echo "lifeboat: no report was written" >&2
    # In the background, so that a stop is heeded at once.
    sleep "$((every * 60))" &
    wait $!
done
