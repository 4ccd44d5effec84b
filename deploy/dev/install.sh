#!/bin/sh
# Installs what a development machine (Debian 12 or 13, Ubuntu 24.04) needs: Postgres, libvirt with QEMU, and the tools that build disks,
# config drives and the demo guest. Asks apt only for what is missing; when nothing is, it is done at once.
#
#   deploy/dev/install.sh           install what is missing
#   deploy/dev/install.sh --tests   and what only the tests need: OpenStack's and Amazon's clients, a message broker with oslo.messaging, a browser, the race
#                                   detector's C compiler, what cloud-init is written with
#   deploy/dev/install.sh --bench   and what only the benchmarks compare with
#   deploy/dev/install.sh --cloud-guest   and what builds the image of Debian with cloud-init
#   deploy/dev/install.sh --libguestfs    and what injects into xfs, btrfs and LVM, with a kernel for it: a hundred packages
#   deploy/dev/install.sh --check   only say what is missing; exit 1 if something is
set -eu

[ ! -r /etc/os-release ] || . /etc/os-release
case "${ID:-}-${VERSION_ID:-}" in
debian-12) postgres=postgresql-15 ;;
debian-13) postgres=postgresql-17 ;;
ubuntu-24.04) postgres=postgresql-16 kernel=linux-image-virtual ;;
*) postgres= ;;
esac
kernel=${kernel:-linux-image-cloud-$(dpkg --print-architecture 2>/dev/null)} # where none is installed, as in a container

packages="
${postgres:-postgresql}
libvirt-daemon-system libvirt-clients libvirt-daemon-driver-qemu
qemu-system-x86 qemu-utils qemu-system-common ovmf
genisoimage mtools dosfstools e2fsprogs fdisk fuse3
iproute2 util-linux
busybox-static cpio xz-utils grub-pc-bin grub-common binutils
"
[ "${1:-}" != --tests ] || packages="$packages python3-openstackclient python3-novaclient python3-glanceclient rabbitmq-server python3-oslo.messaging openssl gcc libc6-dev chromium
python3-boto3 python3-yaml python3-jinja2 python3-configobj python3-requests python3-jsonpatch python3-jsonschema python3-oauthlib python3-netifaces"
[ "${1:-}" != --tests ] || [ "${ID:-}" = ubuntu ] || packages="$packages awscli" # Ubuntu 24.04 has none
[ "${1:-}" != --bench ] || packages="$packages socat"
[ "${1:-}" != --cloud-guest ] || packages="$packages mmdebstrap"
[ "${1:-}" != --libguestfs ] || packages="$packages guestfish libguestfs-xfs $kernel"

fail() { echo "install: $*" >&2; exit 1; }

command -v dpkg-query >/dev/null 2>&1 ||
	fail "this is not a Debian system (no dpkg-query). Slipway is developed on Debian 12; elsewhere install the equivalents of:" $packages

installed=$(dpkg-query --show --showformat='${db:Status-Abbrev} ${Package}\n' 2>/dev/null | sed -n 's/^ii  *//p')
missing=
for p in $packages; do
	echo "$installed" | grep -qx -e "$p" || missing="$missing $p"
done
if [ -z "$missing" ]; then
	echo "install: all $(echo $packages | wc -w) packages are there"
	exit 0
fi
echo "install: missing:$missing"
[ "${1:-}" != --check ] || exit 1

[ -n "$postgres" ] ||
	fail "this is ${PRETTY_NAME:-an unknown system}, and not Debian 12 or 13 or Ubuntu 24.04; install the equivalents of these packages yourself:$missing"
[ "$(id -u)" = 0 ] || fail "only root can install packages; run: sudo $0"

# Slipway runs a private cluster. Debian's package would create and start one of its own; whoever has Postgres already
# has decided that for himself.
if ! echo "$installed" | grep -qx -e postgresql-common && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
	mkdir -p /etc/postgresql-common/createcluster.d
	echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/slipway.conf
fi

# The same for RabbitMQ, whose package starts a broker.
case $missing in
*rabbitmq-server*) [ -e /etc/systemd/system/rabbitmq-server.service ] || [ ! -d /run/systemd/system ] || systemctl mask -q rabbitmq-server ;;
esac

export DEBIAN_FRONTEND=noninteractive
began=$(date +%s)
echo "install: 1/2 fetching the lists of packages"
apt-get update -q
unknown=
for p in $missing; do
	apt-cache show "$p" >/dev/null 2>&1 || unknown="$unknown $p"
done
[ -z "$unknown" ] || fail "apt does not know these packages; are all of the release's components enabled (Ubuntu: universe)?$unknown"
echo "install: 2/2 installing $(echo $missing | wc -w) packages (a few minutes the first time)"
apt-get install -q -y --no-install-recommends $missing
echo "install: done in $(($(date +%s) - began)) s"
