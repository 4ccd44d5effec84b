package identity

import (
	"net/http"
	"net/textproto"
	"net/url"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/sigv4"
	"github.com/slipway-cloud/slipway/models"
)

// signedSchema is Keystone's (keystone/api/ec2tokens.py, in either of its two names): a request that somebody has signed.
var signedSchema = rest.Schema(`{
	"type": "object",
	"properties": {"credentials": {"$ref": "#/$defs/signed"}, "ec2Credentials": {"$ref": "#/$defs/signed"}},
	"anyOf": [{"required": ["credentials"]}, {"required": ["ec2Credentials"]}],
	"$defs": {
		"texts": {"type": "object", "maxProperties": 256, "additionalProperties": {"type": "string", "maxLength": 16384}},
		"signed": {
			"type": "object", "required": ["access", "verb", "path"],
			"properties": {
				"access": {"type": "string", "maxLength": 255}, "signature": {"type": "string", "maxLength": 255},
				"host": {"type": "string", "maxLength": 255}, "verb": {"type": "string", "maxLength": 16}, "path": {"type": "string", "maxLength": 4096},
				"params": {"$ref": "#/$defs/texts"}, "headers": {"$ref": "#/$defs/texts"}, "body_hash": {"type": "string", "maxLength": 128}
			}
		}
	}
}`)

type signedRequest struct {
	Access, Host, Verb, Path string
	Params, Headers          map[string]string
	BodyHash                 string `json:"body_hash"`
}

// request is what was signed. The parameters of a POST are its body's (keystoneclient/contrib/ec2/utils.py).
func (s signedRequest) request() sigv4.Request {
	r := sigv4.Request{Method: s.Verb, Path: s.Path, Query: url.Values{}, Header: map[string][]string{}, BodyHash: s.BodyHash}
	if s.Verb != http.MethodPost {
		for name, value := range s.Params {
			r.Query.Set(name, value)
		}
	}
	for name, value := range s.Headers {
		r.Header[textproto.CanonicalMIMEHeaderKey(name)] = []string{value}
	}
	if len(r.Header["Host"]) == 0 {
		r.Header["Host"] = []string{s.Host}
	}
	if r.BodyHash == "" {
		r.BodyHash = sigv4.HashBody(nil)
	}
	return r
}

// signatureAge is how old a signature may be, in either direction (Keystone's [credential] auth_ttl).
const signatureAge = 15 * time.Minute

// exchangeSignature is POST /v3/ec2tokens: a service that was sent a signed request learns whose it is, by a token for that. Whoever sees
// such a request could log in with it, so it is for admins alone (as Keystone has it since OSSA-2025-002).
func (a *API) exchangeSignature(c echo.Context) error {
	ctx := c.Request().Context()
	if err := a.as(c).Administers("ec2tokens_validate"); err != nil {
		return err
	}
	var in struct {
		Credentials    *signedRequest `json:"credentials"`
		EC2Credentials *signedRequest `json:"ec2Credentials"`
	}
	if err := rest.Bind(c, signedSchema, &in); err != nil {
		return err
	}
	signed := in.Credentials
	if signed == nil {
		signed = in.EC2Credentials
	}
	request := signed.request()
	signature, err := sigv4.Of(request)
	switch {
	case err != nil:
		return refuseLogin(c, "%v", err)
	case signature.Access != signed.Access:
		return refuseLogin(c, "the request was signed with another key than it is said to be")
	case !signature.Holds(a.now(), signatureAge):
		return refuseLogin(c, "the signature is of %s", signature.At)
	}
	secret, caller, err := a.service.EC2Key(ctx, signature.Access)
	if fault.Is(err, fault.Unauthorized) || err == nil && !signature.Matches(request, secret) {
		return refuseLogin(c, "no access key that lets in and signed that")
	}
	if err != nil {
		return err
	}
	expires := a.now().UTC().Add(a.ttl)
	if caller.Application != "" {
		as, err := a.store.ApplicationCredential(ctx, caller.Application)
		if err != nil {
			return fault.Absent(err, fault.Unauthorized, "The request you have made requires authentication.")
		}
		if as.ExpiresAt != nil && as.ExpiresAt.Before(expires) {
			expires = *as.ExpiresAt
		}
	}
	text, info, err := a.issue(c, models.Token{
		UserID: caller.UserID, Scope: models.Scope{ProjectID: caller.ProjectID}, Methods: "ec2credential", ExpiresAt: expires,
		ApplicationCredentialID: caller.Application,
	})
	if err != nil {
		return err
	}
	return a.answerToken(c, http.StatusOK, text, info)
}
