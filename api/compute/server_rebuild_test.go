package compute_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

func TestARebuildTakesWhatItsMicroversionHasAndAnswersWithTheServer(t *testing.T) {
	c := newCloud(t)
	c.builds.do = func(in contract.ActionInput) error { // what the workflow's first step does
		action, _ := lifecycle.Find(in.Action)
		_, err := c.Store.BeginAction(context.Background(), in.ServerID, action, instanceAction(in, action))
		return err
	}
	n := c.network(t, c.member, "n", "10.0.0.0/24", "10.0.0.2", "10.0.0.9")
	s := c.row(t, c.member, "web", time.Now())
	c.place(t, s, n)
	c.activate(t, s, time.Now())
	_, err := c.Store.CreateKeyPair(t.Context(), models.KeyPair{UserID: c.member.UserID, Name: "laptop", Type: "ssh", PublicKey: "ssh-ed25519 AAAA"}, 10)
	require.NoError(t, err)
	rebuild := func(version string, body fields) (int, string, func(...string) any) {
		a := c.nova(t, c.member, version, "POST", "/servers/"+s.ID+"/action", fields{"rebuild": body})
		return a.Status, a.Body, func(path ...string) any { return a.At(t, path...) }
	}
	last := func() contract.Rebuild { return *c.builds.actions[len(c.builds.actions)-1].Rebuild }
	fail := func() {
		in := c.builds.actions[len(c.builds.actions)-1]
		action, _ := lifecycle.Find(in.Action)
		require.NoError(t, c.Store.FailAction(t.Context(), s.ID, in.RequestID, action, models.Server{}, models.ServerFault{Message: "no"}, nil))
	}

	image := uuid.NewString()
	status, body, at := rebuild("2.1", fields{"imageRef": image, "personality": []fields{{"path": "/etc/motd", "contents": "aGk="}}})
	require.Equal(t, 202, status, body)
	require.Equal(t, "REBUILD", at("server", "status"))
	require.Len(t, at("server", "adminPass"), 12)
	require.NotContains(t, body, "OS-EXT-STS", "before 2.75 what extensions added is not in it")
	require.NotContains(t, body, "key_name")
	require.NotContains(t, body, "user_data")
	to := last()
	require.Equal(t, image, to.ImageID)
	require.Equal(t, []contract.File{{Path: "/etc/motd", Contents: []byte("hi")}}, to.Files)
	require.Equal(t, at("server", "adminPass"), to.AdminPass)
	require.Len(t, to.Seed, 32)
	require.Equal(t, c.flavor.RAMMiB, to.Flavor.RAMMiB, "which the image has to fit")
	require.Nil(t, to.KeyPairs)
	require.Nil(t, to.UserData)
	require.Nil(t, to.Metadata)
	status, body, _ = rebuild(at96, fields{"imageRef": image})
	require.Equal(t, 409, status)
	require.Contains(t, body, "Cannot 'rebuild' instance "+s.ID+" while it is in task_state rebuilding")
	fail()

	status, body, at = rebuild(at96, fields{
		"imageRef": image, "name": "db", "hostname": "db.example", "description": nil, "metadata": fields{"a": "b"}, "key_name": "laptop",
		"user_data": "aGk=", "adminPass": "secret", "OS-DCF:diskConfig": "MANUAL", "preserve_ephemeral": false, "trusted_image_certificates": nil,
	})
	require.Equal(t, 202, status, body)
	require.Equal(t, "secret", at("server", "adminPass"))
	require.Equal(t, "aGk=", at("server", "user_data"))
	require.Equal(t, "rebuilding", at("server", "OS-EXT-STS:task_state"))
	to = last()
	require.Equal(t, "db", *to.Name)
	require.Equal(t, "db.example", *to.Hostname)
	require.Empty(t, *to.Description)
	require.Equal(t, map[string]string{"a": "b"}, *to.Metadata)
	require.Equal(t, []contract.KeyPair{{Name: "laptop", PublicKey: "ssh-ed25519 AAAA", Type: "ssh"}}, *to.KeyPairs)
	require.Equal(t, []byte("hi"), *to.UserData)
	fail()

	require.Equal(t, []any{(*string)(nil), (*string)(nil), new(false)}, []any{to.AccessIPv4, to.AccessIPv6, to.AutoDiskConfig})
	status, _, _ = rebuild(at96, fields{
		"imageRef": image, "key_name": nil, "user_data": nil, "accessIPv4": "192.0.2.9", "accessIPv6": "2001:db8::9",
		"OS-DCF:diskConfig": "AUTO", "trusted_image_certificates": []string{"a", "b"},
	})
	require.Equal(t, 202, status)
	to = last()
	require.Equal(t, []any{new("192.0.2.9"), new("2001:db8::9"), new(true)}, []any{to.AccessIPv4, to.AccessIPv6, to.AutoDiskConfig})
	require.Equal(t, []string{"a", "b"}, to.TrustedCertificates)
	require.Empty(t, *last().KeyPairs)
	require.Equal(t, []byte{}, *last().UserData, "none, and not what there was")
	fail()

	begun := len(c.builds.actions)
	for why, body := range map[string]fields{
		"'imageRef' is a required property":    {},
		"'old' is not a 'uuid'":                {"imageRef": "old"},
		"preserve_ephemeral is not offered":    {"imageRef": image, "preserve_ephemeral": true},
		"'10.0.0' is not a 'ipv4'":             {"imageRef": image, "accessIPv4": "10.0.0"},
		"Invalid key_name provided.":           {"imageRef": image, "key_name": "nobodys"},
		"is not a 'base64'":                    {"imageRef": image, "user_data": "§"},
		"An invalid 'name' value was provided": {"imageRef": image, "name": " db"},
		"'personality' was unexpected":         {"imageRef": image, "personality": []fields{}},
	} {
		status, text, _ := rebuild(at96, body)
		require.Equal(t, 400, status, why)
		require.Contains(t, text, why)
	}
	for version, field := range map[string]string{"2.18": "description", "2.53": "key_name", "2.56": "user_data", "2.89": "hostname"} {
		status, text, _ := rebuild(version, fields{"imageRef": image, field: "x"})
		require.Equal(t, 400, status)
		require.Contains(t, text, "'"+field+"' was unexpected")
	}
	require.Len(t, c.builds.actions, begun)
	c.builds.do = func(contract.ActionInput) error { return fault.New(fault.Invalid, "Can not find requested image") }
	status, body, _ = rebuild(at96, fields{"imageRef": image})
	require.Equal(t, 400, status, body)
	require.Contains(t, body, "Can not find requested image")
	require.Equal(t, 404, c.nova(t, c.member, at96, "POST", "/servers/"+uuid.NewString()+"/action", fields{"rebuild": fields{}}).Status)
}
