package postgres

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/ma-messagerie/messagerie/chassis"
)

// MigrateCommand is the command "migrate" of a service's program: "migrate up" brings the
// schema to the program's own version, "migrate status" compares the two. Both read
// NAME_DATABASE_URL and nothing else, so that a job may have rights that the service lacks.
//
// Up may run anywhere at any time, several at once: a lock lets one work at a time, and a
// schema that is up to date, or newer, is left as it is.
func MigrateCommand(name string, migrations fs.FS) chassis.Command {
	return chassis.Command{
		Name: "migrate", Help: "up: bring the schema up to date; status: compare it with this program",
		Run: func(ctx context.Context, args []string, out io.Writer) error {
			if len(args) != 1 || args[0] != "up" && args[0] != "status" {
				return chassis.Misused("usage: %s migrate up|status", name)
			}
			cfg, err := chassis.Load[struct {
				URL string `env:"DATABASE_URL,required,notEmpty"`
			}](strings.ToUpper(name)+"_", os.Environ())
			if err != nil {
				return chassis.Misuse{Err: err}
			}
			if args[0] == "up" {
				if err := Migrate(ctx, cfg.URL, migrations); err != nil {
					return err
				}
			}
			return schemaStatus(ctx, cfg.URL, migrations, out)
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
