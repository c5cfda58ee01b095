package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/ma-messagerie/messagerie/chassis"
)

// Schema is that of a database of a service.
type Schema struct {
	// Database is what its setting begins with: DATABASE for NAME_DATABASE_URL.
	Database   string
	Migrations fs.FS
}

// MigrateCommand is the command "migrate" of a service's program: "migrate up" brings its
// schemas to the program's own version, "migrate status" compares them. Both read
// NAME_DATABASE_URL, or whatever the schemas' databases are called, and nothing else, so that
// a job may have rights that the service lacks.
//
// Up may run anywhere at any time, several at once: a lock lets one work at a time, and a
// schema that is up to date, or newer, is left as it is.
func MigrateCommand(name string, schemas ...Schema) chassis.Command {
	return chassis.Command{
		Name: "migrate", Help: "up: bring the schema up to date; status: compare it with this program",
		Run: func(ctx context.Context, args []string, out io.Writer) error {
			if len(args) != 1 || args[0] != "up" && args[0] != "status" {
				return chassis.Misused("usage: %s migrate up|status", name)
			}
			urls := make([]string, len(schemas))
			var faults []error
			for i, schema := range schemas {
				cfg, err := chassis.Load[struct {
					URL string `env:"URL,required,notEmpty"`
				}](strings.ToUpper(name)+"_"+schema.Database+"_", os.Environ())
				urls[i], faults = cfg.URL, append(faults, err)
			}
			if err := errors.Join(faults...); err != nil {
				return chassis.Misuse{Err: err}
			}
			for i, schema := range schemas {
				if args[0] == "up" {
					if err := Migrate(ctx, urls[i], schema.Migrations); err != nil {
						return fmt.Errorf("%s: %w", schema.Database, err)
					}
				}
				if err := schemaStatus(ctx, urls[i], schema.Migrations, out); err != nil {
					return fmt.Errorf("%s: %w", schema.Database, err)
				}
			}
			return nil
		},
	}
}

// schemaStatus writes how the schema compares, and fails if it is older.
func schemaStatus(ctx context.Context, url string, migrations fs.FS, out io.Writer) error {
	pool, err := Open(ctx, url)
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := CheckSchema(ctx, pool, migrations); err != nil {
		return err
	}
	need, err := newestOf(pool, migrations)
	if err != nil {
		return err
	}
	have, err := schemaVersion(ctx, pool)
	if err != nil {
		return fmt.Errorf("reading the schema's version: %w", err)
	}
	fmt.Fprintf(out, "schema at version %d, this program needs %d\n", have, need)
	return nil
}
