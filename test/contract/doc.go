// Package contract holds the clients that people have to Slipway: gophercloud, the openstack, nova and glance command lines and
// Slipway's own do their everyday work against running processes. The hypervisor is the fake one: what guests make of it is
// test/e2e's.
package contract
