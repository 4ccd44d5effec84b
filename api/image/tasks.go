package image

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
)

// imageTasks is GET /v2/images/{id}/tasks.
func (a *API) imageTasks(c echo.Context) error {
	ctx := c.Request().Context()
	image, err := a.images(c).Get(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	if err := imagepolicy.Check(callerOf(c).Caller, imagepolicy.GetTasks, images.Target(image)); err != nil {
		return err
	}
	tasks, err := a.store.ImageTasks(ctx, image.ID)
	if err != nil {
		return err
	}
	views := make([]map[string]any, len(tasks))
	for i, t := range tasks {
		views[i] = taskView(t)
	}
	return c.JSON(http.StatusOK, map[string]any{"tasks": views})
}

// listTasks is GET /v2/tasks.
func (a *API) listTasks(c echo.Context) error {
	if err := a.mayAskForTasks(c); err != nil {
		return err
	}
	page, err := rest.PageOf(c, defaultPage)
	if err != nil {
		return err
	}
	f := models.TaskFilter{Status: c.QueryParam("status"), Type: c.QueryParam("type"), Marker: page.Marker, Limit: page.Limit}
	if f.Status != "" && !slices.Contains([]string{"pending", models.TaskProcessing, models.TaskSuccess, models.TaskFailure}, f.Status) {
		return fault.New(fault.Invalid, "Invalid status value: %s", f.Status)
	}
	key, dir := c.QueryParam("sort_key"), c.QueryParam("sort_dir")
	if key == "" {
		key = "created_at"
	}
	if dir != "" && !slices.Contains([]string{"asc", "desc"}, dir) {
		return fault.New(fault.Invalid, "Invalid sort direction: %s", dir)
	}
	f.Sort = []models.Sort{{Key: key, Desc: dir != "asc"}}
	tasks := []models.ImageTask{}
	if c.QueryParam("limit") != "0" { // asks for nothing
		if tasks, err = a.store.ListImageTasks(c.Request().Context(), f); err != nil {
			return err
		}
	}
	return paged(c, page, "tasks", tasks, taskStub)
}

// showTask is GET /v2/tasks/{id}.
func (a *API) showTask(c echo.Context) error {
	if err := a.mayAskForTasks(c); err != nil {
		return err
	}
	task, err := a.store.ImageTask(c.Request().Context(), c.Param("task"))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, taskView(task))
}

// mayAskForTasks holds Glance's tasks_api_access: the tasks of all images are for admins.
func (a *API) mayAskForTasks(c echo.Context) error {
	return imagepolicy.Check(callerOf(c).Caller, imagepolicy.TasksAPIAccess, imagepolicy.Target{})
}

// taskStub is a task as a list shows it.
func taskStub(t models.ImageTask) map[string]any {
	return map[string]any{
		"id": t.ID, "type": t.Type, "status": t.Status, "owner": t.OwnerID, "expires_at": rest.TimePtr(t.ExpiresAt),
		"created_at": rest.Time(t.CreatedAt), "updated_at": rest.Time(t.UpdatedAt), "self": "/v2/tasks/" + t.ID, "schema": "/v2/schemas/task",
	}
}

func taskView(t models.ImageTask) map[string]any {
	doc := taskStub(t)
	doc["input"], doc["message"] = json.RawMessage(t.Input), t.Message
	doc["image_id"], doc["request_id"], doc["user_id"] = t.ImageID, t.RequestID, t.UserID
	doc["result"] = nil
	if t.Status == models.TaskSuccess {
		doc["result"] = map[string]string{"image_id": t.ImageID}
	}
	return doc
}
