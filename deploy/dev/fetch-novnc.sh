#!/bin/sh
# Unpacks this release's noVNC into .slipway/novnc, for the page that shows screens. It is not installed, and what it would bring
# along is not needed. Does nothing where it is there.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$root/.slipway/novnc

mkdir -p "$root/.slipway"
exec 9> "$root/.slipway/novnc.lock"
flock 9
[ ! -e "$dir/core/rfb.js" ] || exit 0
rm -rf "$dir.new" "$dir"
mkdir -p "$dir.new/deb"
cd "$dir.new/deb"
# root's downloads would be another user's, who may not write here.
download() { apt-get -q -o APT::Sandbox::User=root download novnc >/dev/null 2>&1; }
download || { apt-get -q update >/dev/null 2>&1 && download; } || {
	echo "fetch-novnc: apt cannot download novnc: see what \`apt-get update && apt-get download novnc\` says" >&2
	exit 1
}
dpkg-deb -x novnc_*.deb "$dir.new"
mkdir "$dir"
mv "$dir.new/usr/share/novnc/vendor" "$dir.new/usr/share/novnc/core" "$dir.new/usr/share/doc/novnc/copyright" "$dir"
rm -r "$dir.new"
