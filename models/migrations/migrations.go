// Package migrations has the steps by which the database's schema came to be, for goose. A released one never changes.
package migrations

import "embed"

// Files are the steps, in the order of their numbers.
//
//go:embed *.sql
var Files embed.FS
