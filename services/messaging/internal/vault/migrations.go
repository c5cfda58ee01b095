package vault

import (
	"embed"
	"io/fs"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations is the schema of the vault's database, one step a file.
var Migrations = func() fs.FS {
	steps, err := fs.Sub(files, "migrations")
	if err != nil {
		panic(err) // the name is not that of the folder above
	}
	return steps
}()
