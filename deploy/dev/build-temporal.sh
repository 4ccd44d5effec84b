#!/bin/sh
# Builds the Temporal server with its Web UI (deploy/temporal) as .slipway/bin/slipway-temporal. Go knows what has
# changed, so a build with nothing to do takes about a second.
#
#   deploy/dev/build-temporal.sh [output file]
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
out=${1:-$root/.slipway/bin/slipway-temporal}
case $out in /*) ;; *) out=$PWD/$out ;; esac

command -v go >/dev/null 2>&1 || { echo "build-temporal: Go is not installed or not on the PATH" >&2; exit 1; }
mkdir -p "$(dirname "$out")"
[ -x "$out" ] || echo "build-temporal: building the Temporal server; the first time takes about 4 minutes on 2 cores"
began=$(date +%s)
cd "$root/deploy/temporal"
GOWORK=off go build -trimpath -o "$out" .
took=$(($(date +%s) - began))
[ "$took" -lt 5 ] || echo "build-temporal: built $out in $took s"
