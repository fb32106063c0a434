#!/bin/sh
# Gives a fresh Garage its layout, the bucket and the key. Repeating it changes nothing.
set -eu
api=http://garage:3903

call() { # call METHOD PATH [JSON]
    curl --fail --silent --show-error --request "$1" --header "Authorization: Bearer $GARAGE_ADMIN_TOKEN" \
        --header "Content-Type: application/json" ${3:+--data "$3"} "$api$2"
}
first() { # first KEY: its first hexadecimal value in the JSON on standard input
    tr -d ' \n' | grep -o "\"$1\":\"[0-9a-f]*\"" | head -n 1 | cut -d '"' -f 4
}

tries=60
until call GET /v1/status >/dev/null 2>&1; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { echo "garage does not answer at $api" >&2; exit 1; }
    sleep 1
done

if call GET /v1/layout | tr -d ' \n' | grep -q '"version":0,'; then
    node=$(call GET /v1/status | first node)
    call POST /v1/layout "[{\"id\":\"$node\",\"zone\":\"one\",\"capacity\":10000000000,\"tags\":[]}]" >/dev/null
    call POST /v1/layout/apply '{"version":1}' >/dev/null
fi
if ! call GET "/v1/key?id=$GARAGE_KEY_ID" >/dev/null 2>&1; then
    call POST /v1/key/import \
        "{\"name\":\"lifeboat\",\"accessKeyId\":\"$GARAGE_KEY_ID\",\"secretAccessKey\":\"$GARAGE_SECRET_KEY\"}" >/dev/null
fi
if ! call GET "/v1/bucket?globalAlias=lifeboat" >/dev/null 2>&1; then
    call POST /v1/bucket '{"globalAlias":"lifeboat"}' >/dev/null
fi
bucket=$(call GET "/v1/bucket?globalAlias=lifeboat" | first id)
call POST /v1/bucket/allow "{\"bucketId\":\"$bucket\",\"accessKeyId\":\"$GARAGE_KEY_ID\",
    \"permissions\":{\"read\":true,\"write\":true,\"owner\":false}}" >/dev/null
echo "garage: bucket lifeboat is ready"
