package servers

import (
	"context"
	"maps"
	"slices"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

// MaxTags is how many tags a server may have (nova/objects/instance.py, MAX_TAG_COUNT).
const MaxTags = 50

// Update is what is said of a server from now on; nil stays as it is.
type Update struct {
	Name, Hostname         *string
	Description            **string // to nil: there is none any more
	AccessIPv4, AccessIPv6 *string
	AutoDiskConfig         *bool // OS-DCF:diskConfig is AUTO, from the next time that the disk is made
	Protected              *bool // from the EC2 API's TerminateInstances
	EndsAtShutdown         *bool // of its guest by itself
}

// Update changes what is said of a server. Its guest was told its names when it was built, and is told nothing of the change.
func (s Servers) Update(ctx context.Context, v models.Server, u Update) (models.Server, error) {
	err := s.store.ReviseServer(ctx, s.asks(v), func(v *models.Server) error {
		set(&v.Name, u.Name)
		set(&v.Hostname, u.Hostname)
		set(&v.Description, u.Description)
		set(&v.AccessIPv4, u.AccessIPv4)
		set(&v.AccessIPv6, u.AccessIPv6)
		set(&v.AutoDiskConfig, u.AutoDiskConfig)
		set(&v.Protected, u.Protected)
		set(&v.EndsAtShutdown, u.EndsAtShutdown)
		return nil
	})
	if err != nil {
		return models.Server{}, err
	}
	return s.Get(ctx, v.ID)
}

func set[T any](field, to *T) {
	if to != nil {
		*field = *to
	}
}

// SetMetadata adds items to a server's metadata, or with whole puts them in its place, and returns all that it has then.
func (s Servers) SetMetadata(ctx context.Context, v models.Server, items map[string]string, whole bool) (all map[string]string, err error) {
	q, err := s.Quota(ctx, v.ProjectID)
	if err != nil {
		return nil, err
	}
	err = s.store.ReviseServer(ctx, s.asks(v), func(v *models.Server) error {
		if err := s.mayHaveMetadata(*v, "update metadata"); err != nil {
			return err
		}
		if whole {
			clear(v.Metadata)
		}
		maps.Copy(v.Metadata, items)
		all = v.Metadata
		return CheckMetadata(all, q)
	})
	return all, err
}

// RemoveMetadata removes one item.
func (s Servers) RemoveMetadata(ctx context.Context, v models.Server, key string) error {
	return s.store.ReviseServer(ctx, s.asks(v), func(v *models.Server) error {
		if _, ok := v.Metadata[key]; !ok {
			return fault.New(fault.NotFound, "Metadata item was not found")
		}
		delete(v.Metadata, key)
		return s.mayHaveMetadata(*v, "delete metadata")
	})
}

// Retag changes a server's metadata and name by EC2's rule: whatever is done to it meanwhile, but a delete. Its guest was told what it
// was told.
func (s Servers) Retag(ctx context.Context, v models.Server, change func(*models.Server) error) error {
	q, err := s.Quota(ctx, v.ProjectID)
	if err != nil {
		return err
	}
	return s.store.ReviseServer(ctx, s.asks(v), func(v *models.Server) error {
		if err := v.MayChange(s.caller.Admin()); err != nil {
			return err
		}
		if v.Task() == lifecycle.Deleting {
			return v.Refuses("update metadata", "task_state", v.Task())
		}
		if err := change(v); err != nil {
			return err
		}
		return CheckMetadata(v.Metadata, q)
	})
}

// mayHaveMetadata is check_instance_lock and check_instance_state of Nova's compute/api.py, as they guard metadata.
func (s Servers) mayHaveMetadata(v models.Server, what string) error {
	if err := v.MayChange(s.caller.Admin()); err != nil {
		return err
	}
	if err := mayHaveWords(v, what); err != nil || v.TaskState == nil {
		return err
	}
	return v.Refuses(what, "task_state", *v.TaskState)
}

// mayHaveWords is the same for tags, which neither lock nor task keeps from changing.
func mayHaveWords(v models.Server, what string) error {
	if slices.Contains(lifecycle.InUse(), v.VMState) {
		return nil
	}
	return v.Refuses(what, "vm_state", string(v.VMState))
}

// SetTags gives a server these tags and no others, and returns them; nil takes all off it.
func (s Servers) SetTags(ctx context.Context, v models.Server, tags []string) ([]string, error) {
	what := "update tags"
	if tags == nil {
		what = "delete tags"
	}
	tags = slices.Compact(slices.Sorted(slices.Values(tags)))
	return tags, s.store.ReviseServer(ctx, s.asks(v), func(v *models.Server) error {
		v.Tags = tags
		return mayHaveWords(*v, what)
	})
}

// AddTag gives a server one more tag; added is whether it had it not.
func (s Servers) AddTag(ctx context.Context, v models.Server, tag string) (added bool, err error) {
	err = s.store.ReviseServer(ctx, s.asks(v), func(v *models.Server) error {
		if err := mayHaveWords(*v, "update tag"); err != nil {
			return err
		}
		if len(v.Tags) >= MaxTags {
			return invalid("The number of tags exceeded the per-server limit %d", MaxTags)
		}
		if added = !slices.Contains(v.Tags, tag); added {
			v.Tags = append(v.Tags, tag)
		}
		return nil
	})
	return added, err
}

// RemoveTag takes one tag off a server.
func (s Servers) RemoveTag(ctx context.Context, v models.Server, tag string) error {
	return s.store.ReviseServer(ctx, s.asks(v), func(v *models.Server) error {
		if err := mayHaveWords(*v, "delete tag"); err != nil {
			return err
		}
		at := slices.Index(v.Tags, tag)
		if at < 0 {
			return fault.New(fault.NotFound, "Instance %s has no tag '%s'", v.ID, tag)
		}
		v.Tags = slices.Delete(v.Tags, at, at+1)
		return nil
	})
}
