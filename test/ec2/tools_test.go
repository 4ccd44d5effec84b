package ec2

import (
	_ "embed"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAWSCommandLine goes through what people type.
func TestAWSCommandLine(t *testing.T) {
	installed(t, awsCommand, "awscli")
	r := start(t)
	var who struct{ Account, Arn string }
	r.aws(t, &who, "sts", "get-caller-identity")
	require.Equal(t, r.project, who.Account)
	type described struct {
		Instances []struct {
			ID    string `json:"InstanceId"`
			State struct{ Name string }
			Tags  []struct{ Key, Value string }
		}
	}
	var ran described
	r.aws(t, &ran, "ec2", "run-instances", "--image-id", r.ami, "--instance-type", "small", "--count", "1:2", "--user-data", "#!/bin/true",
		"--tag-specifications", "ResourceType=instance,Tags=[{Key=Name,Value=cli}]")
	require.Len(t, ran.Instances, 2)
	one, two := ran.Instances[0].ID, ran.Instances[1].ID
	r.aws(t, nil, "ec2", "wait", "instance-running", "--instance-ids", one, two)
	r.aws(t, nil, "ec2", "stop-instances", "--instance-ids", one)
	r.aws(t, nil, "ec2", "wait", "instance-stopped", "--instance-ids", one)
	var found struct{ Reservations []described }
	r.aws(t, &found, "ec2", "describe-instances", "--filters", "Name=tag:Name,Values=cli", "Name=instance-state-name,Values=stopped", "--max-items", "5")
	require.Len(t, found.Reservations, 1)
	require.Equal(t, one, found.Reservations[0].Instances[0].ID)
	for _, what := range []string{
		"availability-zones", "regions", "account-attributes", "images", "instance-types", "instance-type-offerings", "key-pairs", "network-interfaces",
		"security-groups", "snapshots", "subnets", "tags", "volumes", "vpcs", "instance-status",
	} {
		var all map[string]any
		r.aws(t, &all, "ec2", "describe-"+what)
		require.NotEmpty(t, all, what)
	}
	_, complaint, code := r.try(t, awsCommand, "--endpoint-url", r.APIURL+"/ec2", "ec2", "create-volume", "--availability-zone", "nova", "--size", "1")
	require.NotZero(t, code)
	require.Contains(t, complaint, "(UnsupportedOperation)")
	var console struct {
		InstanceID string `json:"InstanceId"`
	}
	r.aws(t, &console, "ec2", "get-console-output", "--instance-id", two)
	require.Equal(t, two, console.InstanceID)
	var screen struct{ ImageData []byte }
	r.aws(t, &screen, "ec2", "get-console-screenshot", "--instance-id", two)
	require.NotEmpty(t, screen.ImageData)
	r.aws(t, nil, "ec2", "report-instance-status", "--instances", two, "--status", "impaired", "--reason-codes", "other")
	r.aws(t, nil, "ec2", "modify-instance-attribute", "--instance-id", two, "--attribute", "instanceInitiatedShutdownBehavior", "--value", "terminate")
	var said struct {
		InstanceInitiatedShutdownBehavior struct{ Value string }
	}
	r.aws(t, &said, "ec2", "describe-instance-attribute", "--instance-id", two, "--attribute", "instanceInitiatedShutdownBehavior")
	require.Equal(t, "terminate", said.InstanceInitiatedShutdownBehavior.Value)
	r.aws(t, nil, "ec2", "reset-instance-attribute", "--instance-id", one, "--attribute", "ramdisk")
	r.aws(t, nil, "ec2", "terminate-instances", "--instance-ids", one, two)
	r.aws(t, nil, "ec2", "wait", "instance-terminated", "--instance-ids", one, two)
}

//go:embed testdata/boto.py
var boto string

// TestBoto3 runs a script against it, which says at the end that it came there.
func TestBoto3(t *testing.T) {
	installed(t, "/usr/lib/python3/dist-packages/boto3", "python3-boto3")
	r := start(t)
	stdout, stderr, code := r.try(t, "/usr/bin/python3", "-c", boto)
	require.Zero(t, code, stderr)
	require.Equal(t, "came to the end\n", stdout)
}
