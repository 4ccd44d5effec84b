package ec2

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/service/servers"
	"github.com/slipway-cloud/slipway/models"
)

// EC2's error codes of key pairs.
const (
	keyAbsent    ids.EC2Code = "InvalidKeyPair.NotFound"
	keyDuplicate ids.EC2Code = "InvalidKeyPair.Duplicate"
	keyFormat    ids.EC2Code = "InvalidKey.Format"
)

// tagSpecification is the tags of something that is made, by the type of what gets them.
type tagSpecification struct {
	Type string    `ec2:"ResourceType,required"`
	Tags []tagName `ec2:"Tag"`
}

type tagName struct {
	Key   string `ec2:"Key,required"`
	Value string `ec2:"Value"`
}

type createKeyPair struct {
	Name   string  `ec2:"KeyName,required"`
	Type   string  `ec2:"KeyType"`
	Format string  `ec2:"KeyFormat"`
	Tags   refused `ec2:"TagSpecification" why:"key pairs have no tags here"`
}

type keyPairItem struct {
	ID          string       `xml:"keyPairId"`
	Name        string       `xml:"keyName"`
	Fingerprint string       `xml:"keyFingerprint"`
	Material    string       `xml:"keyMaterial,omitempty"`
	Type        string       `xml:"keyType,omitempty"`
	Public      string       `xml:"publicKey,omitempty"`
	Created     string       `xml:"createTime,omitempty"`
	Tags        set[tagItem] `xml:"tagSet"`
}

type madeKeyPair struct {
	head
	keyPairItem
}

// keyName is what both APIs let a key be called, so that each can say it.
var keyName = regexp.MustCompile(`^[_\-@. a-zA-Z0-9]{1,255}$`)

func checkKeyName(name string) error {
	if !keyName.MatchString(name) || strings.TrimSpace(name) != name {
		return invalid("Value (%s) for parameter KeyName is invalid. It may have 255 letters, digits, spaces and the characters @ . - _", name)
	}
	return nil
}

func (a *API) createKeyPair(ctx context.Context, who asker, in createKeyPair) (*madeKeyPair, error) {
	var algorithm servers.KeyAlgorithm
	switch in.Type {
	case "", "rsa":
		algorithm = servers.RSA
	case "ed25519":
		algorithm = servers.ED25519
	default:
		return nil, invalid("Value (%s) for parameter KeyType is invalid. It is rsa or ed25519.", in.Type)
	}
	switch in.Format {
	case "", "pem":
	case "ppk":
		return nil, unsupported("A key is written as pem here; puttygen makes a ppk file of it")
	default:
		return nil, invalid("Value (%s) for parameter KeyFormat is invalid. It is pem or ppk.", in.Format)
	}
	return a.keep(ctx, who, servers.NewKeyPair{Name: in.Name, Algorithm: algorithm})
}

type importKeyPair struct {
	Name     string  `ec2:"KeyName,required"`
	Material blob    `ec2:"PublicKeyMaterial,required"`
	Tags     refused `ec2:"TagSpecification" why:"key pairs have no tags here"`
}

func (a *API) importKeyPair(ctx context.Context, who asker, in importKeyPair) (*madeKeyPair, error) {
	public := strings.TrimSpace(string(in.Material))
	said, err := a.keep(ctx, who, servers.NewKeyPair{Name: in.Name, PublicKey: &public})
	if fault.Is(err, fault.Invalid) && codeOf(err) == "" {
		return nil, refuse(keyFormat, "Key is not in valid OpenSSH public key format")
	}
	return said, err
}

func (a *API) keep(ctx context.Context, who asker, in servers.NewKeyPair) (*madeKeyPair, error) {
	if err := checkKeyName(in.Name); err != nil {
		return nil, err
	}
	k, private, err := a.asking(who).CreateKeyPair(ctx, in)
	if fault.Is(err, fault.Conflict) {
		return nil, refuse(keyDuplicate, "The keypair '%s' already exists.", in.Name)
	}
	if err != nil {
		return nil, err
	}
	said := &madeKeyPair{keyPairItem: keyItem(k)}
	said.Material, said.Public, said.Created, said.Type = private, "", "", ""
	return said, nil
}

func keyItem(k models.KeyPair) keyPairItem {
	algorithm, fingerprint := servers.EC2Fingerprint(k)
	return keyPairItem{
		ID: ids.EC2(ids.EC2KeyPair, ids.KeyPair(k.UserID, k.Name, k.CreatedAt)), Name: k.Name, Fingerprint: fingerprint, Type: algorithm,
		Public: k.PublicKey, Created: when(k.CreatedAt),
	}
}

type describeKeyPairs struct {
	Names  []string `ec2:"KeyName"`
	IDs    []string `ec2:"KeyPairId"`
	Public bool     `ec2:"IncludePublicKey"`
	filtered
}

type describedKeyPairs struct {
	head
	Keys set[keyPairItem] `xml:"keySet"`
}

// keyPairs are the caller's: keys are a user's, not a project's.
func (a *API) keyPairs(ctx context.Context, who asker) ([]keyPairItem, error) {
	found, err := a.store.ListKeyPairs(ctx, who.UserID, "", 0)
	if err != nil {
		return nil, err
	}
	items := make([]keyPairItem, len(found))
	for i, k := range found {
		items[i] = keyItem(k)
	}
	return items, nil
}

func (a *API) describeKeyPairs(ctx context.Context, who asker, in describeKeyPairs) (*describedKeyPairs, error) {
	all, err := a.keyPairs(ctx, who)
	if err != nil {
		return nil, err
	}
	for _, name := range in.Names {
		if !slices.ContainsFunc(all, func(k keyPairItem) bool { return k.Name == name }) {
			return nil, refuse(keyAbsent, "The key pair '%s' does not exist", name)
		}
	}
	for _, id := range in.IDs {
		if !slices.ContainsFunc(all, func(k keyPairItem) bool { return k.ID == id }) {
			return nil, refuse(keyAbsent, "The key pair ID '%s' does not exist", id)
		}
	}
	if len(in.Names)+len(in.IDs) > 0 {
		all = slices.DeleteFunc(all, func(k keyPairItem) bool { return !slices.Contains(in.Names, k.Name) && !slices.Contains(in.IDs, k.ID) })
	}
	all, err = sift(all, in.Filters, attributes[keyPairItem]{
		"key-name":    is(func(k keyPairItem) string { return k.Name }),
		"key-pair-id": is(func(k keyPairItem) string { return k.ID }),
		"fingerprint": is(func(k keyPairItem) string { return k.Fingerprint }),
		"tag:":        func(keyPairItem, string) []string { return nil },
		"tag-key":     func(keyPairItem, string) []string { return nil },
	})
	if !in.Public {
		for i := range all {
			all[i].Public = ""
		}
	}
	return &describedKeyPairs{Keys: all}, err
}

type deleteKeyPair struct {
	Name string `ec2:"KeyName"`
	ID   string `ec2:"KeyPairId"`
}

type deletedKeyPair struct {
	head
	Return bool   `xml:"return"`
	ID     string `xml:"keyPairId,omitempty"`
}

// deleteKeyPair is done as well where there is no such key, as in EC2.
func (a *API) deleteKeyPair(ctx context.Context, who asker, in deleteKeyPair) (*deletedKeyPair, error) {
	if (in.Name == "") == (in.ID == "") {
		return nil, missing("KeyName")
	}
	all, err := a.keyPairs(ctx, who)
	if err != nil {
		return nil, err
	}
	said := &deletedKeyPair{Return: true}
	for _, k := range all {
		if k.Name != in.Name && k.ID != in.ID {
			continue
		}
		said.ID = k.ID
		if err := a.store.DeleteKeyPair(ctx, who.UserID, k.Name); err != nil && !fault.Is(err, fault.NotFound) {
			return nil, err
		}
	}
	return said, nil
}

var keyPairActions = []action{
	does("CreateKeyPair", (*API).createKeyPair),
	does("DeleteKeyPair", (*API).deleteKeyPair),
	does("DescribeKeyPairs", (*API).describeKeyPairs),
	does("ImportKeyPair", (*API).importKeyPair),
}
