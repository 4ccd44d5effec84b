//go:build !faultinject

package main

import (
	"go.temporal.io/sdk/interceptor"

	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
)

// injectFaults is for the binary of the fault tests (the build tag faultinject); this one has no faults but its own.
func injectFaults(_ string, virt hypervisor.Hypervisor) (hypervisor.Hypervisor, []interceptor.WorkerInterceptor, error) {
	return virt, nil, nil
}
