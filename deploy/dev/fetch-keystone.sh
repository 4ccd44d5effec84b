#!/bin/sh
# Unpacks this release's Keystone, with what it needs and this machine has not, into .slipway/keystone, for the test that has a real one
# issue tokens. It is not installed: its package would make a user, a database and a service. Does nothing where it is there.
#
#   .slipway/keystone/run PROGRAM ARGUMENTS…   runs one of its programs: keystone-manage, keystone-wsgi-public
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$root/.slipway/keystone

fail() { echo "fetch-keystone: $*" >&2; exit 1; }

mkdir -p "$root/.slipway"
exec 9> "$root/.slipway/keystone.lock"
flock 9
[ ! -x "$dir/run" ] || exit 0

command -v apt-get >/dev/null 2>&1 || fail "this is not a Debian system (no apt-get)"
[ -x /usr/bin/python3 ] || fail "/usr/bin/python3 is missing; run: apt-get install python3"
rm -rf "$dir.new" "$dir"
mkdir -p "$dir.new/archives/partial"
cd "$dir.new"
# What is installed counts, so only the rest comes: some seven megabytes beside python3-openstackclient.
download() {
	apt-get -q -y -o Dir::Cache::archives="$PWD/archives" -o APT::Sandbox::User=root --no-install-recommends --download-only install python3-keystone >log 2>&1
}
download || { apt-get -q update >/dev/null 2>&1 && download; } || { cat log >&2; fail "apt cannot download python3-keystone"; }
for deb in archives/*.deb; do
	dpkg-deb -x "$deb" tree
done
rm -rf archives log
cat >run <<'RUN'
#!/bin/sh
# Runs a program of this folder with the machine's Python, and with the packages of this folder beside the machine's.
set -eu
tree=$(cd "$(dirname "$0")" && pwd)/tree
program=$tree/usr/bin/$1
[ -f "$program" ] || { echo "there is no program $1 in $tree" >&2; exit 127; }
shift
for libraries in "$tree"/usr/lib/*-linux-gnu; do :; done
export PYTHONPATH="$tree/usr/lib/python3/dist-packages" PYTHONDONTWRITEBYTECODE=1 LD_LIBRARY_PATH="$libraries"
exec /usr/bin/python3 "$program" "$@"
RUN
chmod 755 run
./run keystone-manage --version >/dev/null 2>&1 || fail "this release's keystone-manage does not run here"
cd ..
mv "$dir.new" "$dir"
