package models

import "errors"

var errPending = errors.New("models: written in the next commits")
