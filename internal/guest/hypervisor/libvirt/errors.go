package libvirt

import (
	"errors"
	"path"
	"regexp"
	"strings"

	golibvirt "github.com/digitalocean/go-libvirt"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Error codes that go-libvirt does not name all of: virErrorNumber in libvirt's virterror.h
// (https://libvirt.org/html/libvirt-virterror.html).
const (
	errNoMemory         = uint32(golibvirt.ErrNoMemory)
	errInvalidArg       = uint32(golibvirt.ErrInvalidArg)
	errNoSupport        = uint32(golibvirt.ErrNoSupport)
	errOperationFailed  = uint32(golibvirt.ErrOperationFailed)
	errInternal         = uint32(golibvirt.ErrInternalError)
	errSystem           = uint32(golibvirt.ErrSystemError)
	errXML              = uint32(golibvirt.ErrXMLError)
	errRPC              = uint32(golibvirt.ErrRPC)
	errNoConnect        = uint32(golibvirt.ErrNoConnect)
	errNoDomain         = uint32(golibvirt.ErrNoDomain)
	errOperationInvalid = uint32(golibvirt.ErrOperationInvalid)
	errUnsupported      = uint32(golibvirt.ErrConfigUnsupported)
	errTimeout          = uint32(golibvirt.ErrOperationTimeout)
	errBusy             = uint32(golibvirt.ErrResourceBusy)
	errAuth             = uint32(golibvirt.ErrAuthFailed)
	errAuthUnavailable  = uint32(golibvirt.ErrAuthUnavailable)
	errAccessDenied     = uint32(golibvirt.ErrAccessDenied)

	errOperationUnsupported = uint32(golibvirt.ErrOperationUnsupported)

	errNotConfigured     = uint32(golibvirt.ErrArgumentUnsupported)
	errAgentUnresponsive = uint32(golibvirt.ErrAgentUnresponsive)
	errAgentTimeout      = uint32(golibvirt.ErrAgentCommandTimeout)
	errAgentFailed       = uint32(golibvirt.ErrAgentCommandFailed)
)

// hasCode says whether err is libvirt's answer with that code.
func hasCode(err error, code uint32) bool {
	var e golibvirt.Error
	return errors.As(err, &e) && e.Code == code
}

// translate turns what a call returned into a fault. doing is what the call did, to which domain: "start domain <uuid>".
// An error that is a fault already passes.
func (h *Hypervisor) translate(doing string, err error) error {
	if err == nil {
		return nil
	}
	if errors.As(err, new(*fault.Error)) {
		return err
	}
	cause := &callError{doing: doing, cause: err}
	var answer golibvirt.Error
	if !errors.As(err, &answer) {
		if isTransport(err) {
			return fault.Wrap(fault.Unavailable, cause, "libvirt on %s does not answer", h.host)
		}
		return fault.Wrap(fault.Internal, cause, "libvirt on %s gave an answer that is not understood", h.host)
	}
	say := publicText(answer.Message)
	starting := strings.HasPrefix(doing, "start ")
	switch answer.Code {
	case errNoDomain:
		return fault.Wrap(fault.NotFound, cause, "The domain is not defined on %s", h.host)
	case errTimeout, errBusy, errRPC, errNoConnect:
		return fault.Wrap(fault.Unavailable, cause, "libvirt on %s is busy: %s", h.host, say)
	case errAuth, errAuthUnavailable, errAccessDenied:
		return fault.Wrap(fault.HostUnfit, cause, "libvirt on %s refuses Slipway: %s", h.host, say)
	case errNoMemory:
		return fault.Wrap(fault.HostUnfit, cause, "%s is out of memory: %s", h.host, say)
	case errUnsupported, errNoSupport, errInvalidArg:
		// What is wrong in itself was refused before libvirt was asked; another host's QEMU may be newer. That no server at
		// all can run here, the host's trial finds out.
		return fault.Wrap(fault.HostUnfit, cause, "%s cannot run this server: %s", h.host, say).NotTheHosts()
	case errSystem, errOperationFailed, errInternal:
		// These three are libvirt's words for nearly everything. At a start it is QEMU that did not come up, or a file,
		// memory or bridge that is not to be had; at an end it is a process that has not gone yet.
		switch {
		case starting:
			return fault.Wrap(fault.HostUnfit, cause, "%s could not start the server: %s", h.host, say)
		case strings.HasPrefix(doing, "save "):
			return fault.Wrap(fault.HostUnfit, cause, "%s could not save the server's memory: %s", h.host, say)
		case strings.HasPrefix(doing, "destroy "):
			return fault.Wrap(fault.Unavailable, cause, "%s could not stop the server yet: %s", h.host, say)
		case answer.Code == errSystem:
			return fault.Wrap(fault.HostUnfit, cause, "%s failed: %s", h.host, say)
		}
	case errOperationInvalid:
		return fault.Wrap(fault.Conflict, cause, "The domain's state on %s does not allow it: %s", h.host, say)
	}
	return fault.Wrap(fault.Internal, cause, "libvirt on %s failed in a way that is not understood", h.host)
}

// callError says which call failed. It keeps the whole message, paths and all, for operators.
type callError struct {
	doing string
	cause error
}

func (e *callError) Error() string { return "libvirt: " + e.doing + ": " + e.cause.Error() }
func (e *callError) Unwrap() error { return e.cause }

var (
	hostPath  = regexp.MustCompile(`(?:/[^\s'"/,:;)]+)+/?`)
	timestamp = regexp.MustCompile(`\d{4}-\d\d-\d\dT\S+Z `)
)

// maxPublicText bounds what of libvirt's message a user is shown; QEMU's complaints can quote its whole command line.
const maxPublicText = 300

// publicText makes libvirt's message fit for users: one line, bounded, and of the host's paths only the last element,
// since where a host keeps its files is not theirs to know.
func publicText(message string) string {
	s := strings.Join(strings.Fields(timestamp.ReplaceAllString(message, "")), " ")
	s = hostPath.ReplaceAllStringFunc(s, path.Base)
	if len(s) > maxPublicText {
		s = strings.ToValidUTF8(s[:maxPublicText], "") + "…"
	}
	return s
}
