#!/bin/sh
# Ships one growing file to a receiver with nothing but curl and the usual tools: a client of docs/PROTOCOL.md in 60 lines.
#
#     ML_LOGGER_TOKEN=… ship.sh http://storage:8081 metrics.jsonl run/metrics.jsonl
#
# It can be run again and again, be killed at any moment, and lose any answer: the receiver says from where to go on.
set -eu
if [ $# -ne 3 ]; then
    echo "usage: ship.sh URL FILE PATH" >&2
    exit 2
fi
url=${1%/} file=$2 path=$3
most=4194304 # bytes of one request
case $path in
*[\"\\]*) echo "ship.sh: a path with quotes or backslashes needs a client that can write JSON" >&2 && exit 2 ;;
esac

# The token goes to curl in a file, since the arguments of a process can be seen by everybody.
headers=$(mktemp)
trap 'rm -f "$headers"' EXIT
[ -z "${ML_LOGGER_TOKEN:-}" ] || printf 'Authorization: Bearer %s\n' "$ML_LOGGER_TOKEN" >"$headers"

call() { # CALL < BODY: the answer; fails for every status but 2xx
    curl --silent --show-error --fail-with-body --max-time 300 --header "@$headers" --header 'Content-Type:' \
        --data-binary @- "$url/v1/$1"
}

crc_of() { # BYTES: CRC-32 of so many from the start of the file; gzip has it in its last 8 bytes
    head -c "$1" "$file" | gzip -c | tail -c 8 | od -An -N4 --endian=little -tu4 | tr -d ' '
}

number() { # KEY < ANSWER: the last number that stands under it
    sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"
}

# 1. What does it hold? (Nothing at all is null.)
answer=$(printf '{"v":1,"paths":["%s"]}' "$path" | call stat)
start=$(printf '%s\n' "$answer" | number size)
start=${start:-0}

# 2. Send what is behind that. `crc_before` proves that both files begin alike, `crc` that the bytes arrived whole.
size=$(($(wc -c <"$file")))
while :; do
    length=$((size - start < most ? size - start : most))
    if [ "$length" -lt 0 ]; then
        echo "ship.sh: the receiver holds $start bytes of $path, this file has $size" >&2
        exit 1
    fi
    answer=$({
        printf '{"v":1,"source":"%s","items":[{"path":"%s","op":"append","offset":%d,"length":%d,"crc_before":%d,"crc":%d}]}\n' \
            "ship.sh@$(uname -n)" "$path" "$start" "$length" "$(crc_of "$start")" "$(crc_of $((start + length)))"
        tail -c +$((start + 1)) "$file" | head -c "$length"
    } | call batch)
    case $answer in
    *'"result":"stored"'* | *'"result":"already"'*) start=$((start + length)) ;;
    *'"result":"behind"'* | *'"result":"ahead"'*) start=$(printf '%s\n' "$answer" | number size) ;;
    *) echo "ship.sh: not stored: $answer" >&2 && exit 1 ;;
    esac
    [ "$start" -lt "$size" ] || break
done
echo "$path: $start bytes are durable"
