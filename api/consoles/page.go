package consoles

import (
	"embed"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"path"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// page is what shows a screen with noVNC.
//
//go:embed page
var page embed.FS

// mountPage serves the page by its name of Nova's, and noVNC's modules below it.
func (a *API) mountPage(g *echo.Group, fail echo.MiddlewareFunc) {
	for _, name := range []string{"vnc_auto.html", "vnc_auto.css", "vnc_auto.js"} {
		g.GET("/"+name, func(c echo.Context) error { return a.file(c, page, "page/"+name) }, fail)
	}
	g.GET("/novnc/*", func(c echo.Context) error {
		name := c.Param("*")
		if a.config.NoVNC == "" || !fs.ValidPath(name) || path.Ext(name) != ".js" {
			return absent(name)
		}
		return a.file(c, os.DirFS(a.config.NoVNC), name)
	}, fail)
}

func absent(name string) error {
	return fault.New(fault.NotFound, "There is no %s here.", name)
}

// file answers a file that runs nothing and shows nothing but what this API serves, and leads nobody to its address.
func (a *API) file(c echo.Context, from fs.FS, name string) error {
	content, err := fs.ReadFile(from, name)
	if err != nil {
		return absent(path.Base(name))
	}
	h := c.Response().Header()
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'self' "+strings.Join(a.config.Origins, " "))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache")
	return c.Blob(http.StatusOK, mime.TypeByExtension(path.Ext(name)), content)
}
