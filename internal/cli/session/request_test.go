package session

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheMessageIsFoundInEveryServicesErrorBody(t *testing.T) {
	for body, want := range map[string]string{
		`{"itemNotFound":{"code":404,"message":"Instance x could not be found."}}`:                          "Instance x could not be found.",
		`{"error":{"code":401,"message":"The request you have made requires authentication.","title":"x"}}`: "The request you have made requires authentication.",
		`{"NeutronError":{"type":"NetworkInUse","message":"Unable to complete operation","detail":""}}`:     "Unable to complete operation",
		`{"NeutronError":"it is used"}`: "it is used",
		`{"message":"Image &lt;x&gt; is in use<br /><br />\n\n\n","code":"409 Conflict","title":"Conflict"}`:                                      "Image <x> is in use",
		"<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n  <h1>404 Not Found</h1>\n  No image<br /><br />\n </body>\n</html>": "No image",
		``: "Not Found",
	} {
		require.Equal(t, want, messageOf([]byte(body), 404))
	}
}
