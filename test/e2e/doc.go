// Package e2e tests Slipway as its users and operators meet it: real processes, real libvirt, QEMU guests that print what
// they were given (deploy/dev/guest), everything asked for through the HTTP API by a plain member of a project. Every test
// ends with one comparison: the world after it is the world before it.
package e2e
