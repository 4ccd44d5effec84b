package image

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
)

func memberView(m models.ImageMember) map[string]any {
	return map[string]any{
		"image_id": m.ImageID, "member_id": m.MemberID, "status": m.Status,
		"created_at": rest.Time(m.CreatedAt), "updated_at": rest.Time(m.UpdatedAt), "schema": "/v2/schemas/member",
	}
}

// imageOf is the path's image, for somebody who wants to know of its members.
func (a *API) imageOf(c echo.Context) (images.Repository, models.Image, error) {
	repo := a.images(c)
	image, err := repo.Get(c.Request().Context(), c.Param("id"))
	return repo, image, err
}

func (a *API) listMembers(c echo.Context) error {
	repo, image, err := a.imageOf(c)
	if err != nil {
		return err
	}
	all, err := repo.Members(c.Request().Context(), image, "")
	if err != nil {
		return err
	}
	views := make([]map[string]any, len(all))
	for i, m := range all {
		views[i] = memberView(m)
	}
	return c.JSON(http.StatusOK, map[string]any{"members": views, "schema": "/v2/schemas/members"})
}

func (a *API) showMember(c echo.Context) error {
	repo, image, err := a.imageOf(c)
	if err != nil {
		return err
	}
	all, err := repo.Members(c.Request().Context(), image, c.Param("member"))
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return images.NoMember(image.ID, c.Param("member"))
	}
	return c.JSON(http.StatusOK, memberView(all[0]))
}

var shareSchema = rest.Schema(`{"type": "object", "required": ["member"], "properties": {
	"member": {"type": "string", "minLength": 1, "maxLength": 255}}}`)

func (a *API) share(c echo.Context) error {
	var body struct {
		Member string `json:"member"`
	}
	if err := rest.Bind(c, shareSchema, &body); err != nil {
		return err
	}
	repo, image, err := a.imageOf(c)
	if err != nil {
		return err
	}
	m, err := repo.Share(context.WithoutCancel(c.Request().Context()), image, body.Member)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, memberView(m))
}

var answerSchema = rest.Schema(`{"type": "object", "required": ["status"], "properties": {
	"status": {"type": "string", "enum": ["pending", "accepted", "rejected"]}}}`)

func (a *API) setMemberStatus(c echo.Context) error {
	var body struct {
		Status string `json:"status"`
	}
	if err := rest.Bind(c, answerSchema, &body); err != nil {
		return err
	}
	repo, image, err := a.imageOf(c)
	if err != nil {
		return err
	}
	m, err := repo.Answer(context.WithoutCancel(c.Request().Context()), image, c.Param("member"), body.Status)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, memberView(m))
}

func (a *API) unshare(c echo.Context) error {
	repo, image, err := a.imageOf(c)
	if err != nil {
		return err
	}
	if err := repo.Unshare(context.WithoutCancel(c.Request().Context()), image, c.Param("member")); err != nil {
		return err
	}
	return rest.NoContent(c)
}
