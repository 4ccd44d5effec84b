package compute

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
)

// The microversions that are understood: 2.1 to 2.96.
const (
	minMinor = 1
	maxMinor = 96
)

const (
	headerVersion       = "OpenStack-API-Version"
	headerLegacyVersion = "X-OpenStack-Nova-API-Version"
	keyMinor            = "compute.minor"
)

// minorOf is the microversion of this request, 1 for 2.1.
func minorOf(c echo.Context) int {
	if m, ok := c.Get(keyMinor).(int); ok {
		return m
	}
	return minMinor
}

// negotiate finds the microversion that a request asks for (api-guide "Microversions"): 406 outside of the range, 400 for
// what is no version. The answer names what was used.
func negotiate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if pathVersion(c) == "v2" {
			return next(c)
		}
		h := c.Response().Header()
		h.Add(echo.HeaderVary, headerVersion)
		h.Add(echo.HeaderVary, headerLegacyVersion)
		minor, err := requestedVersion(c.Request().Header)
		if err != nil {
			return err
		}
		c.Set(keyMinor, minor)
		version := "2." + strconv.Itoa(minor)
		h.Set(headerVersion, "compute "+version)
		h.Set(headerLegacyVersion, version)
		return next(c)
	}
}

var versionForm = regexp.MustCompile(`^([1-9][0-9]{0,8})\.([1-9][0-9]{0,8}|0)$`)

func requestedVersion(h http.Header) (int, error) {
	text := h.Get(headerLegacyVersion)
	for _, line := range h.Values(headerVersion) {
		for entry := range strings.SplitSeq(line, ",") {
			if words := strings.Fields(entry); len(words) == 2 && strings.EqualFold(words[0], "compute") {
				text = words[1]
			}
		}
	}
	if text == "" {
		return minMinor, nil
	}
	if text == "latest" {
		return maxMinor, nil
	}
	m := versionForm.FindStringSubmatch(text)
	if m == nil {
		return 0, invalid("API Version String %s is of invalid format. Must be of format MajorNum.MinorNum.", text)
	}
	minor, err := strconv.Atoi(m[2])
	if err != nil || m[1] != "2" || minor < minMinor || minor > maxMinor {
		return 0, rest.Status(http.StatusNotAcceptable,
			"Version %s is not supported by the API. Minimum is 2.%d and maximum is 2.%d.", text, minMinor, maxMinor)
	}
	return minor, nil
}

const (
	keyPathProject = "compute.project"
	keyLegacy      = "compute.legacy"
)

// otherPath are the forms of a path beside /v2.1/servers: with a project, as endpoints were before Nova 18, and the API's version before, /v2,
// with one or without.
var otherPath = regexp.MustCompile(`^/compute/(v2\.1|v2)(?:/([0-9a-f-]{32,36}))?(/.+)$`)

// OtherPaths comes before the router: it makes of the other forms of a path the one that is routed. A project is taken out, and /v2 is /v2.1
// without microversions, which is what Nova serves there.
func OtherPaths(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		u := c.Request().URL
		m := otherPath.FindStringSubmatch(u.RawPath)
		if m == nil {
			return next(c)
		}
		was := strings.TrimSuffix(u.RawPath, m[3])
		u.RawPath, u.Path = "/compute/v2.1"+m[3], "/compute/v2.1"+strings.TrimPrefix(u.Path, was)
		if m[2] != "" {
			c.Set(keyPathProject, m[2])
		}
		if m[1] == "v2" {
			c.Set(keyLegacy, true)
		}
		return next(c)
	}
}

// pathVersion is how the API's version is written in addresses, as in the request's.
func pathVersion(c echo.Context) string {
	if legacy, _ := c.Get(keyLegacy).(bool); legacy {
		return "v2"
	}
	return "v2.1"
}

// ownProjectPath refuses a path that names another project than its token.
func ownProjectPath(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if id, named := c.Get(keyPathProject).(string); named && id != rest.CallerOf(c).ProjectID {
			return invalid("Malformed request URL: URL's project_id '%s' doesn't match Context's project_id '%s'", id, rest.CallerOf(c).ProjectID)
		}
		return next(c)
	}
}

// document is the version's that a path has (nova/api/openstack/compute/versions.py).
func document(c echo.Context, path string) object {
	d := object{
		"id": "v2.1", "status": "CURRENT", "version": "2." + strconv.Itoa(maxMinor), "min_version": "2." + strconv.Itoa(minMinor),
		"updated": "2013-07-23T11:33:21Z", "links": []rest.Link{{Rel: "self", Href: rest.URL(c, endpoint+"/"+path+"/")}},
	}
	if path == "v2" {
		d["id"], d["status"], d["version"], d["min_version"], d["updated"] = "v2.0", "SUPPORTED", "", "", "2011-01-21T11:33:21Z"
	}
	return d
}

func (a *API) versions(c echo.Context) error {
	return c.JSON(http.StatusOK, object{"versions": []any{document(c, "v2"), document(c, "v2.1")}})
}

// version answers with one of them.
func (a *API) version(path, mediaType string) echo.HandlerFunc {
	return func(c echo.Context) error {
		d := document(c, path)
		d["media-types"] = []map[string]string{{"base": "application/json", "type": "application/vnd.openstack.compute+json;version=" + mediaType}}
		return c.JSON(http.StatusOK, object{"version": d})
	}
}
