#!/bin/sh
# Measures Lifeboat against the standard tools on data that it generates: see docs/benchmarks.md.
#
#   benches/bench.sh                        everything, about 40 minutes and 16 GB below $TMPDIR
#   benches/bench.sh --scale 0.05           a twentieth of the data: tries the script, proves nothing
#   benches/bench.sh --only redis          the rows of one kind of source
#   benches/bench.sh --help
set -eu
here=$(cd "$(dirname "$0")" && pwd)
missing=
for tool in python3 age age-keygen zstd bash; do
    command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"
done
if [ -n "$missing" ]; then
    echo "the bench needs:$missing (Debian and Ubuntu: apt-get install python3 age zstd bash postgresql)" >&2
    exit 2
fi
exec python3 -B "$here/bench.py" "$@"
