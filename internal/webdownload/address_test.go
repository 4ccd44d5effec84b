package webdownload

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAddressesOfThePublicInternetAreTheOnlyOnes(t *testing.T) {
	for _, a := range []string{
		"1.1.1.1", "8.8.8.8", "93.184.215.14", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
		"169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0", "198.17.255.255",
		"198.20.0.0", "223.255.255.255", "::ffff:8.8.8.8", "2606:4700:4700::1111", "2001:200::1", "2a00:1450::1", "64:ff9b::808:808",
	} {
		require.True(t, public(netip.MustParseAddr(a)), a)
	}
	for _, a := range []string{
		"0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.1", "127.255.255.255",
		"168.63.129.16", "169.254.0.0", "169.254.169.254", "172.16.0.0", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1",
		"192.168.0.0", "192.168.255.255", "198.18.0.0", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255",
		"240.0.0.0", "255.255.255.255",
		"::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::ffff:0:127.0.0.1",
		"64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::a00:1", "64:ff9b:1::808:808", "100::1", "2001::1", "2001:0:7f00:1::", "2001:2::1",
		"2001:10::1", "2001:20::1", "2001:db8::1", "2002:808:808::1", "2002:7f00:1::1", "3fff::1", "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254",
		"fe80::1", "febf::1", "fec0::1", "ff02::1", "fe80::1%eth0", "2606:4700::1%eth0", "2620:4f:8000::1",
	} {
		require.False(t, public(netip.MustParseAddr(a)), a)
	}
	require.False(t, public(netip.Addr{}))
}

func TestNetworksAddAddressesThatAreNotPublic(t *testing.T) {
	r := Rules{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/30")}}
	require.True(t, r.reachable(netip.MustParseAddr("127.0.0.1")))
	require.True(t, r.reachable(netip.MustParseAddr("::ffff:127.0.0.1")), "the same host in a dual-stack socket's words")
	require.True(t, r.reachable(netip.MustParseAddr("8.8.8.8")))
	require.False(t, r.reachable(netip.MustParseAddr("127.0.0.4")))
	require.False(t, r.reachable(netip.MustParseAddr("64:ff9b::7f00:1")), "through a relay it is another network's host")
}

func TestThePublicAddressesOfThisMachineAreNotConnectedTo(t *testing.T) {
	f := New(anyHost(), slog.New(slog.DiscardHandler))
	f.ownAddresses = func() ([]net.Addr, error) {
		return []net.Addr{
			&net.IPNet{IP: net.IPv4(8, 8, 8, 8), Mask: net.CIDRMask(24, 32)},
			&net.IPNet{IP: net.ParseIP("2606:4700::1"), Mask: net.CIDRMask(64, 128)},
		}, nil
	}
	for to, refused := range map[string]bool{"8.8.8.8:80": true, "[::ffff:8.8.8.8]:80": true, "[2606:4700::1]:443": true, "8.8.8.9:80": false, "[2606:4700::2]:443": false} {
		require.Equal(t, refused, errors.As(f.control("tcp", to, nil), new(errAddress)), to)
	}
	f.rules.Networks = []netip.Prefix{netip.MustParsePrefix("8.8.8.8/32")}
	require.NoError(t, f.control("tcp", "8.8.8.8:80", nil), "unless the operator named it")

	f.ownAddresses = func() ([]net.Addr, error) { return nil, errors.New("no netlink") }
	require.ErrorContains(t, f.control("tcp", "1.1.1.1:80", nil), "no netlink", "what is not known is not allowed")
}
