// Package keystone holds Slipway to the tokens of a real Keystone, Debian's own: clients log in there and build here.
package keystone
