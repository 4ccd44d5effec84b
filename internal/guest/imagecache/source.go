package imagecache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagestore"
)

// Source gives the bytes of images.
type Source interface {
	// Open reads an image from offset on. total is the whole image's size. NotFound: there is no such image;
	// HostUnfit: this host may not read; Unavailable: try again.
	Open(ctx context.Context, imageID string, offset int64) (body io.ReadCloser, total int64, err error)
}

// HTTPSource reads images from the API with the host's token.
type HTTPSource struct {
	// API is the base address, without a slash at its end.
	API string
	// Token answers the host's bearer token; it is asked for each request, so that it can be rotated.
	Token  func() string
	Client *http.Client
}

// Open asks GET {API}/hosts/images/{id}/file for the bytes from offset on.
func (s HTTPSource) Open(ctx context.Context, imageID string, offset int64) (io.ReadCloser, int64, error) {
	req, err := s.request(ctx, http.MethodGet, imageID, nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Accept", "application/octet-stream")
	// A compressed transfer would have other offsets.
	req.Header.Set("Accept-Encoding", "identity")
	if offset > 0 {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(offset, 10)+"-")
	}
	resp, err := s.do(req)
	if err != nil {
		return nil, 0, err
	}
	total, err := judge(resp, imageID, offset)
	if err != nil {
		resp.Body.Close()
		return nil, 0, err
	}
	if resp.StatusCode == http.StatusOK && offset > 0 {
		// The server does not know ranges: pass over what is there already.
		if _, err := io.CopyN(io.Discard, resp.Body, offset); err != nil {
			resp.Body.Close()
			return nil, 0, fault.Wrap(fault.Unavailable, fmt.Errorf("GET %s: %w", req.URL, err), "the image could not be read").NotTheHosts()
		}
	}
	return resp.Body, total, nil
}

// Put brings the bytes of an image that is made of a server of this host: PUT {API}/hosts/images/{id}/file. NotFound: nobody wants it
// any more; what the API says of bytes that it does not take is shown; Unavailable: try again.
func (s HTTPSource) Put(ctx context.Context, imageID string, body io.Reader, size int64) error {
	req, err := s.request(ctx, http.MethodPut, imageID, body)
	if err != nil {
		return err
	}
	req.ContentLength = size
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := s.do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, refusalMax))
	cause := errors.Join(fmt.Errorf("PUT %s answered %s", req.URL, resp.Status), err)
	switch code := resp.StatusCode; {
	case code == http.StatusNoContent:
		return nil
	case code == http.StatusNotFound, code == http.StatusGone:
		return fault.Wrap(fault.NotFound, cause, "Image %s could not be found: it was deleted before all of it was stored.", imageID)
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return fault.Wrap(fault.HostUnfit, cause, "the image store refused this host's token")
	case code == http.StatusConflict, code == http.StatusTooManyRequests, code >= 500:
		return fault.Wrap(fault.Unavailable, cause, "the image store does not take the image now").NotTheHosts()
	case code == http.StatusBadRequest, code == http.StatusRequestEntityTooLarge:
		kind := fault.Invalid
		if code == http.StatusRequestEntityTooLarge {
			kind = fault.TooLarge
		}
		return fault.Wrap(kind, cause, "Image %s is not stored: %s", imageID, refusal(text))
	default:
		return fault.Wrap(fault.Internal, cause, "the image store answered unexpectedly")
	}
}

// refusalMax bounds what is read of an answer that refuses.
const refusalMax = 1 << 10

// refusal is the text of an error's body.
func refusal(body []byte) string {
	var said struct{ Error struct{ Message string } }
	if json.Unmarshal(body, &said) == nil && said.Error.Message != "" {
		return said.Error.Message
	}
	return "the image store does not say why"
}

// request is one about the bytes of an image.
func (s HTTPSource) request(ctx context.Context, method, imageID string, body io.Reader) (*http.Request, error) {
	address := strings.TrimSuffix(s.API, "/") + "/hosts/images/" + url.PathEscape(imageID) + "/file"
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, fmt.Errorf("asking about image %s: %w", imageID, err)
	}
	req.Header.Set("Authorization", "Bearer "+s.Token())
	return req, nil
}

func (s HTTPSource) do(req *http.Request) (*http.Response, error) {
	client := s.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, fmt.Errorf("%s %s: %w", req.Method, req.URL, err), "the image store does not answer").NotTheHosts()
	}
	return resp, nil
}

func judge(resp *http.Response, imageID string, offset int64) (total int64, err error) {
	cause := fmt.Errorf("GET %s answered %s", resp.Request.URL, resp.Status)
	switch code := resp.StatusCode; {
	case code == http.StatusOK:
		return resp.ContentLength, nil
	case code == http.StatusPartialContent:
		var first, last int64
		if n, _ := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &total); n != 3 || first != offset {
			return 0, fault.Wrap(fault.Internal, fmt.Errorf("%w with Content-Range %q", cause, resp.Header.Get("Content-Range")), "the image store answered another range")
		}
		return total, nil
	case code == http.StatusRequestedRangeNotSatisfiable:
		return 0, fault.Wrap(fault.Invalid, cause, "the stored image is shorter than its recorded size")
	case code == http.StatusNotFound, code == http.StatusGone:
		return 0, fault.Wrap(fault.NotFound, cause, "Image %s could not be found.", imageID)
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		// The host's credential, not the user's: another host's may be good.
		return 0, fault.Wrap(fault.HostUnfit, cause, "the image store refused this host's token")
	case code == http.StatusTooManyRequests, code >= 500:
		return 0, fault.Wrap(fault.Unavailable, cause, "the image store does not answer now").NotTheHosts()
	default:
		return 0, fault.Wrap(fault.Internal, cause, "the image store answered unexpectedly")
	}
}

// StoreSource reads images from where the API keeps them, for a host on the same machine or with access to the store. What
// cannot be read there comes from Else; the checksum is compared either way.
type StoreSource struct {
	Store  imagestore.Reader
	Else   Source
	Logger *slog.Logger
}

// Open reads from the store, or else from Else.
func (s StoreSource) Open(ctx context.Context, imageID string, offset int64) (io.ReadCloser, int64, error) {
	total, err := s.Store.Size(ctx, imageID)
	if err == nil {
		var body io.ReadCloser
		if body, err = s.Store.Open(ctx, imageID, offset, -1); err == nil {
			return body, total, nil
		}
	}
	if ctx.Err() != nil {
		return nil, 0, fault.Wrap(fault.Unavailable, fmt.Errorf("reading image %s: %w", imageID, err), "the image store does not answer").NotTheHosts()
	}
	s.Logger.WarnContext(ctx, "an image cannot be read from its store and comes over the API", "image_id", imageID, "error", err)
	return s.Else.Open(ctx, imageID, offset)
}
