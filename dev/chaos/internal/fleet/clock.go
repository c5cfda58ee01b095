package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// fakedClock has a database's sessions find a clock of the harness's before PostgreSQL's
// own, which is then as far ahead as the table says. New tables still go to public. The
// clock of defaults and queries is the same, as both are looked up by name; what
// PostgreSQL itself does with time goes by the real one.
const fakedClock = `
	CREATE SCHEMA faked;
	CREATE TABLE faked.clock (ahead interval NOT NULL);
	INSERT INTO faked.clock VALUES ('0');
	CREATE FUNCTION faked.now() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT pg_catalog.now() + ahead FROM faked.clock';
	CREATE FUNCTION faked.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT pg_catalog.clock_timestamp() + ahead FROM faked.clock';
	DO 'BEGIN EXECUTE format(''ALTER DATABASE %I SET search_path = public, faked, pg_catalog'', current_database()); END'`

// fakeClock gives a service's database a clock that can be set, before its tables are made.
func (d *Database) fakeClock(ctx context.Context, service string) error {
	if err := d.exec(ctx, service, fakedClock); err != nil {
		return fmt.Errorf("giving %s a clock: %w", service, err)
	}
	return nil
}

// SetClock has the databases' clock go ahead of the real one, or with a negative time
// behind it.
func (d *Database) SetClock(ctx context.Context, ahead time.Duration) error {
	var faults []error
	for _, service := range databases {
		faults = append(faults, d.exec(ctx, service, fmt.Sprintf(`UPDATE faked.clock SET ahead = interval '%d milliseconds'`, ahead.Milliseconds())))
	}
	return errors.Join(faults...)
}
