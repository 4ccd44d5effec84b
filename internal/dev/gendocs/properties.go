package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/slipway-cloud/slipway/internal/imageprops"
)

const propertiesHead = `<!-- Written by internal/dev/gendocs from the tables of internal/imageprops: run ` + "`make generate`" + `. -->

# Image properties and extra specs that builds know

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

An image that asks for one of these cannot be booted, nor can any with a flavor whose extra spec asks for it (` + "`hw:cpu_policy`" + ` is
` + "`hw_cpu_policy`" + `): somebody relies on it, and nobody here would keep it.

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

const specsHead = `
## Extra specs of flavors

A value that is not listed is refused with 400 when a server is made, and since microversion 2.86 already when it is given to a
flavor; so is, then, an unknown name in one of these namespaces. What is left alone leaves a line "an extra spec is not obeyed" in
the log. Every other extra spec is kept and returned, and nothing follows from it.

| extra spec | values | what becomes of it |
|---|---|---|
`

// imageProperties renders what builds know of an image and of a flavor's extra specs.
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
		if !r.Flavor {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", code(r.Name), r.When(), cell(r.Why))
		}
	}
	b.WriteString(ignoredHead)
	for _, p := range imageprops.LeftAlone {
		fmt.Fprintf(&b, "| %s | %s |\n", code(p.Names...), cell(p.Why))
	}
	b.WriteString(specsHead)
	for _, s := range imageprops.ExtraSpecs {
		values := s.Kind
		if len(s.Values) > 0 {
			values = code(s.Values...)
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", code(s.Name), values, cell(s.Fate()))
	}
	return b.Bytes()
}

func code(words ...string) string {
	if len(words) == 0 {
		return ""
	}
	return "`" + strings.Join(words, "`, `") + "`"
}
