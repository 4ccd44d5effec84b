package main

import (
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/workflows/boot"
)

func TestTheWrittenDocumentsAreThoseOfTheTables(t *testing.T) {
	require.NoError(t, run("../../..", true))
}

func TestAStepWithoutACommentIsAnError(t *testing.T) {
	_, err := buildSteps([]boot.Step{{Name: "Unsaid", WhyNoUndo: "nothing"}}, nil)
	require.ErrorContains(t, err, "Unsaid")
	_, err = buildSteps([]boot.Step{{Name: "Said", Undo: "UnsaidUndo"}}, map[string]sentence{"Said": {text: "does."}})
	require.ErrorContains(t, err, "UnsaidUndo")
}

func TestACellHoldsWhateverACommentSays(t *testing.T) {
	text, err := buildSteps([]boot.Step{{Name: "Said", WhyNoUndo: "a|b"}}, map[string]sentence{"Said": {text: "one\ntwo | three"}})
	require.NoError(t, err)
	require.Contains(t, string(text), `| one two \| three | none: a\|b |`)
}

func TestADocumentThatIsStaleOrAbsentIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "docs", "some.md")
	require.ErrorIs(t, put(path, []byte("a"), true), fs.ErrNotExist)
	require.NoError(t, put(path, []byte("a"), false))
	require.NoError(t, put(path, []byte("a"), true))
	require.ErrorContains(t, put(path, []byte("b"), true), "stale")
}
