package postgres_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
)

// kind is a string of a type of its own.
type kind string

// part is embedded in thing.
type part struct {
	Name    string     `db:"name"`
	Comment *string    `db:"comment"`
	Kind    kind       `db:"kind"`
	Other   *uuid.UUID `db:"other"`
}

// thing has a column of each kind, some that may be NULL, and one that is none.
type thing struct {
	ID uuid.UUID `db:"id"`
	part
	SMSOnReply bool          `db:"sms_on_reply"`
	Small      int16         `db:"small"`
	Middle     int32         `db:"middle"`
	Large      int64         `db:"large"`
	Count      *int32        `db:"count"`
	Share      float64       `db:"share"`
	Sealed     []byte        `db:"sealed"`
	At         time.Time     `db:"at"`
	Until      *time.Time    `db:"until"`
	Wait       time.Duration `db:"wait"`
	scratch    int           `db:"-"`
}

var things = postgres.RowsOf[thing]()

func someThings() []thing {
	at := time.Date(2026, 11, 27, 8, 30, 0, 123_456_000, time.UTC)
	return []thing{
		{},
		{
			ID: uuid.New(), part: part{"é\"\\{},NULL", new("plain"), "a", new(uuid.New())}, SMSOnReply: true,
			Small: math.MaxInt16, Middle: math.MaxInt32, Large: math.MaxInt64, Count: new(int32(0)), Share: 0.1, Sealed: []byte{0, 255},
			At: at, Until: new(at.Add(time.Hour)), Wait: 90 * time.Second, scratch: 3,
		},
		{
			ID: uuid.New(), part: part{"", new(""), "", nil},
			Small: math.MinInt16, Middle: math.MinInt32, Large: math.MinInt64, Count: new(int32(-1)), Share: math.Inf(-1), Sealed: []byte{},
			At: at.In(time.FixedZone("", 3600)), Wait: -time.Microsecond,
		},
	}
}

// What is written comes back as it was, by the names of columns, whatever their order.
func TestRows(t *testing.T) {
	t.Parallel()
	pool := open(t, testenv.Postgres(t, nil))
	if _, err := pool.Exec(t.Context(), `
		CREATE TABLE thing (wait interval, until timestamptz, at timestamptz, sealed bytea, share double precision, count integer, large bigint, middle integer,
			small smallint, sms_on_reply boolean, other uuid, kind text, comment text, name text, id uuid)`); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 3} {
		given := someThings()[:n]
		changed, err := postgres.Exec(t.Context(), pool, "writing",
			`INSERT INTO thing (`+things.Columns()+`) SELECT `+things.Columns()+` FROM `+things.From("given", 2)+` WHERE $1`, things.Args(given, true)...)
		if err != nil || changed != int64(n) {
			t.Fatalf("%d of %d written, %v", changed, n, err)
		}
		got, err := postgres.Many[thing](t.Context(), pool, "reading", `DELETE FROM thing RETURNING *`)
		if err != nil || len(got) != n {
			t.Fatalf("%d of %d read, %v", len(got), n, err)
		}
		for i := range got {
			given[i].scratch, given[i].At = 0, given[i].At.UTC()
			if got, want := text(got[i]), text(given[i]); got != want {
				t.Errorf("row %d is\n%s, want\n%s", i, got, want)
			}
		}
	}
}

// text is all of a thing, with what its pointers point to.
func text(t thing) string {
	show := func(p any) string { return fmt.Sprintf("%#v", p) }
	parts := []string{show(t.ID), show(t.Name), show(t.Kind), show(t.SMSOnReply), show(t.Small), show(t.Middle), show(t.Large), show(t.Share), show(t.Sealed), t.At.String(), t.Wait.String()}
	for _, p := range []any{deref(t.Comment), deref(t.Other), deref(t.Count), deref(t.Until)} {
		parts = append(parts, fmt.Sprint(p))
	}
	return strings.Join(parts, " ")
}

func deref[T any](p *T) any {
	if p == nil {
		return nil
	}
	return fmt.Sprintf("%q", fmt.Sprint(*p))
}

func TestRows_SQL(t *testing.T) {
	t.Parallel()
	type row struct {
		ID    uuid.UUID `db:"id"`
		Theme string    `db:"theme"`
		Days  *int16    `db:"days"`
	}
	rows := postgres.RowsOf[row]()
	if got, want := rows.From("given", 3), "unnest($3::uuid[], $4::text[], $5::smallint[]) AS given (id, theme, days)"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := rows.Columns(); got != "id, theme, days" {
		t.Error(got)
	}
	if got, want := rows.Excluded("id"), "theme = excluded.theme, days = excluded.days"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if args := rows.Args(nil, "a", 2); len(args) != 5 || args[0] != "a" || args[1] != 2 {
		t.Errorf("arguments %v", args)
	}
}

func TestColumns(t *testing.T) {
	t.Parallel()
	type row struct {
		part
		Held bool `db:"held" sql:"coalesce(until > now(), false)"`
	}
	if got, want := postgres.Columns[row](), "name, comment, kind, other, coalesce(until > now(), false) AS held"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// What would be written into another column, or cannot be written, is refused at the start.
func TestRowsOf_Refuses(t *testing.T) {
	t.Parallel()
	for name, rows := range map[string]func(){
		"swapped": func() {
			postgres.RowsOf[struct {
				Theme string `db:"topic"`
				Topic string `db:"theme"`
			}]()
		},
		"without a tag": func() { postgres.RowsOf[struct{ Theme string }]() },
		"twice": func() {
			postgres.RowsOf[struct {
				part
				Name string `db:"name"`
			}]()
		},
		"not exported": func() {
			postgres.RowsOf[struct {
				theme string `db:"theme"`
			}]()
		},
		"computed": func() {
			postgres.RowsOf[struct {
				Held bool `db:"held" sql:"true"`
			}]()
		},
		"of no kind that is written": func() {
			postgres.RowsOf[struct {
				Count uint32 `db:"count"`
			}]()
		},
		"no struct": func() { postgres.RowsOf[string]() },
		"swapped, to be read": func() {
			_ = postgres.Columns[struct {
				Theme string `db:"topic"`
			}]()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				if recover() == nil {
					t.Error("it is taken")
				}
			}()
			rows()
		})
	}
}

func TestOneMany(t *testing.T) {
	t.Parallel()
	pool := open(t, testenv.Postgres(t, nil))
	id, at := uuid.New(), time.Date(2026, 11, 27, 8, 30, 0, 0, time.UTC)
	type row struct {
		ID uuid.UUID `db:"id"`
		At time.Time `db:"at"`
	}
	if got, err := postgres.One[row](t.Context(), pool, "asking", `SELECT $1::timestamptz AS at, $2::uuid AS id`, at, id); err != nil || got != (row{id, at}) {
		t.Errorf("a struct: %v, %v", got, err)
	}
	if got, err := postgres.One[time.Time](t.Context(), pool, "asking", `SELECT $1::timestamptz`, at); err != nil || got != at {
		t.Errorf("a time: %v, %v", got, err)
	}
	if got, err := postgres.One[*uuid.UUID](t.Context(), pool, "asking", `SELECT $1::uuid`, id); err != nil || *got != id {
		t.Errorf("a UUID: %v, %v", got, err)
	}
	if got, err := postgres.One[*uuid.UUID](t.Context(), pool, "asking", `SELECT NULL::uuid`); err != nil || got != nil {
		t.Errorf("none: %v, %v", got, err)
	}
	if got, err := postgres.Many[int64](t.Context(), pool, "asking", `SELECT generate_series(1, 3)`); err != nil || fmt.Sprint(got) != "[1 2 3]" {
		t.Errorf("numbers: %v, %v", got, err)
	}
	if got, err := postgres.Many[int64](t.Context(), pool, "asking", `SELECT 1 WHERE false`); err != nil || len(got) != 0 {
		t.Errorf("none: %v, %v", got, err)
	}
	for want, sql := range map[error]string{pgx.ErrNoRows: `SELECT 1 WHERE false`, pgx.ErrTooManyRows: `SELECT generate_series(1, 2)`} {
		if got, err := postgres.One[int64](t.Context(), pool, "asking", sql); !errors.Is(err, want) || got != 0 {
			t.Errorf("%s: %v, %v", sql, got, err)
		}
	}
	var fault *pgconn.PgError
	for name, fail := range map[string]func() error{
		"one": func() error {
			_, err := postgres.One[int64](t.Context(), pool, "asking", `SELECT 1/$1::int`, 0)
			return err
		},
		"many": func() error {
			_, err := postgres.Many[int64](t.Context(), pool, "asking", `SELECT 1/$1::int`, 0)
			return err
		},
		"exec": func() error { _, err := postgres.Exec(t.Context(), pool, "asking", `SELECT 1/$1::int`, 0); return err },
	} {
		if err := fail(); !errors.As(err, &fault) || !strings.HasPrefix(err.Error(), "asking: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Writing a batch allocates for the batch, and nothing for each value.
func TestRows_AllocatesForNoValue(t *testing.T) { // alone, as it counts the process's objects
	pool := open(t, testenv.Postgres(t, nil))
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	sql := `SELECT count(*) FROM ` + things.From("given", 1)
	given := make([]thing, 1000)
	for i := range given {
		given[i] = someThings()[1]
	}
	objects := func(rows []thing) float64 {
		return testing.AllocsPerRun(20, func() {
			if _, err := conn.Exec(t.Context(), sql, things.Args(rows)...); err != nil {
				t.Error(err)
			}
		})
	}
	if few, many := objects(given[:10]), objects(given); many > few+100 {
		t.Errorf("%.0f objects for 10 rows, %.0f for 1,000", few, many)
	}
}

// A UUID is sent and read as its bytes, not by way of its text.
func TestOpen_UUIDsAreBytes(t *testing.T) { // alone, as it counts the process's objects
	pool := open(t, testenv.Postgres(t, nil))
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	ids := make([]uuid.UUID, 1000)
	objects := testing.AllocsPerRun(20, func() {
		got, err := postgres.Many[uuid.UUID](t.Context(), conn, "asking", `SELECT unnest($1::uuid[])`, ids)
		if err != nil || len(got) != len(ids) {
			t.Error(len(got), err)
		}
	})
	if most := 10 * float64(len(ids)); objects > most { // 25 by way of text
		t.Errorf("%.0f objects to send and read 1,000, want at most %.0f", objects, most)
	}
}
