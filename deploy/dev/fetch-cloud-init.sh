#!/bin/sh
# Unpacks this release's cloud-init into .slipway/cloud-init, for the tests that read config drives with its own parser. It is not
# installed: a machine that has it would run it at its next start. Does nothing where it is there.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$root/.slipway/cloud-init

mkdir -p "$root/.slipway"
exec 9> "$root/.slipway/cloud-init.lock"
flock 9
[ ! -e "$dir/usr/lib/python3/dist-packages/cloudinit" ] || exit 0
rm -rf "$dir.new" "$dir"
mkdir -p "$dir.new/deb"
cd "$dir.new/deb"
# root's downloads would be another user's, who may not write here.
download() { apt-get -q -o APT::Sandbox::User=root download cloud-init >/dev/null 2>&1; }
download || { apt-get -q update >/dev/null 2>&1 && download; } || {
	echo "fetch-cloud-init: apt cannot download cloud-init: see what \`apt-get update && apt-get download cloud-init\` says" >&2
	exit 1
}
dpkg-deb -x cloud-init_*.deb "$dir.new"
rm -r "$dir.new/deb"
mv "$dir.new" "$dir"
