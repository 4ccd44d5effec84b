package ec2

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/test/system"
)

// patience bounds one thing that a client waits for.
const patience = 2 * time.Minute

// rig is a system with an image and a flavor, and the access key of its plain user.
type rig struct {
	*system.System
	key           aws.Credentials
	image         string // Glance's id
	ami           string
	user, project string
}

func start(t *testing.T) *rig {
	t.Helper()
	r := &rig{System: system.Start(t, system.Options{Hypervisor: "fake", Settings: map[string]any{"quota": map[string]any{"instances": 100, "cores": 100}}})}
	r.Flavor(t, "small", 64)
	r.Flavor(t, "large", 128)
	r.image = system.Upload(t, system.Image(t, r.Demo()), images.CreateOpts{Name: "noise", DiskFormat: "raw", ContainerFormat: "bare"}, bytes.NewReader(make([]byte, 1<<20)))
	key := system.AccessKey(t, r.Demo())
	r.user, r.project = key.UserID, key.TenantID
	r.key = aws.Credentials{AccessKeyID: key.Access, SecretAccessKey: key.Secret}
	all, err := r.sdk().DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
	require.NoError(t, err)
	require.Len(t, all.Images, 1)
	r.ami = *all.Images[0].ImageId
	require.Equal(t, types.ImageStateAvailable, all.Images[0].State)
	return r
}

// sdk is Amazon's client for Go.
func (r *rig) sdk() *ec2.Client {
	return ec2.New(ec2.Options{
		Region: "RegionOne", BaseEndpoint: new(r.APIURL + "/ec2"), HTTPClient: r.HTTP(),
		Credentials: credentials.NewStaticCredentialsProvider(r.key.AccessKeyID, r.key.SecretAccessKey, ""),
	})
}

// isRefused holds that a call was refused with a code.
func isRefused(t *testing.T, code string, err error) {
	t.Helper()
	var refused smithy.APIError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, code, refused.ErrorCode(), "%s", refused.ErrorMessage())
}

// environment is that of programs that sign with the key.
func (r *rig) environment(t *testing.T) []string {
	t.Helper()
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LANG=C.UTF-8", "AWS_DEFAULT_REGION=RegionOne", "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true",
		"AWS_ACCESS_KEY_ID=" + r.key.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + r.key.SecretAccessKey, "ENDPOINT=" + r.APIURL + "/ec2", "IMAGE=" + r.ami,
		"PROJECT=" + r.project,
	}
	for _, setting := range r.Openrc("demo", system.DemoPassword) {
		if ca, ok := strings.CutPrefix(setting, "OS_CACERT="); ok {
			env = append(env, "AWS_CA_BUNDLE="+ca)
		}
	}
	return env
}

// try runs a program and gives what it printed and its exit code.
func (r *rig) try(t *testing.T, path string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = r.environment(t)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		require.NoError(t, ctx.Err(), "%s %v: %s", path, args, &errs)
		require.ErrorAs(t, err, new(*exec.ExitError))
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

const awsCommand = "/usr/bin/aws"

// aws runs the aws command line and reads the JSON that it prints.
func (r *rig) aws(t *testing.T, into any, args ...string) {
	t.Helper()
	stdout, stderr, code := r.try(t, awsCommand, append([]string{"--endpoint-url", r.APIURL + "/ec2"}, args...)...)
	require.Zero(t, code, "aws %v: %s", args, stderr)
	if into != nil {
		require.NoError(t, json.Unmarshal([]byte(stdout), into), "aws %v printed %s", args, stdout)
	}
}

// installed ends the test where a path of one of Debian's packages is not there: another aws or python3 may lack what its package brings.
func installed(t *testing.T, path, of string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		fmt.Printf("SLIPWAY-NOT-RUN: %s: it is not installed (apt-get install %s)\n", filepath.Base(path), of)
		t.Skipf("no %s: apt-get install %s", path, of)
	}
}

// The SDK's waiters ask every 15 seconds; here more is known of how long a build takes.
const pace = 300 * time.Millisecond

func waitRunning(c *ec2.Client) *ec2.InstanceRunningWaiter {
	return ec2.NewInstanceRunningWaiter(c, func(o *ec2.InstanceRunningWaiterOptions) { o.MinDelay, o.MaxDelay = pace, pace })
}

func waitStopped(c *ec2.Client) *ec2.InstanceStoppedWaiter {
	return ec2.NewInstanceStoppedWaiter(c, func(o *ec2.InstanceStoppedWaiterOptions) { o.MinDelay, o.MaxDelay = pace, pace })
}

func waitTerminated(c *ec2.Client) *ec2.InstanceTerminatedWaiter {
	return ec2.NewInstanceTerminatedWaiter(c, func(o *ec2.InstanceTerminatedWaiterOptions) { o.MinDelay, o.MaxDelay = pace, pace })
}

func waitStatusOk(c *ec2.Client) *ec2.InstanceStatusOkWaiter {
	return ec2.NewInstanceStatusOkWaiter(c, func(o *ec2.InstanceStatusOkWaiterOptions) { o.MinDelay, o.MaxDelay = pace, pace })
}
