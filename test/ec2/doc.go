// Package ec2 shows that the EC2 API's clients work: Amazon's SDK for Go with its waiters, the aws command line, and boto3. The
// servers are built by Slipway's own processes, on a hypervisor that runs no guests.
package ec2
