// Package migrations is the schema of the notifier's database.
package migrations

import "embed"

// Files are the migrations, each named by its number.
//
//go:embed *.sql
var Files embed.FS
