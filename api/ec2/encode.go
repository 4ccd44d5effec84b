package ec2

import (
	"cmp"
	"encoding/xml"
	"maps"
	"slices"
	"time"
)

// set is a list in an answer: an element with an <item> for each. It is there when it is empty, too, and clients read it as such.
type set[T any] []T

// MarshalXML writes it.
func (s set[T]) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	if err := e.EncodeToken(start); err != nil {
		return err
	}
	for _, item := range s {
		if err := e.EncodeElement(item, xml.StartElement{Name: xml.Name{Local: "item"}}); err != nil {
			return err
		}
	}
	return e.EncodeToken(start.End())
}

// when is a time as EC2 writes it.
func when(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
