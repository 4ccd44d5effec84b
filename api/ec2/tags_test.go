package ec2

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTagsAreWithinEC2sLimits(t *testing.T) {
	items, err := metadataOf([]tagName{{strings.Repeat("é", maxTagKey), strings.Repeat("é", maxTagValue)}, {"note", "two\nlines"}, {nameTag, "web 1"}})
	require.NoError(t, err)
	require.Len(t, items, 3)
	many := []tagName{}
	for i := range maxTags + 1 {
		many = append(many, tagName{Key: fmt.Sprint(i)})
	}
	for code, refused := range map[string][][]tagName{
		"TagLimitExceeded": {many},
		"InvalidParameterValue": {
			{{"", "x"}}, {{strings.Repeat("a", maxTagKey+1), ""}}, {{"a", strings.Repeat("a", maxTagValue+1)}}, {{"a", "1"}, {"a", "2"}}, {{"AWS:x", ""}},
			{{nameTag, "two\nlines"}}, {{nameTag, "\x1b[2J"}},
		},
	} {
		for _, tags := range refused {
			_, err := metadataOf(tags)
			require.Equal(t, code, string(codeOf(err)), "%v", tags)
		}
	}
}
