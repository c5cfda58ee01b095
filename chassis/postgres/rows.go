package postgres

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"
)

// Rows writes structs of T as rows by one statement: each column as an array, which unnest
// turns into rows again. A column is a field by its db tag; embedded structs' fields are
// included, in their order of declaration.
//
// # What is promised
//
// A column is named in one place, the struct, and identified by its name from there on: a
// new one changes the struct and not the statement made from it. A tag that is not its
// field's name (theme for Theme, sms_on_reply for SMSOnReply), appears twice, or belongs to a
// type that cannot be written stops the process at its start, so that two columns of one type
// cannot be swapped unnoticed.
//
// # How
//
// T is examined once. Writing a value is one call that reads it at its offset in the struct
// and appends PostgreSQL's binary form to the message: it allocates nothing, and uses neither
// reflection nor driver.Valuer.
//
// # When it breaks
//
// A statement takes 65,535 arguments, and a column is one. The structs are read while the
// statement is sent, and must not change until then.
type Rows[T any] struct{ columns []column }

// column is a field of a T.
type column struct {
	name, kind string
	offset     uintptr
	// pointer: nil is NULL.
	pointer bool
	cell    func() cell
}

// RowsOf reads T's tags. Call it once, for a package variable: it panics if T cannot be
// written as rows.
func RowsOf[T any]() *Rows[T] {
	fields, err := fieldsOf(reflect.TypeFor[T]())
	if err != nil {
		panic(fmt.Sprintf("%s cannot be written as rows: %v", reflect.TypeFor[T](), err))
	}
	r := &Rows[T]{}
	for _, f := range fields {
		c, err := f.column()
		if err != nil {
			panic(fmt.Sprintf("%s cannot be written as rows: %v", reflect.TypeFor[T](), err))
		}
		r.columns = append(r.columns, c)
	}
	return r
}

// Columns returns the names of the columns as a list: "id, theme, topic".
func (r *Rows[T]) Columns() string {
	names := make([]string, len(r.columns))
	for i, c := range r.columns {
		names[i] = c.name
	}
	return strings.Join(names, ", ")
}

// Excluded is the assignments of ON CONFLICT DO UPDATE that replace a row by the one that
// was to be inserted: "theme = excluded.theme, topic = excluded.topic", without the columns
// of the key.
func (r *Rows[T]) Excluded(key ...string) string {
	var list []string
	for _, c := range r.columns {
		if !slices.Contains(key, c.name) {
			list = append(list, c.name+" = excluded."+c.name)
		}
	}
	return strings.Join(list, ", ")
}

// From returns the rows as an item of FROM: "unnest($3::uuid[], $4::text[]) AS name (id,
// theme)", whose arguments are numbered from first. [Rows.Args] returns the arguments.
func (r *Rows[T]) From(name string, first int) string {
	casts := make([]string, len(r.columns))
	for i, c := range r.columns {
		casts[i] = fmt.Sprintf("$%d::%s[]", first+i, c.kind)
	}
	return fmt.Sprintf("unnest(%s) AS %s (%s)", strings.Join(casts, ", "), name, r.Columns())
}

// Args returns the arguments of From, after those that the statement has before them.
func (r *Rows[T]) Args(rows []T, before ...any) []any {
	args := append(make([]any, 0, len(before)+len(r.columns)), before...)
	arrays := make([]array[T], len(r.columns))
	for i := range r.columns {
		arrays[i] = array[T]{rows: rows, column: &r.columns[i], cell: r.columns[i].cell()}
		args = append(args, &arrays[i])
	}
	return args
}

// Columns returns the list that SELECT or RETURNING needs for [One] and [Many] to read a T:
// its db tags. A field with the tag sql is that expression under its name.
func Columns[T any]() string {
	fields, err := fieldsOf(reflect.TypeFor[T]())
	if err != nil {
		panic(fmt.Sprintf("%s cannot be read: %v", reflect.TypeFor[T](), err))
	}
	list := make([]string, len(fields))
	for i, f := range fields {
		if list[i] = f.name; f.expression != "" {
			list[i] = f.expression + " AS " + f.name
		}
	}
	return strings.Join(list, ", ")
}

// field is a field with a column.
type field struct {
	reflect.StructField
	// offset is that from the outermost struct.
	offset           uintptr
	name, expression string
}

// fieldsOf finds the fields of a struct, those of embedded ones included.
func fieldsOf(of reflect.Type) (fields []field, err error) {
	if of.Kind() != reflect.Struct {
		return nil, fmt.Errorf("%s is no struct", of)
	}
	for i := range of.NumField() {
		f := of.Field(i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			inner, err := fieldsOf(f.Type)
			if err != nil {
				return nil, err
			}
			for _, in := range inner {
				in.offset += f.Offset
				fields = append(fields, in)
			}
			continue
		}
		switch name := f.Tag.Get("db"); {
		case name == "-":
		case !f.IsExported():
			return nil, fmt.Errorf("field %s is not exported: give it the tag db:\"-\" if it is not a column", f.Name)
		case !strings.EqualFold(strings.ReplaceAll(name, "_", ""), f.Name):
			return nil, fmt.Errorf("field %s has the tag db:%q", f.Name, name)
		default:
			fields = append(fields, field{f, f.Offset, name, f.Tag.Get("sql")})
		}
	}
	for i, f := range fields {
		if slices.ContainsFunc(fields[:i], func(other field) bool { return other.name == f.name }) {
			return nil, fmt.Errorf("column %s appears twice", f.name)
		}
	}
	return fields, nil
}

// column is how a field is written.
func (f field) column() (column, error) {
	c := column{name: f.name, offset: f.offset}
	of := f.Type
	if c.pointer = of.Kind() == reflect.Pointer; c.pointer {
		of = of.Elem()
	}
	switch {
	case f.expression != "":
		return c, fmt.Errorf("column %s is computed", f.name)
	case of == reflect.TypeFor[time.Time]():
		c.kind, c.cell = "timestamptz", func() cell { return &timeCell{} }
	case of == reflect.TypeFor[time.Duration]():
		c.kind, c.cell = "interval", func() cell { return &intervalCell{} }
	case of == reflect.TypeFor[uuid.UUID]():
		c.kind, c.cell = "uuid", func() cell { return &uuidCell{} }
	case of == reflect.TypeFor[[]byte]():
		c.kind, c.cell = "bytea", func() cell { return &bytesCell{} }
	case of.Kind() == reflect.String:
		c.kind, c.cell = "text", func() cell { return &textCell{} }
	case of.Kind() == reflect.Bool:
		c.kind, c.cell = "boolean", func() cell { return &boolCell{} }
	case of.Kind() == reflect.Int16:
		c.kind, c.cell = "smallint", func() cell { return &intCell[int16]{} }
	case of.Kind() == reflect.Int32:
		c.kind, c.cell = "integer", func() cell { return &intCell[int32]{} }
	case of.Kind() == reflect.Int64:
		c.kind, c.cell = "bigint", func() cell { return &intCell[int64]{} }
	case of.Kind() == reflect.Float64:
		c.kind, c.cell = "double precision", func() cell { return &floatCell{} }
	default:
		return c, fmt.Errorf("column %s is a %s", f.name, f.Type)
	}
	return c, nil
}

// array is a column of rows.
type array[T any] struct {
	rows   []T
	column *column
	cell   cell
}

// Dimensions implements [pgtype.ArrayGetter].
func (a *array[T]) Dimensions() []pgtype.ArrayDimension {
	return []pgtype.ArrayDimension{{Length: int32(len(a.rows)), LowerBound: 1}} //nolint:gosec // a batch
}

// Index implements [pgtype.ArrayGetter]: the cell, moved to the row's field.
func (a *array[T]) Index(i int) any {
	at := unsafe.Add(unsafe.Pointer(&a.rows[i]), a.column.offset) //nolint:gosec // the field's place, as reflect gives it
	if a.column.pointer {
		if at = *(*unsafe.Pointer)(at); at == nil {
			return nil
		}
	}
	a.cell.move(at)
	return a.cell
}

// IndexType implements [pgtype.ArrayGetter].
func (a *array[T]) IndexType() any { return a.cell }

// cell writes a value from where it is in memory; one cell is moved along a column.
type cell interface{ move(to unsafe.Pointer) }

type (
	textCell                         struct{ at *string }
	boolCell                         struct{ at *bool }
	intCell[I int16 | int32 | int64] struct{ at *I }
	floatCell                        struct{ at *float64 }
	bytesCell                        struct{ at *[]byte }
	uuidCell                         struct{ at *uuid.UUID }
	timeCell                         struct{ at *time.Time }
	intervalCell                     struct{ at *time.Duration }
)

func (c *textCell) move(to unsafe.Pointer)     { c.at = (*string)(to) }
func (c *boolCell) move(to unsafe.Pointer)     { c.at = (*bool)(to) }
func (c *intCell[I]) move(to unsafe.Pointer)   { c.at = (*I)(to) }
func (c *floatCell) move(to unsafe.Pointer)    { c.at = (*float64)(to) }
func (c *bytesCell) move(to unsafe.Pointer)    { c.at = (*[]byte)(to) }
func (c *uuidCell) move(to unsafe.Pointer)     { c.at = (*uuid.UUID)(to) }
func (c *timeCell) move(to unsafe.Pointer)     { c.at = (*time.Time)(to) }
func (c *intervalCell) move(to unsafe.Pointer) { c.at = (*time.Duration)(to) }

// TextValue implements [pgtype.TextValuer].
func (c *textCell) TextValue() (pgtype.Text, error) {
	return pgtype.Text{String: *c.at, Valid: true}, nil
}

// BoolValue implements [pgtype.BoolValuer].
func (c *boolCell) BoolValue() (pgtype.Bool, error) {
	return pgtype.Bool{Bool: *c.at, Valid: true}, nil
}

// Int64Value implements [pgtype.Int64Valuer].
func (c *intCell[I]) Int64Value() (pgtype.Int8, error) {
	return pgtype.Int8{Int64: int64(*c.at), Valid: true}, nil
}

// Float64Value implements [pgtype.Float64Valuer].
func (c *floatCell) Float64Value() (pgtype.Float8, error) {
	return pgtype.Float8{Float64: *c.at, Valid: true}, nil
}

// BytesValue implements [pgtype.BytesValuer]; nil is NULL.
func (c *bytesCell) BytesValue() ([]byte, error) { return *c.at, nil }

// UUIDValue implements [pgtype.UUIDValuer].
func (c *uuidCell) UUIDValue() (pgtype.UUID, error) {
	return pgtype.UUID{Bytes: *c.at, Valid: true}, nil
}

// TimestamptzValue implements [pgtype.TimestamptzValuer].
func (c *timeCell) TimestamptzValue() (pgtype.Timestamptz, error) {
	return pgtype.Timestamptz{Time: *c.at, Valid: true}, nil
}

// IntervalValue implements [pgtype.IntervalValuer].
func (c *intervalCell) IntervalValue() (pgtype.Interval, error) {
	return pgtype.Interval{Microseconds: c.at.Microseconds(), Valid: true}, nil
}
