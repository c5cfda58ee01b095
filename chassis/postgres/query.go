package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"reflect"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Querier is a pool, a connection or a transaction.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// One reads exactly one row: a struct by the names of its columns, which are its fields'
// db tags, anything else as the row's only column. No row is [pgx.ErrNoRows], more than one
// [pgx.ErrTooManyRows]. An error begins with doing, which says what failed.
func One[T any](ctx context.Context, db Querier, doing, sql string, args ...any) (T, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err == nil {
		var row T
		if row, err = pgx.CollectExactlyOneRow(rows, scanOf[T]()); err == nil {
			return row, nil
		}
	}
	var none T
	return none, fmt.Errorf("%s: %w", doing, err)
}

// Many reads rows as One does; no rows are no error.
func Many[T any](ctx context.Context, db Querier, doing, sql string, args ...any) ([]T, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err == nil {
		var list []T
		if list, err = pgx.CollectRows(rows, scanOf[T]()); err == nil {
			return list, nil
		}
	}
	return nil, fmt.Errorf("%s: %w", doing, err)
}

// Exec runs a statement that returns no rows, and returns how many it changed.
func Exec(ctx context.Context, db Querier, doing, sql string, args ...any) (changed int64, err error) {
	tag, err := db.Exec(ctx, sql, args...)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", doing, err)
	}
	return tag.RowsAffected(), nil
}

// scanOf reads a row as a T.
func scanOf[T any]() pgx.RowToFunc[T] {
	var none T
	if _, scans := any(&none).(sql.Scanner); scans {
		return pgx.RowTo[T]
	}
	if kind := reflect.TypeFor[T](); kind.Kind() == reflect.Struct && kind != reflect.TypeFor[time.Time]() {
		return pgx.RowToStructByName[T]
	}
	return pgx.RowTo[T]
}
