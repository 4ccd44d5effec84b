#!/bin/busybox sh
# udhcpc's event script: applies a lease and prints the nic line for it.
[ "$1" = bound ] || exit 0
read -r mac <"/sys/class/net/$interface/address"
ip addr add "$ip/$mask" dev "$interface" && echo "slipway-guest: nic $mac $ip/$mask dhcp" >/dev/console
[ -n "$mtu" ] && ip link set dev "$interface" mtu "$mtu"
for gateway in $router; do ip route add default via "$gateway" dev "$interface"; break; done
