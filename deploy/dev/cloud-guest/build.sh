#!/bin/sh
# Builds the cloud guest into OUTDIR: cloud-guest.qcow2 (README.md), this release's Debian with systemd, cloud-init, sshd and a kernel.
#
#   build.sh OUTDIR
#
# Wants root, as who files of many owners are unpacked, and neither mounts nor loop devices. Packages come from the machine's own
# sources of apt. Nothing is done when the image is newer than what it is made from.
set -eu

[ $# -eq 1 ] || { echo "usage: $0 OUTDIR" >&2; exit 2; }
src=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
grub=/usr/lib/grub/i386-pc
PATH=$PATH:/usr/sbin:/sbin
image=$out/cloud-guest.qcow2

say() { echo "cloud-guest: $*"; }
die() { echo "cloud-guest: $*" >&2; exit 1; }

exec 9>"$out/.lock"
flock 9
stale=
for f in "$src/build.sh" "$src/report"; do [ "$image" -nt "$f" ] || stale=yes; done
if [ -z "$stale" ]; then
	say "up to date in $out"
	exit 0
fi
missing=
command -v mmdebstrap >/dev/null || missing=" mmdebstrap"
[ -e "$grub/kernel.img" ] || missing="$missing grub-pc-bin"
[ -z "$missing" ] || die "missing packages; run: apt-get install$missing"
[ "$(id -u)" = 0 ] || die "only root can unpack files of many owners; run: sudo $0 $1"

# deb lines of this release's archives that apt reads on this machine, wherever their mirror is.
. /etc/os-release
apt-get indextargets --format '$(ORIGIN)|$(CODENAME)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)' 'Created-By: Packages' |
	awk -F '|' -v suite="${VERSION_CODENAME:-}" '$1 == "Debian" && ($2 == suite || index($2, suite "-") == 1) { print "deb", $3, $4, $5 }' |
	sort -u >"$out/sources"
[ -s "$out/sources" ] || die "apt has no lists of a Debian release; run: apt-get update. On another system this image cannot be built"

work=$(mktemp -d "$out/build.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 1' INT TERM
umask 022

# Names of the kernel's (eth0), as Nova's interfaces template and so injection has them.
cmdline="root=LABEL=cloud-guest ro quiet console=ttyS0 net.ifnames=0 mitigations=off no_timer_check nokaslr rcupdate.rcu_cpu_stall_suppress=1"
packages=systemd-sysv,udev,dbus,libpam-systemd,linux-image-cloud-amd64,initramfs-tools,cloud-init,cloud-guest-utils,fdisk,e2fsprogs
packages=$packages,openssh-server,ifupdown,iproute2,net-tools,sudo

say "$VERSION_CODENAME with cloud-init from Debian's packages (about 3 minutes)"
mkdir -p "$work/files/usr/local/sbin" "$work/files/etc/systemd/system/multi-user.target.wants"
install -m 755 "$src/report" "$work/files/usr/local/sbin/cloud-guest-report"
cat >"$work/files/etc/systemd/system/cloud-guest-report.service" <<UNIT
[Unit]
Description=Print what this guest was given
[Service]
ExecStart=/usr/local/sbin/cloud-guest-report
[Install]
WantedBy=multi-user.target
UNIT
ln -s /dev/null "$work/files/etc/systemd/system/serial-getty@ttyS0.service"
ln -s ../cloud-guest-report.service "$work/files/etc/systemd/system/multi-user.target.wants/"
# It mounts /proc and the like where it may: in a namespace that ends with it, so that nothing is left of one that is killed.
namespace=
! unshare --mount true 2>/dev/null || namespace="unshare --mount"
$namespace mmdebstrap --mode=root --variant=minbase --include="$packages" \
	--dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/man/*' \
	--customize-hook="sync-in $work/files /" \
	--customize-hook="printf 'LABEL=cloud-guest / ext4 errors=remount-ro 0 1\\n' >\"\$1/etc/fstab\"" \
	--customize-hook="echo localhost >\"\$1/etc/hostname\"; echo LANG=C.UTF-8 >\"\$1/etc/default/locale\"; : >\"\$1/etc/machine-id\"" \
	"$VERSION_CODENAME" "$work/root" "$out/sources" >"$work/log" 2>&1 || { cat "$work/log" >&2; die "mmdebstrap failed"; }

say "whole-disk image"
kib=$(du -sk "$work/root" | cut -f1)
mib=$((kib / 1024 * 5 / 4 + 128))
truncate -s "${mib}M" "$work/part.img"
mke2fs -q -F -t ext4 -L cloud-guest -d "$work/root" "$work/part.img"
# GRUB reads its commands from the core image in the gap before the partition: no menu, no configuration on the disk.
cat >"$work/grub.cfg" <<CFG
linux /vmlinuz $cmdline
initrd /initrd.img
boot
CFG
grub-mkimage -O i386-pc -d "$grub" -p '(,msdos1)/boot' -c "$work/grub.cfg" -o "$work/core.img" biosdisk part_msdos ext2 linux
raw=$work/disk.raw
truncate -s "$((mib + 1))M" "$raw"
echo '2048,,L,*' | sfdisk -q "$raw"
dd if="$grub/boot.img" of="$raw" bs=440 count=1 conv=notrunc status=none
dd if="$work/core.img" of="$raw" bs=512 seek=1 conv=notrunc status=none
dd if="$work/part.img" of="$raw" bs=1M seek=1 conv=notrunc,sparse status=none
qemu-img convert -f raw -O qcow2 "$raw" "$work/cloud-guest.qcow2"
mv "$work/cloud-guest.qcow2" "$image"
say "built in $out: $(du -h "$image" | cut -f1)"
