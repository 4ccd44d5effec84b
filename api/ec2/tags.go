package ec2

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/models"
)

// nameTag is the tag by which EC2's users call an instance. It is the server's name too, and where a server's metadata have none its
// name is the tag.
const nameTag = "Name"

// EC2's limits of tags (EC2 User Guide, "Tag restrictions").
const (
	maxTags     = 50
	maxTagKey   = 128
	maxTagValue = 256
	reservedTag = "aws:"
)

// tagsOf are a server's metadata as tags, by their keys.
func tagsOf(v models.Server) set[tagItem] {
	var tags set[tagItem]
	if _, has := v.Metadata[nameTag]; !has && !ids.IsUnnamed(v.Name) {
		tags = append(tags, tagItem{nameTag, v.Name})
	}
	for key, value := range v.Metadata {
		tags = append(tags, tagItem{key, value})
	}
	slices.SortFunc(tags, func(x, y tagItem) int { return strings.Compare(x.Key, y.Key) })
	return tags
}

// tagged are the values of a key.
func tagged(tags set[tagItem], key string) (values []string) {
	for _, t := range tags {
		if t.Key == key {
			values = append(values, t.Value)
		}
	}
	return values
}

func tagKeys(tags set[tagItem]) (keys []string) {
	for _, t := range tags {
		keys = append(keys, t.Key)
	}
	return keys
}

// metadataOf are tags as a server's metadata.
func metadataOf(tags []tagName) (map[string]string, error) {
	items := map[string]string{}
	for _, t := range tags {
		_, twice := items[t.Key]
		switch {
		case twice:
			return nil, invalid("Duplicate tag key '%s' specified.", t.Key)
		case t.Key == "" || utf8.RuneCountInString(t.Key) > maxTagKey:
			return nil, invalid("Tag key '%s' has to have from 1 to %d characters", t.Key, maxTagKey)
		case utf8.RuneCountInString(t.Value) > maxTagValue:
			return nil, invalid("Tag value exceeds the maximum length of %d characters", maxTagValue)
		case t.Key == nameTag && strings.ContainsFunc(t.Value, unicode.IsControl):
			return nil, invalid("The tag %s is the server's name too, and may have no control characters", nameTag)
		case strings.HasPrefix(strings.ToLower(t.Key), reservedTag):
			return nil, invalid("Tag keys starting with '%s' are reserved for internal use", reservedTag)
		}
		items[t.Key] = t.Value
	}
	return items, checkTags(items)
}

func checkTags(items map[string]string) error {
	if len(items) > maxTags {
		return refuse("TagLimitExceeded", "An instance may have at most %d tags", maxTags)
	}
	return nil
}

type changeTags struct {
	Resources []string     `ec2:"ResourceId,required"`
	Tags      []changedTag `ec2:"Tag"`
}

type changedTag struct {
	Key   string  `ec2:"Key,required"`
	Value *string `ec2:"Value"`
}

// taggable are the instances that a request names; nothing else has tags here.
func (a *API) taggable(ctx context.Context, who asker, resources []string) ([]instance, error) {
	for _, id := range resources {
		if !strings.HasPrefix(id, string(ids.EC2Instance)+"-") {
			return nil, unsupported("%s cannot be tagged: tags are instances' here", id)
		}
	}
	return a.instances(ctx, who, resources, nil)
}

func (a *API) createTags(ctx context.Context, who asker, in changeTags) (*done, error) {
	if len(in.Tags) == 0 {
		return nil, missing("Tag")
	}
	var tags []tagName
	for _, t := range in.Tags {
		tags = append(tags, tagName{t.Key, orEmpty(t.Value)})
	}
	items, err := metadataOf(tags)
	if err != nil {
		return nil, err
	}
	return a.retag(ctx, who, in.Resources, func(v *models.Server) error {
		for key, value := range items {
			v.Metadata[key] = value
		}
		if name := items[nameTag]; name != "" {
			v.Name = name
		}
		return checkTags(v.Metadata)
	})
}

// deleteTags takes tags off: one that is named with a value only where it has that one, and without any tag named all.
func (a *API) deleteTags(ctx context.Context, who asker, in changeTags) (*done, error) {
	return a.retag(ctx, who, in.Resources, func(v *models.Server) error {
		had := tagsOf(*v)
		gone := func(key, value string) bool {
			return len(in.Tags) == 0 || slices.ContainsFunc(in.Tags, func(t changedTag) bool {
				return t.Key == key && (t.Value == nil || *t.Value == value)
			})
		}
		for _, t := range had {
			if !gone(t.Key, t.Value) {
				continue
			}
			delete(v.Metadata, t.Key)
			if t.Key == nameTag {
				v.Name = ids.ServerName(v.ID)
			}
		}
		return nil
	})
}

func (a *API) retag(ctx context.Context, who asker, resources []string, change func(*models.Server) error) (*done, error) {
	found, err := a.taggable(ctx, who, resources)
	if err != nil {
		return nil, err
	}
	for _, i := range found {
		err := a.asking(who).Retag(ctx, i.server, change)
		if fault.Is(err, fault.NotFound) {
			return nil, ids.NoEC2(ids.EC2Instance, i.id)
		}
		if err != nil {
			return nil, fmt.Errorf("tag instance %s: %w", i.id, err)
		}
	}
	return isDone(), nil
}

type resourceTag struct {
	Resource string `xml:"resourceId"`
	Type     string `xml:"resourceType"`
	tagItem
}

type describeTags struct{ paged }

type describedTags struct {
	head
	Tags      set[resourceTag] `xml:"tagSet"`
	NextToken string           `xml:"nextToken,omitempty"`
}

func (a *API) describeTags(ctx context.Context, who asker, in describeTags) (*describedTags, error) {
	found, err := a.instances(ctx, who, nil, nil)
	if err != nil {
		return nil, err
	}
	var all []resourceTag
	for _, i := range found {
		for _, t := range tagsOf(i.server) {
			all = append(all, resourceTag{i.id, "instance", t})
		}
	}
	all, err = sift(all, in.Filters, attributes[resourceTag]{
		"resource-id":   is(func(t resourceTag) string { return t.Resource }),
		"resource-type": is(func(t resourceTag) string { return t.Type }),
		"key":           is(func(t resourceTag) string { return t.Key }),
		"value":         is(func(t resourceTag) string { return t.Value }),
		"tag:": func(t resourceTag, key string) []string {
			return tagged(set[tagItem]{t.tagItem}, key)
		},
	})
	if err != nil {
		return nil, err
	}
	all, next, err := cut(all, in.paged, false, func(t resourceTag) string { return t.Resource + "/" + t.Key })
	return &describedTags{Tags: all, NextToken: next}, err
}

var tagActions = []action{
	does("CreateTags", (*API).createTags),
	does("DeleteTags", (*API).deleteTags),
	does("DescribeTags", (*API).describeTags),
}
