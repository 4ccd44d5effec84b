package contract

// Screenshot is what the screen of a guest shows.
type Screenshot struct {
	JPEG []byte `json:"jpeg"`
}

// MaxScreenshot is the most bytes that a picture of a screen may have: it travels in a history.
const MaxScreenshot = 1 << 20
