#!/bin/sh
# Brings the peers into a folder: benches/peers/setup.sh [FOLDER] [PART…], where a part is
# durable-streams, s2, nats-bench or pylance; all of them by default. Needs neither root nor anything but Rust and Python 3.
#
# The default folder is $CARGO_TARGET_DIR/peers, or ~/.cache/persisting-target/peers.
set -eu

DURABLE_STREAMS=0.3.0
S2_CLI=0.43.4
PYLANCE=14.0.2
PYARROW=26.0.1

here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-${CARGO_TARGET_DIR:-$HOME/.cache/persisting-target}/peers}
[ $# -gt 0 ] && shift
parts=${*:-durable-streams s2 nats-bench pylance}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
export CARGO_TARGET_DIR="$folder/target"

for part in $parts; do
    echo "bringing $part into $folder" >&2
    case $part in
    durable-streams) cargo install --locked --root "$folder" --version "$DURABLE_STREAMS" durable-streams-server ;;
    # Some 450 crates: about 20 minutes on 2 cores.
    s2) cargo install --locked --root "$folder" --version "$S2_CLI" s2-cli ;;
    nats-bench) cargo install --locked --root "$folder" --path "$here/nats" ;;
    pylance)
        python3 -m venv "$folder/venv"
        "$folder/venv/bin/pip" install --quiet "pylance==$PYLANCE" "pyarrow==$PYARROW"
        ;;
    *)
        echo "there is no part $part" >&2
        exit 2
        ;;
    esac
done

missing=
for program in redis-server webdis nats-server; do
    PATH="$folder/bin:$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null || missing="$missing $program"
done
if [ -n "$missing" ]; then
    cat >&2 <<END
Not here:$missing. On Debian, as root:
    apt-get install --no-install-recommends$missing
or without root, into the same folder:
    apt-get download$missing && for deb in *.deb; do dpkg-deb -x "\$deb" unpacked; done
    cp unpacked/usr/bin/* unpacked/usr/sbin/* $folder/bin/    # (libraries that they need have to be there already)
Debian starts redis-server and webdis as services: they do not disturb, but idle. run.py starts its own.
END
fi
