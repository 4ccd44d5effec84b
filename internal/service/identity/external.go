package identity

import (
	"context"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/keystone"
	"github.com/slipway-cloud/slipway/internal/sigv4"
	"github.com/slipway-cloud/slipway/models"
)

// Keystone is another identity service (internal/keystone).
type Keystone interface {
	Token(ctx context.Context, text string) (keystone.Token, error)
	Signer(ctx context.Context, r sigv4.Request, signature sigv4.Signature) (keystone.Token, error)
}

// maxKept is how many tokens are remembered.
const maxKept = 10_000

// External is who there is where another identity service says so. What it said of a token is believed for a while, in which a token
// that is revoked still lets in. What it lets nobody in with is asked again with each request.
type External struct {
	store    *models.Store
	keystone Keystone
	ttl      time.Duration
	now      func() time.Time

	asking singleflight.Group
	mu     sync.Mutex
	kept   map[string]said // by the token's hash
}

// said is what was said of a token, and until when it is believed.
type said struct {
	info  models.TokenInfo
	until time.Time
}

// NewExternal makes one that believes what was said for so long.
func NewExternal(store *models.Store, k Keystone, ttl time.Duration) *External {
	return &External{store: store, keystone: k, ttl: ttl, now: time.Now, kept: map[string]said{}}
}

// Token is whose a token is: NotFound where it lets nobody in, Unavailable where nobody says.
func (e *External) Token(ctx context.Context, text string) (models.TokenInfo, error) {
	key := string(auth.HashToken(text))
	if info, good := e.remembered(key); good {
		return info, nil
	}
	// Whoever asks with the same token waits for one answer. It is asked for all of them, so who came first does not end it.
	answer := e.asking.DoChan(key, func() (any, error) {
		ctx := context.WithoutCancel(ctx)
		asked := e.now()
		token, err := e.keystone.Token(ctx, text)
		if err != nil {
			return models.TokenInfo{}, err
		}
		info, err := e.seen(ctx, token)
		if err == nil {
			e.remember(key, said{info, asked.Add(e.ttl)})
		}
		return info, err
	})
	select {
	case <-ctx.Done():
		return models.TokenInfo{}, ctx.Err()
	case got := <-answer:
		return got.Val.(models.TokenInfo), got.Err
	}
}

// Signer is who signed a request with an access key. Each request is signed anew, so nothing is remembered.
func (e *External) Signer(ctx context.Context, r sigv4.Request, signature sigv4.Signature) (auth.Caller, bool, error) {
	token, err := e.keystone.Signer(ctx, r, signature)
	if err != nil {
		return auth.Caller{}, false, fault.Absent(err, fault.Unauthorized, "No access key %q lets anybody in.", signature.Access)
	}
	info, err := e.seen(ctx, token)
	if err != nil {
		return auth.Caller{}, false, err
	}
	if info.Project.ID == "" {
		return auth.Caller{}, false, fault.New(fault.Unauthorized, "The access key %q is for no project.", signature.Access)
	}
	return info.Caller(), true, nil
}

// seen records what a token stands for, with a deadline of its own.
func (e *External) seen(ctx context.Context, t keystone.Token) (models.TokenInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, seenPatience)
	defer cancel()
	info := infoOf(t)
	return info, e.store.See(ctx, info)
}

const seenPatience = 10 * time.Second

func infoOf(t keystone.Token) models.TokenInfo {
	named := func(n keystone.Named) models.Named { return models.Named{ID: n.ID, Name: n.Name} }
	in := func(n keystone.Named) models.Named {
		if n.Domain == nil {
			return models.Named{}
		}
		return named(*n.Domain)
	}
	info := models.TokenInfo{
		Token: models.Token{
			UserID: t.User.ID, Scope: models.Scope{ProjectID: t.Project.ID, DomainID: t.Domain.ID, System: t.System},
			Methods: strings.Join(t.Methods, ","), IssuedAt: t.IssuedAt, ExpiresAt: t.ExpiresAt, ApplicationCredentialID: t.Application.ID,
		},
		User: named(t.User), UserDomain: in(t.User), Project: named(t.Project), ProjectDomain: in(t.Project), Domain: named(t.Domain), Roles: t.Roles,
		Application: models.Application{ID: t.Application.ID, Name: t.Application.Name, Unrestricted: t.Application.ID != "" && !t.Restricted},
	}
	if len(t.AuditIDs) > 0 {
		info.Token.AuditID = t.AuditIDs[0]
	}
	return info
}

func (e *External) remembered(key string) (models.TokenInfo, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	is, known := e.kept[key]
	if known && !e.now().Before(is.until) {
		delete(e.kept, key)
		known = false
	}
	return is.info, known
}

// looked is how many others are looked at for one to forget.
const looked = 16

// remember keeps what was said, no longer than the token lives. Where there are too many, what ends first of some is forgotten.
func (e *External) remember(key string, is said) {
	if is.info.Token.ExpiresAt.Before(is.until) {
		is.until = is.info.Token.ExpiresAt
	}
	if !e.now().Before(is.until) {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.kept) >= maxKept {
		first, n := "", 0
		for other, it := range e.kept { // in no order
			if first == "" || it.until.Before(e.kept[first].until) {
				first = other
			}
			if n++; n == looked {
				break
			}
		}
		delete(e.kept, first)
	}
	e.kept[key] = is
}
