#!/bin/sh
# Builds the S3 server that tests store images in (versitygw, pinned in deploy/s3server) as .slipway/bin/versitygw. Does
# nothing where the same version is there. Several at once build it once.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
bin=$root/.slipway/bin
want=$(cksum < "$root/deploy/s3server/go.sum")

command -v go >/dev/null 2>&1 || { echo "build-s3server: Go is not installed or not on the PATH" >&2; exit 1; }
mkdir -p "$bin"
exec 9> "$bin/versitygw.lock"
flock 9
if [ -x "$bin/versitygw" ] && [ "$(cat "$bin/versitygw.built" 2>/dev/null)" = "$want" ]; then exit 0; fi
echo "build-s3server: building versitygw; the first time takes about 3 minutes on 2 cores"
cd "$root/deploy/s3server"
GOWORK=off go build -trimpath -o "$bin/versitygw.new" github.com/versity/versitygw/cmd/versitygw
mv "$bin/versitygw.new" "$bin/versitygw"
echo "$want" > "$bin/versitygw.built"
