package rest

import (
	"encoding/xml"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
)

// EC2's error codes that stand for something in every action (EC2 API Reference, Error codes). Those of one kind of things are
// ids' and their action's: a fault has its code as its cause.
const (
	EC2AuthFailure   ids.EC2Code = "AuthFailure"
	EC2Unauthorized  ids.EC2Code = "UnauthorizedOperation"
	EC2InvalidValue  ids.EC2Code = "InvalidParameterValue"
	EC2Unsupported   ids.EC2Code = "UnsupportedOperation"
	EC2DryRun        ids.EC2Code = "DryRunOperation"
	EC2NoSignature   ids.EC2Code = "IncompleteSignature"
	EC2BadSignature  ids.EC2Code = "SignatureDoesNotMatch"
	EC2Internal      ids.EC2Code = "InternalError"
	EC2Unavailable   ids.EC2Code = "Unavailable"
	EC2NoCapacity    ids.EC2Code = "InsufficientInstanceCapacity"
	EC2OverRate      ids.EC2Code = "RequestLimitExceeded"
	EC2OverLimit     ids.EC2Code = "ResourceLimitExceeded"
	EC2State         ids.EC2Code = "IncorrectState"
	EC2InvalidAction ids.EC2Code = "InvalidAction"
)

// ec2Kinds is the code of each kind of fault that has none of its own.
var ec2Kinds = map[fault.Kind]ids.EC2Code{
	fault.Invalid: EC2InvalidValue, fault.Unauthorized: EC2AuthFailure, fault.Forbidden: EC2Unauthorized, fault.NotFound: EC2InvalidValue,
	fault.Conflict: EC2State, fault.OverQuota: EC2OverLimit, fault.TooLarge: EC2InvalidValue, fault.NoValidHost: EC2NoCapacity,
	fault.HostUnfit: EC2NoCapacity, fault.Unavailable: EC2Unavailable, fault.Internal: EC2Internal,
}

// ec2Statuses are those of codes that are not answered with 400.
var ec2Statuses = map[ids.EC2Code]int{
	EC2AuthFailure: http.StatusUnauthorized, EC2Unauthorized: http.StatusForbidden, EC2BadSignature: http.StatusForbidden,
	EC2DryRun: http.StatusPreconditionFailed, EC2Internal: http.StatusInternalServerError, EC2NoCapacity: http.StatusInternalServerError,
	EC2Unavailable: http.StatusServiceUnavailable, EC2OverRate: http.StatusServiceUnavailable,
}

// ec2CodeOf is an error's code: its own, its kind's, or that of what HTTP says.
func ec2CodeOf(err error) ids.EC2Code {
	var (
		status *StatusError
		framed *echo.HTTPError
		tooBig *http.MaxBytesError
		f      *fault.Error
		code   ids.EC2Code
	)
	switch {
	case errors.As(err, new(*unexpected)), errors.As(err, new(*panicked)):
		return EC2Internal
	case errors.As(err, &status) && status.Code == http.StatusTooManyRequests:
		return EC2OverRate
	case errors.As(err, &f):
		if f.Kind != fault.Internal && errors.As(f.Cause, &code) {
			return code
		}
		return ec2Kinds[f.Kind]
	case errors.As(err, &status), errors.As(err, &framed):
		return EC2InvalidAction // there is no such address, or not with that method
	case errors.As(err, &tooBig):
		return EC2InvalidValue
	}
	return ec2Kinds[fault.KindOf(err)]
}

func ec2Status(err error) int {
	if status := ec2Statuses[ec2CodeOf(err)]; status != 0 {
		return status
	}
	return http.StatusBadRequest
}

func ec2Text(err error) string {
	var (
		status *StatusError
		f      *fault.Error
	)
	switch code := ec2CodeOf(err); {
	case code == EC2Internal:
		return ""
	case errors.As(err, &status):
		return status.Text
	case errors.As(err, &f):
		return f.Text
	case code == EC2InvalidAction:
		return "There is nothing at this address."
	case code == EC2Unavailable:
		return "The service does not answer in time. Try again."
	}
	return "The request cannot be read."
}

// throttled says whether an error asks for patience alone: EC2 says so with a 503.
func throttled(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && status.Code == http.StatusTooManyRequests
}

// ec2Error is EC2's error body.
type ec2Error struct {
	XMLName xml.Name    `xml:"Response"`
	Code    ids.EC2Code `xml:"Errors>Error>Code"`
	Message string      `xml:"Errors>Error>Message"`
	ID      string      `xml:"RequestID"`
}

// stsError is that of Amazon's Query API, whose types are whose fault it is.
type stsError struct {
	XMLName xml.Name    `xml:"https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse"`
	Type    string      `xml:"Error>Type"`
	Code    ids.EC2Code `xml:"Error>Code"`
	Message string      `xml:"Error>Message"`
	ID      string      `xml:"RequestId"`
}

// ec2Body writes it.
func ec2Body(c echo.Context, code ids.EC2Code, text string) (contentType string, body []byte) {
	var answer any = ec2Error{Code: code, Message: text, ID: RequestID(c)}
	if styleOf(c) == STS {
		whose := "Sender"
		if ec2Statuses[code] >= http.StatusInternalServerError {
			whose = "Receiver"
		}
		answer = stsError{Type: whose, Code: code, Message: text, ID: RequestID(c)}
	}
	raw, err := xml.Marshal(answer)
	if err != nil {
		panic(err) // texts
	}
	return XMLType, append([]byte(xml.Header), raw...)
}

// XMLType is the content type of EC2's answers.
const XMLType = "text/xml;charset=UTF-8"
