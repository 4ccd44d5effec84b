//go:build faultinject

package main

import (
	"os"

	"go.temporal.io/sdk/interceptor"

	"github.com/slipway-cloud/slipway/internal/dev/faultinject"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
)

// injectFaults puts the faults of a test around a process's activities and, on a host, its hypervisor.
func injectFaults(hostname string, virt hypervisor.Hypervisor) (hypervisor.Hypervisor, []interceptor.WorkerInterceptor, error) {
	dir := os.Getenv(faultinject.Variable)
	if dir == "" {
		return virt, nil, nil
	}
	injector, err := faultinject.Open(dir, hostname)
	if err != nil {
		return nil, nil, err
	}
	if virt != nil {
		virt = injector.Hypervisor(virt)
	}
	return virt, []interceptor.WorkerInterceptor{injector.Interceptor()}, nil
}
