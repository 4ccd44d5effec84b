#!/bin/sh
# Unpacks Debian 13's OVN and Open vSwitch, with all that they are linked against, into .slipway/ovn. They are not installed: Debian 12's
# own (OVS 3.1.0) abort in the userspace datapath's connection tracking, and no service of the machine is wanted. Asks the mirror that
# this machine's apt asks, or SLIPWAY_DEBIAN_MIRROR, in lists and a cache of its own, so that nothing of another release gets near the
# machine's apt. Does nothing where it is there.
#
#   .slipway/ovn/run PROGRAM ARGUMENTS…   runs one of its programs: ovsdb-server, ovs-vswitchd, ovn-northd, ovn-controller, ovn-nbctl …
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$root/.slipway/ovn
suite=trixie

fail() { echo "fetch-ovn: $*" >&2; exit 1; }

mkdir -p "$root/.slipway"
exec 9> "$root/.slipway/ovn.lock"
flock 9
[ ! -x "$dir/run" ] || exit 0

command -v apt-get >/dev/null 2>&1 || fail "this is not a Debian system (no apt-get)"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || fail "$keyring is missing; run: apt-get install debian-archive-keyring"
mirror() {
	apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Created-By: Packages' | sed -n 's/^Debian Debian //p' | head -n 1
}
uri=${SLIPWAY_DEBIAN_MIRROR:-$(mirror)}
[ -n "$uri" ] || { apt-get -q update >/dev/null 2>&1 || true; uri=$(mirror); }
[ -n "$uri" ] || fail "this machine's apt asks no mirror of Debian's: name one as SLIPWAY_DEBIAN_MIRROR (http://…/debian/)"

rm -rf "$dir.new" "$dir"
mkdir -p "$dir.new/apt/lists/partial" "$dir.new/apt/archives/partial" "$dir.new/tree"
cd "$dir.new/apt"
: >status # nothing counts as installed, so everything comes
echo "deb [signed-by=$keyring] $uri $suite main" >sources.list
# The machine's own settings of a proxy hold; its sources, preferences and hooks do not.
ask() {
	apt-get -q -y -o APT::Architecture="$(dpkg --print-architecture)" -o Dir::Etc::SourceList="$PWD/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null -o Dir::State::Lists="$PWD/lists" -o Dir::State::status="$PWD/status" \
		-o Dir::Cache="$PWD" -o Dir::Cache::archives="$PWD/archives" -o APT::Sandbox::User=root -o APT::Install-Recommends=false \
		-o APT::Update::Post-Invoke= -o APT::Update::Post-Invoke-Success= -o DPkg::Post-Invoke= -o Acquire::Languages=none "$@" >>log 2>&1
}
ask update || { cat log >&2; fail "apt cannot read the lists of $suite at $uri"; }

# The programs and what they are linked against, and no more: the packages ask for Python and the init system too, for scripts that nothing here runs.
ask download ovn-common ovn-central ovn-host openvswitch-common openvswitch-switch libbpf1 libc6 libcap-ng0 libelf1t64 libevent-2.1-7t64 libnuma1 libssl3t64 \
	libudev1 libunbound8 libxdp1 libzstd1 zlib1g || { cat log >&2; fail "apt cannot download OVN of $suite from $uri"; }
for deb in *.deb; do
	dpkg-deb -x "$deb" "$dir.new/tree"
done
cd "$dir.new"
rm -rf apt
cat >run <<'RUN'
#!/bin/sh
# Runs a program of this folder with the libraries of this folder.
set -eu
tree=$(cd "$(dirname "$0")" && pwd)/tree
for folder in usr/bin usr/sbin usr/lib/openvswitch-switch; do
	[ ! -x "$tree/$folder/$1" ] || program=$tree/$folder/$1
done
[ -n "${program:-}" ] || { echo "there is no program $1 in $tree" >&2; exit 127; }
for loader in "$tree"/usr/lib/*-linux-gnu/ld-linux-*; do :; done
name=$1
shift
exec "$loader" --argv0 "$name" --library-path "$(dirname "$loader")" "$program" "$@"
RUN
chmod 755 run
for program in ovsdb-server ovsdb-tool ovs-vswitchd ovs-vsctl ovs-appctl ovs-ofctl ovn-northd ovn-controller ovn-nbctl ovn-sbctl; do
	./run "$program" --version >/dev/null || fail "$program of $suite does not run here"
done
cd ..
mv "$dir.new" "$dir"
