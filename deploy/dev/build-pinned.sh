#!/bin/sh
# Builds programs that only tests run, pinned as the tools of a module of their own, into .slipway/bin. Does nothing where those of
# the same versions are there. Several at once build them once.
#
#   deploy/dev/build-pinned.sh s3server   versitygw, the S3 server that tests store images in
#   deploy/dev/build-pinned.sh tofu       OpenTofu and the provider of OpenStack, for make terraform
set -eu

module=$1
root=$(cd "$(dirname "$0")/../.." && pwd)
bin=$root/.slipway/bin
want=$(cksum < "$root/deploy/$module/go.sum")

command -v go >/dev/null 2>&1 || { echo "build-pinned: Go is not installed or not on the PATH" >&2; exit 1; }
mkdir -p "$bin"
exec 9> "$bin/$module.lock"
flock 9
if [ "$(cat "$bin/$module.built" 2>/dev/null)" = "$want" ]; then exit 0; fi
echo "build-pinned: building deploy/$module; the first time takes about 3 minutes on 2 cores"
cd "$root/deploy/$module"
rm -rf "$bin/$module.new"
GOWORK=off go build -trimpath -o "$bin/$module.new/" tool
mv "$bin/$module.new"/* "$bin"
rmdir "$bin/$module.new"
echo "$want" > "$bin/$module.built"
