package ec2

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/policy"
)

// action is one row of the table: what a request's Action means.
type action struct {
	name     string
	protocol protocol
	run      func(a *API, ctx context.Context, who asker, values url.Values, dry bool) (answer, error)
	takes    any    // a request struct, for the documents
	why      string // all of it is refused
}

// protocol is what differs between the services that are answered here.
type protocol struct {
	service   string // in a signature's scope
	style     rest.Style
	version   *regexp.Regexp // of the API
	namespace string         // of answers
	id        string         // what an answer calls the request's id
}

var (
	// Clients of other years differ in what they may say, and not in what that means.
	ec2Protocol = protocol{"ec2", rest.EC2, regexp.MustCompile(`^20\d\d-\d\d-\d\d$`), "http://ec2.amazonaws.com/doc/%s/", "requestId"}
	stsProtocol = protocol{"sts", rest.STS, regexp.MustCompile(`^2011-06-15$`), "https://sts.amazonaws.com/doc/%s/", "RequestId"}
)

// answer is a response struct: head in front, and what it says.
type answer interface {
	begin(namespace, requestID string)
}

// head begins every answer of EC2.
type head struct {
	Namespace string `xml:"xmlns,attr"`
	RequestID string `xml:"requestId"`
}

func (h *head) begin(namespace, requestID string) { h.Namespace, h.RequestID = namespace, requestID }

// done is the answer that says nothing more than that.
type done struct {
	head
	Return bool `xml:"return"`
}

func isDone() *done { return &done{Return: true} }

// does is an action of EC2: its request's parameters are read into In by struct tags (decode), its answer is written by them.
func does[In any, Out answer](name string, do func(a *API, ctx context.Context, who asker, in In) (Out, error)) action {
	return action{name: name, protocol: ec2Protocol, takes: *new(In), run: func(a *API, ctx context.Context, who asker, values url.Values, dry bool) (answer, error) {
		var in In
		if err := decode(values, &in); err != nil {
			return nil, err
		}
		if dry {
			return nil, refuse(rest.EC2DryRun, "Request would have succeeded, but DryRun flag is set.")
		}
		out, err := do(a, ctx, who, in)
		if err != nil {
			return nil, err
		}
		return out, nil
	}}
}

// refuses is an action that there is in EC2 and not here.
func refuses(name, why string) action {
	return action{name: name, protocol: ec2Protocol, why: why, run: func(*API, context.Context, asker, url.Values, bool) (answer, error) {
		return nil, unsupported("%s", why)
	}}
}

// common are parameters that any request may have.
var common = []string{"Action", "Version", "DryRun", "AWSAccessKeyId", "Timestamp"}

// serve answers a request.
func (a *API) serve(c echo.Context) error {
	signed, values, err := read(c)
	if err != nil {
		return err
	}
	name := values.Get("Action")
	one, known := a.actions[name]
	if !known {
		one.protocol = ec2Protocol
	}
	rest.SetStyle(c, one.protocol.style)
	who, err := a.authenticate(c, signed, one.protocol.service)
	if err != nil {
		return err
	}
	if err := a.rates.take(who.ProjectID, a.now()); err != nil {
		return err
	}
	version := values.Get("Version")
	switch {
	case name == "":
		return missing("Action")
	case !known:
		return fault.Wrap(fault.Invalid, rest.EC2InvalidAction, "The action %s is not valid for this web service.", name)
	case version == "":
		return missing("Version")
	case !one.protocol.version.MatchString(version):
		return fault.Wrap(fault.Invalid, ids.EC2Code("NoSuchVersion"), "The requested version (%s) of service %s does not exist", version, one.protocol.service)
	}
	if err := rest.Permit(c, policy.OfEC2(name)); err != nil {
		return err
	}
	who.Caller = rest.CallerOf(c)
	if err := may(who, name); err != nil {
		return err
	}
	dry, err := boolean("DryRun", values.Get("DryRun"))
	if err != nil {
		return err
	}
	for key := range values {
		if slices.Contains(common, key) || strings.HasPrefix(key, "X-Amz-") {
			delete(values, key)
		}
	}
	said, err := one.run(a, c.Request().Context(), who, values, dry)
	if err != nil {
		return err
	}
	return write(c, one, version, said)
}

// may holds an action's row of the policy.
func may(who asker, name string) error {
	least := policy.EC2(name)
	if least == policy.Project || least == policy.Member && who.CanWrite() || who.Admin() {
		return nil
	}
	return fault.New(fault.Forbidden, "You are not authorized to perform this operation. It asks for the role %s.", auth.RoleMember)
}

func write(c echo.Context, one action, version string, said answer) error {
	said.begin(fmt.Sprintf(one.protocol.namespace, version), rest.RequestID(c))
	var b bytes.Buffer
	b.WriteString(xml.Header)
	if err := xml.NewEncoder(&b).EncodeElement(said, xml.StartElement{Name: xml.Name{Local: one.name + "Response"}}); err != nil {
		return fmt.Errorf("write the answer to %s: %w", one.name, err)
	}
	return c.Blob(http.StatusOK, rest.XMLType, b.Bytes())
}

// missing is EC2's refusal where a parameter has to be there.
func missing(name string) error {
	return fault.Wrap(fault.Invalid, ids.EC2Code("MissingParameter"), "The request must contain the parameter %s", name)
}

// invalid is EC2's refusal of a parameter's value.
func invalid(format string, args ...any) error {
	return fault.Wrap(fault.Invalid, rest.EC2InvalidValue, format, args...)
}

// refuse is a refusal with a code of its own.
func refuse(code ids.EC2Code, format string, args ...any) error {
	return fault.Wrap(fault.Invalid, code, format, args...)
}

// unsupported is the refusal of what there is not here.
func unsupported(format string, args ...any) error {
	return refuse(rest.EC2Unsupported, format, args...)
}

// codeOf is the code that an error has of its own; "" is none.
func codeOf(err error) ids.EC2Code {
	var code ids.EC2Code
	errors.As(err, &code)
	return code
}

// table is every action, a file for each group.
func table() []action {
	return slices.Concat(accountActions, attributeActions, imageActions, imageChanges, imageCopies, instanceActions, keyPairActions, networkActions, powerActions, reportActions, runActions, tagActions, typeActions, volumeActions, unservedActions())
}
