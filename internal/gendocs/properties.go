package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/slipway-cloud/slipway/internal/imageprops"
)

const propertiesHead = `<!-- Written by internal/gendocs from internal/imageprops/table.go: run ` + "`make generate`" + `. -->

# Image properties that builds know

Names and values are Nova's. Case and blanks around a value do not matter. A server whose image has a value that is not listed,
or values that cannot go together, is refused with 400 before anything is taken; where only some hosts can do what an image
asks for, the others are passed over or left for the next. A property that stands nowhere on this page is kept and returned,
and nothing follows from it.

## Obeyed

| property | values | by default | what a build does |
|---|---|---|---|
`

const refusedHead = `
## Refused

An image that asks for one of these cannot be booted: somebody relies on it, and nobody here would keep it.

| property | refused when it is | the answer |
|---|---|---|
`

const ignoredHead = `
## Known and not obeyed

Each leaves a line "an image property is not obeyed" in the log of the worker that resolves the image, with the server's id and
the reason.

| property | why |
|---|---|
`

// imageProperties renders what builds know of an image.
func imageProperties() []byte {
	var b bytes.Buffer
	b.WriteString(propertiesHead)
	for _, p := range imageprops.Obeyed {
		name := code(p.Name)
		if older := imageprops.OlderNames(p.Name); len(older) > 0 {
			name += ", formerly " + code(older...)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", name, code(p.Values...), cell(p.Default), cell(p.Effect))
	}
	b.WriteString(refusedHead)
	for _, r := range imageprops.Refused {
		when := "set, and not to no"
		if len(r.Values) > 0 {
			when = code(r.Values...)
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", code(r.Name), when, cell(r.Why))
	}
	b.WriteString(ignoredHead)
	for _, p := range imageprops.LeftAlone {
		fmt.Fprintf(&b, "| %s | %s |\n", code(p.Names...), cell(p.Why))
	}
	return b.Bytes()
}

func code(words ...string) string {
	if len(words) == 0 {
		return ""
	}
	return "`" + strings.Join(words, "`, `") + "`"
}
