// Package authz decides who may ask a Temporal frontend for what, by the certificate of the caller: the role is the unit
// (OU) of its subject, the name its common name. Options is all of it for a server that somebody builds.
package authz

import (
	"context"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/server/client"
	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/temporal"
	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
)

// Roles, as certificates name them.
const (
	Control    = "control"
	Host       = "host"
	Operator   = "operator"
	OVNCentral = "ovn-central"
	OVNChassis = "ovn-chassis"
)

// HostQueue and a host's name are the name of its task queue.
const HostQueue = "host:"

// Policy is a claim mapper, an authorizer and an interceptor of the server's. A claim mapper alone or an authorizer alone
// decides nothing: give a server all of Options.
type Policy struct {
	namespaces  []string
	keys        Keys
	revocations *Revocations
}

// New makes the rules for the namespaces that the control plane, its hosts and its operators share. revocations may be nil.
func New(namespaces []string, keys Keys, revocations *Revocations) (*Policy, error) {
	if len(namespaces) == 0 || len(keys) == 0 {
		return nil, fmt.Errorf("the rules of who may ask Temporal need a namespace and a key for task tokens")
	}
	return &Policy{namespaces: namespaces, keys: keys, revocations: revocations}, nil
}

// Options are what a server is built with. Its own workers ask an internal frontend, which asks nobody who they are and
// has to be out of everybody else's reach; the frontend has to require client certificates.
func (p *Policy) Options() []temporal.ServerOption {
	return []temporal.ServerOption{
		temporal.WithClaimMapper(func(*config.Config) authorization.ClaimMapper { return p }),
		temporal.WithAuthorizer(p),
		temporal.WithChainedFrontendGrpcInterceptors(p.Intercept),
		temporal.WithClientFactoryProvider(noStreams{client.NewFactoryProvider()}),
	}
}

// Caller is who a certificate says it is.
type Caller struct {
	Role, Name string
	problem    string // why the certificate is not honoured
}

// GetClaims implements authorization.ClaimMapper. It is asked for each call, since a connection outlives a certificate that
// expires or is revoked.
func (p *Policy) GetClaims(info *authorization.AuthInfo) (*authorization.Claims, error) {
	if info.TLSConnection == nil || len(info.TLSConnection.State.VerifiedChains) == 0 {
		return &authorization.Claims{Extensions: Caller{problem: "it has shown no certificate"}}, nil
	}
	chain := info.TLSConnection.State.VerifiedChains[0]
	caller := holder(chain[0])
	if caller.problem == "" {
		caller.problem = p.ended(chain)
	}
	return &authorization.Claims{Subject: caller.Role + " " + caller.Name, Extensions: caller}, nil
}

// holder is whom a certificate names.
func holder(c *x509.Certificate) Caller {
	caller := Caller{Name: c.Subject.CommonName}
	if len(c.Subject.OrganizationalUnit) == 1 {
		caller.Role = c.Subject.OrganizationalUnit[0]
	}
	if caller.Role == "" || caller.Name == "" {
		caller.problem = fmt.Sprintf("its certificate names no role or no name (OU %q, CN %q)", c.Subject.OrganizationalUnit, c.Subject.CommonName)
	}
	return caller
}

// ended says why a certificate that was good when its connection was made is not any more.
func (p *Policy) ended(chain []*x509.Certificate) string {
	if time.Now().After(chain[0].NotAfter) {
		return "its certificate has expired"
	}
	if p.revocations != nil {
		if err := p.revocations.Check(chain); err != nil {
			return err.Error()
		}
	}
	return ""
}

// Authorize implements authorization.Authorizer. A refusal is an error, which the server logs; it passes it to the caller
// where frontend.exposeAuthorizerErrors is on, and says no more than "Request unauthorized." where it is not.
func (p *Policy) Authorize(ctx context.Context, claims *authorization.Claims, target *authorization.CallTarget) (authorization.Result, error) {
	if claims != nil && claims.Extensions == nil && claims.System == authorization.RoleAdmin {
		// The internal frontend, whose claim mapper is always the server's own. GetClaims above gives nobody a system role.
		return authorization.Result{Decision: authorization.DecisionAllow}, nil
	}
	caller := Caller{problem: "it has shown no certificate"}
	if claims != nil {
		if known, ok := claims.Extensions.(Caller); ok {
			caller = known
		}
	}
	why := caller.problem
	if why == "" {
		why = byMethod[target.APIName].check(p, caller, target)
	}
	if why == "" {
		return authorization.Result{Decision: authorization.DecisionAllow}, nil
	}
	sentence := fmt.Sprintf("%s may not call %s: %s.", caller.at(ctx), target.APIName[strings.LastIndex(target.APIName, "/")+1:], why)
	return authorization.Result{Decision: authorization.DecisionDeny, Reason: sentence}, serviceerror.NewPermissionDenied(sentence, why)
}

func (r rule) check(p *Policy, c Caller, target *authorization.CallTarget) string {
	if r.method == "" {
		return "nobody has decided who may"
	}
	return r.of(c.Role)(p, c, target.Namespace, target.Request)
}

func (c Caller) at(ctx context.Context) string {
	who := "Somebody"
	if c.Role != "" || c.Name != "" {
		who = fmt.Sprintf("%q (role %q)", c.Name, c.Role)
	}
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		who += " at " + p.Addr.String()
	}
	return who
}

// Intercept binds what a host polls to it, and hands the server back its own token when the host answers. That the token is
// the host's own Authorize has seen before; it is looked at again, so that no order of interceptors can lose it.
func (p *Policy) Intercept(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	claims, _ := ctx.Value(authorization.MappedClaims).(*authorization.Claims)
	if claims == nil {
		return handle(ctx, request)
	}
	caller, _ := claims.Extensions.(Caller)
	if caller.Role != Host {
		return handle(ctx, request)
	}
	var token *[]byte
	switch r := request.(type) {
	case *workflowservice.RespondActivityTaskCompletedRequest:
		token = &r.TaskToken
	case *workflowservice.RespondActivityTaskFailedRequest:
		token = &r.TaskToken
	case *workflowservice.RespondActivityTaskCanceledRequest:
		token = &r.TaskToken
	case *workflowservice.RecordActivityTaskHeartbeatRequest:
		token = &r.TaskToken
	}
	if token != nil {
		inner, ok := p.keys.unbind(*token, caller.Role, caller.Name)
		if !ok {
			return nil, serviceerror.NewPermissionDenied("The task is not one that this host polled.", "")
		}
		*token = inner
	}
	answer, err := handle(ctx, request)
	if task, ok := answer.(*workflowservice.PollActivityTaskQueueResponse); ok && err == nil && len(task.GetTaskToken()) > 0 {
		// A poll waits for a minute. Whose certificate has ended meanwhile gets no task, which is then given to nobody until it
		// times out.
		if tls := authorization.TLSInfoFromContext(ctx); tls != nil && len(tls.State.VerifiedChains) > 0 {
			if why := p.ended(tls.State.VerifiedChains[0]); why != "" {
				return nil, serviceerror.NewPermissionDenied(fmt.Sprintf("%s gets no task: %s.", caller.at(ctx), why), why)
			}
		}
		task.TaskToken = p.keys.bind(task.TaskToken, caller.Role, caller.Name)
	}
	return answer, err
}
