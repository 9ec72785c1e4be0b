#!/usr/bin/env bash
# Shows by strace in which order the server writes, syncs and answers, and fails where the order is wrong:
#
#   an append    log write → fdatasync of the log → answer
#   a flush      data file → its fsync → fsync of its folder → manifest → its fsync → fsync of its folders → answer
#   the log      catalog's sync → removal of a segment (or its setting aside for reuse), after the flush's manifest
#
# usage: tools/strace-order.sh [BINARY]      needs strace, curl and python3
set -euo pipefail
cd "$(dirname "$0")/.."

binary=${1:-${CARGO_TARGET_DIR:-$HOME/.cache/persisting-target}/debug/persisting}
[ -x "$binary" ] || { echo "there is no binary $binary; build it, or name it" >&2; exit 2; }
command -v strace >/dev/null || { echo "strace is missing" >&2; exit 2; }

work=$(mktemp -d)
server=
finish() {
    if [ -n "$server" ]; then
        # The server names itself in its lock; strace ends with it.
        kill -KILL "$(cat "$work/data/LOCK")" 2>/dev/null || kill -KILL "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT

# -y names the files behind descriptors, -s leaves enough of what is written to tell requests apart.
strace -f -y -s 400 -o "$work/trace" \
    -e trace=fsync,fdatasync,openat,write,pwrite64,sendto,writev,linkat,renameat2,rename,unlink \
    "$binary" serve --listen 127.0.0.1:0 --data-dir "$work/data" --wal-segment-bytes 4KiB --disk-floor-bytes 0 \
    >"$work/stdout" 2>"$work/stderr" &
server=$!

await() { # await WHAT COMMAND…: until it succeeds, at most 60 s
    local what=$1 until=$((SECONDS + 60))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $until ] || { echo "not in time: $what" >&2; cat "$work/stderr" >&2; exit 1; }
        kill -0 "$server" 2>/dev/null || { echo "the server has ended" >&2; cat "$work/stderr" >&2; exit 1; }
        sleep 0.1
    done
}

await 'listening' grep -q listening "$work/stdout"
base=$(sed 's/^listening on //' "$work/stdout")
await 'ready' curl -sf "$base/readyz"
topic="$base/v1/topics/strace"
json='Content-Type: application/json'
curl -sf -X PUT "$topic" -d '{"backend_options": {"flush_interval_ms": 3600000}}' >/dev/null
# Two segments are full before the append that is looked at.
for n in 1 2 3; do
    curl -sf "$topic/records" -H "$json" -d "{\"n\": $n, \"text\": \"$(printf 'x%.0s' {1..3000})\"}" >/dev/null
done
curl -sf "$topic/records" -H "$json" -d '{"n": 4, "text": "the append that is looked at"}' >/dev/null
curl -sf -X POST "$topic/flush" >/dev/null
oldest_is_gone() { [ ! -e "$work/data/wal/00000000000000000001.wal" ]; }
await 'the release of the oldest segment' oldest_is_gone

python3 - "$work/trace" "$work/data" <<'PYTHON'
import re
import sys

trace, data = sys.argv[1:]
LINE = re.compile(r"^(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)$")


class Call:
    """A system call: where it began and where it ended in the trace."""

    def __init__(self, name, text, began):
        self.name, self.text, self.began, self.ended = name, text, began, None


calls, pending = [], {}
with open(trace, encoding="utf-8", errors="replace") as lines:
    for number, line in enumerate(lines):
        found = LINE.match(line.rstrip())
        if not found:
            continue
        thread, resumed, name, rest = found.groups()
        if resumed:
            call = pending.pop((thread, resumed), None)
            if call:
                call.ended, call.text = number, call.text + rest
        else:
            call = Call(name, rest, number)
            calls.append(call)
            if rest.endswith("<unfinished ...>"):
                call.text = rest.removesuffix("<unfinished ...>")
                pending[thread, name] = call
            else:
                call.ended = number


def first(what, names, pattern, after=-1):
    """The first such call that began after a place of the trace; the test ends where there is none."""
    for call in calls:
        done = call.ended is not None and "= -1" not in call.text
        if done and call.began > after and call.name in names and re.search(pattern, call.text):
            steps.append((call, what))
            return call
    show()
    sys.exit(f"MISSING: {what}, behind line {after}")


def show():
    for call, what in sorted(steps, key=lambda step: step[0].began):
        text = call.text.replace(data, "DATA")
        print(f"{call.began:7} {what:<36} {call.name}({text[:110]}")


def in_order(what, *order):
    """Each call ends before the next one begins."""
    for before, after in zip(order, order[1:]):
        if before.ended >= after.began:
            show()
            sys.exit(f"WRONG ORDER: {what}: {before.name} at {before.began}, {after.name} at {after.began}")


ANSWER = ("sendto", "write", "writev")
SYNC = ("fsync", "fdatasync")
steps = []
wal, dataset = re.escape(f"{data}/wal"), re.escape(f"{data}/datasets/") + r"[^/>]*\.lance"

print("an append:")
written = first("the log is written", ("pwrite64", "write"), rf"{wal}/.*the append that is looked at")
segment = re.search(rf"{wal}/\d+\.wal", written.text)[0]
synced = first("the log is synced", SYNC, re.escape(segment), written.began)
answered = first("the append is answered", ANSWER, r"HTTP/1\.1 200.*first_offset.?.?.?:3,", 0)
in_order("append", written, synced, answered)
show()

steps = []
print("a flush:")
created = first("a data file is made", ("openat",), rf"{dataset}/data/.*O_CREAT")
file_synced = first("the data file is synced", ("fsync",), rf"<{dataset}/data/[^>]+\.lance>", created.ended)
data_synced = first("its folder is synced", ("fsync",), rf"<{dataset}/data>", file_synced.ended)
named = first("the manifest gets its name", ("linkat", "rename", "renameat2"), rf"{dataset}/_versions/")
manifest_synced = first("the manifest is synced", ("fsync",), rf"<{dataset}/_versions/[^>]+\.manifest>", named.ended)
versions_synced = first("its folder is synced", ("fsync",), rf"<{dataset}/_versions>", manifest_synced.ended)
dataset_synced = first("the dataset's folder is synced", ("fsync",), rf"<{dataset}>", versions_synced.ended)
above_synced = first("the folder above is synced", ("fsync",), rf"<{re.escape(data)}/datasets>", dataset_synced.ended)
flushed = first("the flush is answered", ANSWER, r"HTTP/1\.1 200.*committed_offset")
in_order(
    "flush", created, file_synced, data_synced, named, manifest_synced, versions_synced, dataset_synced, above_synced,
    flushed,
)
show()

steps = []
print("the log's release:")
catalog = first("the catalog is synced", SYNC, rf"<{re.escape(data)}/catalog\.sqlite", above_synced.ended)
removed = first("the oldest segment is removed, or kept for the next", ("unlink", "rename"), rf'^"{wal}/0*1\.wal"')
log_synced = first("the log's folder is synced", SYNC, rf"<{wal}>", removed.ended)
in_order("release", above_synced, catalog, removed, log_synced)
show()
print("the order is right")
PYTHON
