#!/bin/sh
# Builds a server as a user would: image, key pair, user data and metadata in, a booted guest out, whose own words on its
# console are compared with what it was given. `make demo` runs it once everything is up; run it again for another server.
#
#   deploy/dev/demo.sh
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
state=$root/.slipway
work=$state/demo
slipway=$state/bin/slipway
patience=180 # seconds for the guest to boot: 10 under emulation on a quiet machine

if [ -t 1 ] && [ "${TERM:-dumb}" != dumb ] && [ -z "${NO_COLOR:-}" ]; then
	bold=$(printf '\033[1m') green=$(printf '\033[32m') red=$(printf '\033[31m') dim=$(printf '\033[2m') plain=$(printf '\033[0m')
else
	bold= green= red= dim= plain=
fi
step() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
run() { printf '%s$ slipway %s%s\n' "$dim" "$*" "$plain" >&2; "$slipway" "$@"; }
die() { printf '%sdemo: %s%s\n' "$red" "$*" "$plain" >&2; exit 1; }
field() { awk -v name="$1" 'index($0, name) == 1 { sub("^" name "  *", ""); print; exit }' "$2"; }

[ -e "$state/openrc-demo" ] && [ -x "$slipway" ] || die "nothing runs here yet: make up"
. "$state/openrc-demo"
umask 077
mkdir -p "$work"

# A guest that is emulated takes its time, and whoever has the hardware for more wants to know why.
(. "$state/openrc" && "$slipway" host show dev-1) >"$work/host"
why=$(field 'guests why' "$work/host")
echo "guests on this machine are $(field guests "$work/host")${why:+: $why}"

setting() { sed -n "s/^ *$1: *//p" "$state/slipway.yaml" | tr -d "\"'"; }
engine=$(setting engine) steps=4
[ "$engine" != ovn ] || steps=5

step "1/$steps An image"
file=$state/guest/slipway-demo.qcow2
[ -e "$file" ] || die "$file is missing: make guest"
sum=$(sha512sum "$file" | cut -d ' ' -f 1)
run image list --name slipway-demo --status active --columns id,os_hash_value --no-headers >"$work/images"
image=$(awk -v sum="$sum" '$2 == sum { print $1; exit }' "$work/images")
if [ -n "$image" ]; then
	echo "slipway-demo is there already, with the same checksum: $image"
else
	run image create slipway-demo --file "$file" --min-ram 128 \
		--property architecture=x86_64 --property hw_qemu_guest_agent=yes --property os_admin_user=root >"$work/image"
	cat "$work/image"
	image=$(field id "$work/image")
fi
[ -n "$image" ] || die "the image has no id"

step "2/$steps A key pair, user data, metadata"
"$slipway" keypair show demo --columns public_key >"$work/keypair" 2>"$work/errors" && found=0 || found=$?
if [ "$found" != 0 ]; then
	[ "$found" = 3 ] || { cat "$work/errors" >&2; die "the key pairs can't be read"; } # 3: there is none
	rm -f "$work/id_ed25519"
	run keypair create demo --private-key "$work/id_ed25519"
	"$slipway" keypair show demo --columns public_key >"$work/keypair"
fi
key=$(field public_key "$work/keypair" | cut -d ' ' -f 1,2)
echo "key pair demo: $key"
said="built by Slipway at $(date -u +%Y-%m-%dT%H:%M:%SZ)"
printf '#!/bin/sh\necho "%s"\n' "$said" >"$work/user-data"
echo "user data:     a script that prints \"$said\""
echo "metadata:      purpose=demo, owner=$OS_USERNAME"

step "3/$steps A server"
"$slipway" server list --columns name --no-headers >"$work/names"
number=$(sed -n 's/^demo-\([0-9][0-9]*\) *$/\1/p' "$work/names" | sort -n | tail -1)
name=demo-$((${number:-0} + 1))
run boot "$name" --image "$image" --flavor m1.nano --key-name demo --user-data "$work/user-data" \
	--meta purpose=demo --meta "owner=$OS_USERNAME" --wait >"$work/server"
grep -v '^admin password' "$work/server"
id=$(field id "$work/server")
[ -n "$id" ] || die "the server has no id"
password=$(field 'admin password' "$work/server")
address=$(field addresses "$work/server" | sed 's/^[^=]*=//; s/[,;].*//')

step "4/$steps What the guest says of itself on its console"
echo "${dim}\$ slipway server console $name${plain}"
began=$(date +%s) shown=0
while :; do
	if "$slipway" server console "$id" >"$work/console" 2>"$work/errors"; then
		tr -d '\r' <"$work/console" | grep -a '^slipway-guest: ' >"$work/guest" || true
		tail -n +$((shown + 1)) "$work/guest"
		shown=$(wc -l <"$work/guest")
		if grep -q '^slipway-guest: ready in ' "$work/guest"; then break; fi
	fi
	waited=$(($(date +%s) - began))
	if [ "$waited" -gt "$patience" ]; then
		cat "$work/errors" >&2
		tail -20 "$work/console" >&2 || true
		die "no \"slipway-guest: ready\" on the console of $name ($id) within $patience s; above is the end of the console"
	fi
	sleep 1
done
echo "${dim}(ready $(($(date +%s) - began)) s after ACTIVE)${plain}"

answers=
if [ "$engine" = ovn ]; then
	step "5/5 Who is on its network"
	if [ -z "$address" ]; then
		echo "(nobody: the server has no address)"
	elif run dev ping "$id" --state-dir "$state"; then
		answers=yes
	else
		answers=no
	fi
fi

echo
wrong=0
# check WHAT LINE: the guest must have printed exactly this line.
check() {
	if grep -qxF -e "slipway-guest: $2" "$work/guest"; then
		printf '%ssame%s     %s\n' "$green" "$plain" "$1"
	else
		printf '%sDIFFERS%s  %s: no line "%s"\n' "$red" "$plain" "$1" "$2"
		wrong=$((wrong + 1))
	fi
}
hash() { sha256sum | cut -d ' ' -f 1; }
if grep -q "^slipway-guest: uuid=$id name=$name " "$work/guest"; then
	printf '%ssame%s     id and name\n' "$green" "$plain"
else
	printf '%sDIFFERS%s  id and name: not %s and %s\n' "$red" "$plain" "$id" "$name"
	wrong=$((wrong + 1))
fi
if awk -v key="$key" '$2 == "public-key" && $4 " " $5 == key { found = 1 } END { exit !found }' "$work/guest"; then
	printf '%ssame%s     public key\n' "$green" "$plain"
else
	printf '%sDIFFERS%s  public key: not %s\n' "$red" "$plain" "$key"
	wrong=$((wrong + 1))
fi
check "metadata purpose" "meta purpose=demo"
check "metadata owner" "meta owner=$OS_USERNAME"
check "user data" "user-data-sha256=$(hash <"$work/user-data") user-data-bytes=$(($(wc -c <"$work/user-data")))"
check "what the user data printed when it ran" "user-data> $said"
check "its exit status" "user-data-exit=0"
[ -z "$password" ] || check "administrator's password (by its hash)" "admin-pass-sha256=$(printf %s "$password" | hash)"
if [ -z "$address" ]; then
	echo "(the server has no address)"
elif grep -q "^slipway-guest: nic [^ ]* $(printf %s "$address" | sed 's/\./\\./g')/" "$work/guest"; then
	printf '%ssame%s     address %s\n' "$green" "$plain" "$address"
else
	printf '%sDIFFERS%s  address: not %s\n' "$red" "$plain" "$address"
	wrong=$((wrong + 1))
fi
case "$answers" in
yes) printf '%ssame%s     a neighbour on its network reaches it\n' "$green" "$plain" ;;
no)
	printf '%sDIFFERS%s  no neighbour on its network reaches it: above is what ping said\n' "$red" "$plain"
	wrong=$((wrong + 1))
	;;
esac
[ "$wrong" = 0 ] || die "$wrong of these differ from what was given; the console is in $work/console"

ui=$(setting ui_url)
cat <<END

${bold}$name is built, booted, and has what it was given.${plain}

  API               ${OS_AUTH_URL%/v3}
  this build        $ui/namespaces/slipway/workflows/server%2F$id
  all workflows     $ui/namespaces/slipway/workflows

  look              . .slipway/openrc-demo
                    .slipway/bin/slipway server events $name
                    openstack server list        (any OpenStack client; apt-get install python3-openstackclient)
                    virsh -c 'qemu+unix:///system?socket=$(setting libvirt_socket)' list
  again             make demo
  delete it         .slipway/bin/slipway server delete $name --wait
  stop everything   make down                    (the state stays; make purge deletes it)
END
