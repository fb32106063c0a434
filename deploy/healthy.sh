#!/bin/sh
# Healthy is: a backup and its restore tests succeeded within the last three rounds of loop.sh.
set -eu
minutes=$((3 * ${LIFEBOAT_EVERY_MINUTES:-15}))
[ -n "$(find /var/lib/lifeboat/last-success -mmin "-$minutes" 2>/dev/null)" ]
