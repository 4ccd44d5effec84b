#!/bin/sh
# Builds the demo guest into OUTDIR: vmlinuz, initramfs.cpio.gz, root.img, root.qcow2, slipway-demo.qcow2 (README.md).
#
#   build.sh OUTDIR
#
# Needs no root, no mounts and no loop devices. The kernel, busybox and qemu-ga come from Debian packages that are unpacked,
# never installed; they are kept in $SLIPWAY_GUEST_CACHE (default OUTDIR/cache). Nothing is done when the output is
# newer than everything it is made from.
set -eu

[ $# -eq 1 ] || { echo "usage: $0 OUTDIR" >&2; exit 2; }
src=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
cache=${SLIPWAY_GUEST_CACHE:-$out/cache}
grub=/usr/lib/grub/i386-pc
PATH=$PATH:/usr/sbin:/sbin

# Serial console only; the rest shortens the boot under emulation (no timer calibration by waiting, no self-tests, no
# mitigations, immediate RCU grace periods).
cmdline="console=ttyS0 quiet nokaslr mitigations=off tsc=reliable no_timer_check rcupdate.rcu_expedited=1 cryptomgr.notests audit=0 apparmor=0 nowatchdog 8250.nr_uarts=1 panic=1"

# Dependencies first: loaded in this order by init.
modules="virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk
	failover net_failover virtio_net scsi_common scsi_mod virtio_scsi sd_mod cdrom sr_mod libata ata_piix ata_generic
	isofs fat vfat nls_ascii nls_cp437 evdev button virtio_console"

say() { echo "guest: $*"; }
die() { echo "guest: $*" >&2; exit 1; }

up_to_date() {
	stamp=$out/.built
	[ -e "$stamp" ] || return 1
	for f in vmlinuz initramfs.cpio.gz root.img root.qcow2 slipway-demo.qcow2; do [ -e "$out/$f" ] || return 1; done
	for f in "$src"/build.sh "$src"/init "$src"/json.awk "$src"/udhcpc.sh "$src"/chpasswd "$cache"/*.deb "$grub/kernel.img"; do
		[ -e "$f" ] && [ "$f" -nt "$stamp" ] && return 1
	done
	return 0
}
if up_to_date; then
	say "up to date in $out"
	exit 0
fi

missing=
need() { command -v "$1" >/dev/null || missing="$missing $2"; }
need apt-get apt
need dpkg-deb dpkg
need cpio cpio
need mke2fs e2fsprogs
need qemu-img qemu-utils
need grub-mkimage grub-common
need objcopy binutils
need xz xz-utils
need ldd libc-bin
[ -e "$grub/kernel.img" ] || missing="$missing grub-pc-bin"
[ -z "$missing" ] || die "missing packages; run: apt-get install$missing"

# deb PACKAGE: unpacks PACKAGE into $work/PACKAGE, fetching it into the cache when it is not there.
deb() {
	set -- "$1" "$cache/$1"_*.deb
	if [ ! -e "$2" ]; then
		say "fetching $1"
		mkdir -p "$cache"
		sandbox=
		[ "$(id -u)" != 0 ] || sandbox="-o APT::Sandbox::User=root"
		(cd "$cache" && apt-get -qq $sandbox download "$1") || die "cannot fetch $1; is its package list there? (apt-get update)"
		set -- "$1" "$cache/$1"_*.deb
	fi
	dpkg-deb -x "$2" "$work/$1"
}

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1700000000}
export SOURCE_DATE_EPOCH E2FSPROGS_FAKE_TIME="$SOURCE_DATE_EPOCH" LC_ALL=C TZ=UTC
umask 022
work=$(mktemp -d "$out/build.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

# The metapackage names the current kernel; a kernel that is in the cache already is used as it is.
kernel=$(ls "$cache" 2>/dev/null | sed -n 's/^\(linux-image-[0-9][^_]*-cloud-amd64\)_.*\.deb$/\1/p' | sort -V | tail -1)
[ -n "$kernel" ] || kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -1)
[ -n "$kernel" ] || die "apt knows no linux-image-cloud-amd64; run: apt-get update. A release that has none (Ubuntu) needs Debian's: put its linux-image-*-cloud-amd64_*.deb into $cache"
deb "$kernel"
deb busybox-static
deb qemu-guest-agent

say "ramdisk"
tree=$work/tree
mkdir -p "$tree"/bin "$tree"/sbin "$tree"/proc "$tree"/sys "$tree"/dev "$tree"/run "$tree"/config "$tree"/root "$tree"/etc "$tree"/tmp
cp "$work"/busybox-static/bin/busybox "$tree/bin/busybox"
for name in sh insmod mount poweroff ip login; do ln -s busybox "$tree/bin/$name"; done
cp "$src/init" "$src/json.awk" "$src/udhcpc.sh" "$tree"
cp "$src/chpasswd" "$tree/bin"
ln -s /run/guest/resolv.conf "$tree/etc/resolv.conf"
chmod 755 "$tree/init" "$tree/udhcpc.sh" "$tree/bin/chpasswd"
chmod 1777 "$tree/tmp"
# demo logs in on the screen, without a password; nobody else does.
printf 'root:*:19000:0:99999:7:::\ndemo::19000:0:99999:7:::\n' >"$tree/etc/shadow"
printf 'root:x:0:0:root:/root:/bin/sh\ndemo:x:1000:1000:demo:/tmp:/bin/sh\n' >"$tree/etc/passwd"
printf 'root:x:0:\ndemo:x:1000:\n' >"$tree/etc/group"
cp -a "$tree" "$work/ramdisk"
mkdir "$work/ramdisk/modules"
lib=$work/$kernel/lib/modules
[ -d "$lib" ] || lib=$work/$kernel/usr/lib/modules # since Debian 13
for m in $modules; do
	file=$(echo "$m" | sed 's/_/[_-]/g').ko
	ko=$(find "$lib" -name "$file" -o -name "$file.xz")
	if [ -z "$ko" ]; then
		cat "$lib"/*/modules.builtin | grep -q "/$file\$" || die "$kernel has no module $m"
		continue
	fi
	case $ko in *.xz) xz -d "$ko"; ko=${ko%.xz} ;; esac
	# Debugging data and the signature only cost time: the kernel would check both while it loads the module.
	objcopy --strip-debug --remove-section=.BTF "$ko" "$work/ramdisk/modules/$m.ko"
done

# agent DIR: puts qemu-ga below DIR, beside its libraries: this machine's own, whose QEMU needs the same ones. Only a guest with
# the channel to it reads them, so they are on its disk and not in the ramdisk.
agent() {
	mkdir -p "$1/usr/lib"
	cp -r "$work/agent" "$1/usr/lib/qemu-guest-agent"
}
mkdir "$work/agent"
cp "$work/qemu-guest-agent/usr/sbin/qemu-ga" "$work/agent"
libraries=$(ldd "$work/agent/qemu-ga")
case $libraries in *"not found"*) die "qemu-ga lacks libraries, which QEMU's packages bring: $libraries" ;; esac
echo "$libraries" | while read -r name arrow file _; do
	case $name in /*/ld-linux-*) cp -L "$name" "$work/agent/ld.so" ;; esac
	[ "$arrow" != "=>" ] || cp -L "$file" "$work/agent/$name"
done

# archive DIR: DIR as a reproducible newc archive owned by root.
archive() {
	find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	(cd "$1" && find . | sort | cpio -o -H newc -R 0:0 --reproducible --quiet)
}
archive "$work/ramdisk" | gzip -n -9 >"$work/initramfs.cpio.gz"
cp "$work/$kernel"/boot/vmlinuz-* "$work/vmlinuz"

# ext4 DIR FILE SIZE LABEL UUID: a filesystem holding DIR, all owned by root. boot/shipped.sha256 lists what it
# shipped, so that the guest can tell what was injected later.
ext4() {
	mkdir -p "$1/boot" "$1/var/lib"
	(cd "$1" && find . ! -path './boot*' -type f | sort | xargs sha256sum) >"$work/shipped.sha256"
	mv "$work/shipped.sha256" "$1/boot/"
	find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	truncate -s "$3" "$2"
	mke2fs -q -F -t ext4 -b 4096 -d "$1" -L "$4" -U "$5" -E "hash_seed=$5,root_owner=0:0,lazy_itable_init=0" -m 0 \
		-O ^has_journal,^resize_inode,^metadata_csum,uninit_bg -N 1024 "$2"
	(cd "$1" && find . -exec printf 'sif "%s" uid 0\nsif "%s" gid 0\nsif "%s" ctime @%s\nsif "%s" crtime @%s\n' {} {} {} "$SOURCE_DATE_EPOCH" {} "$SOURCE_DATE_EPOCH" \;) |
		debugfs -w -f - "$2" >/dev/null 2>"$work/debugfs.log" || die "debugfs: $(cat "$work/debugfs.log")"
}

say "root image"
cp -a "$tree" "$work/root"
agent "$work/root"
mkdir -p "$work/root/var/lib/slipway-guest" "$work/root/root/.ssh" "$work/root/etc/network"
ext4 "$work/root" "$work/root.img" 16M slipway-root 51495741-0000-4000-8000-726f6f740001
qemu-img convert -f raw -O qcow2 "$work/root.img" "$work/root.qcow2"

say "whole-disk image"
mkdir -p "$work/disk/boot" "$work/disk/root/.ssh" "$work/disk/etc/network"
cp "$work/vmlinuz" "$work/initramfs.cpio.gz" "$work/disk/boot"
# GRUB copies a relocatable kernel (byte 234h of its header) to 16 MiB byte by byte, 4 s under emulation; one that does
# not say it is relocatable is left at 1 MiB, where it was read to. The kernel moves itself either way.
printf '\0' | dd of="$work/disk/boot/vmlinuz" bs=1 seek=564 conv=notrunc status=none
cp "$tree"/etc/passwd "$tree"/etc/shadow "$tree"/etc/group "$work/disk/etc"
agent "$work/disk"
ext4 "$work/disk" "$work/part.img" 31M slipway-demo 51495741-0000-4000-8000-6469736b0001

# GRUB reads its commands from the core image: no menu, no modules or configuration to look for on the disk.
cat >"$work/grub.cfg" <<CFG
linux /boot/vmlinuz $cmdline slipway.image=whole-disk
initrd /boot/initramfs.cpio.gz
boot
CFG
grub-mkimage -O i386-pc -d "$grub" -p '(,msdos1)/boot' -c "$work/grub.cfg" -o "$work/core.img" biosdisk part_msdos ext2 linux

# The master boot record: GRUB's boot sector, and one active Linux (83h) partition from sector 2048 of 31 MiB (63488
# = F800h sectors). The core image follows at sector 1, where the boot sector looks for it.
raw=$work/disk.raw
truncate -s 32M "$raw"
put() { dd of="$raw" conv=notrunc,sparse status=none "$@"; }
put if="$grub/boot.img" bs=440 count=1
printf 'SLIP\0\0\200\040\041\000\203\376\377\377\000\010\000\000\000\370\000\000' | put bs=1 seek=440
printf '\125\252' | put bs=1 seek=510
put if="$work/core.img" bs=512 seek=1
put if="$work/part.img" bs=1M seek=1
qemu-img convert -c -f raw -O qcow2 "$raw" "$work/slipway-demo.qcow2"

for f in vmlinuz initramfs.cpio.gz root.img root.qcow2 slipway-demo.qcow2; do mv "$work/$f" "$out/$f"; done
printf '%s\n' "$cmdline" >"$out/cmdline"
touch "$out/.built"
say "built in $out: $(cd "$out" && du -h vmlinuz initramfs.cpio.gz root.qcow2 slipway-demo.qcow2 | awk '{ printf "%s%s %s", sep, $2, $1; sep = ", " }')"
