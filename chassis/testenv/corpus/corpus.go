// Package corpus is what people really type, paste and are called: values with what is right for
// each. The tests of every place that takes such a value read it, so that one rule holds in all.
//
// A row that fails somewhere is a fault of that place, or of the row: what is right is decided for
// the person who types, and not by what a parser happens to do.
package corpus

import (
	_ "embed"
	"encoding/json"
	"strings"
	"testing"
)

//go:embed corpus.tsv
var file string

// The kinds of values.
const (
	Email = "email"
	Phone = "phone"
	// Text is a member's first message.
	Text = "text"
)

// Row is one value.
type Row struct {
	// Line is where it stands in corpus.tsv.
	Line int
	// Source is where such a value comes from, in a word.
	Source string
	// Value is as it is typed.
	Value string
	// Right is the form in which it is kept; empty for one that is refused.
	Right string
	// Reason is the name of the ErrorReason that it is refused with; empty for one that is taken.
	Reason string
}

// Rows are those of a kind.
func Rows(t testing.TB, kind string) []Row {
	t.Helper()
	var rows []Row
	for i, line := range strings.Split(strings.TrimSuffix(file, "\n"), "\n") {
		columns := strings.Split(line, "\t")
		if strings.HasPrefix(line, "#") || columns[0] != kind {
			continue
		}
		if len(columns) != 4 {
			t.Fatalf("corpus.tsv:%d has %d columns", i+1, len(columns))
		}
		row := Row{Line: i + 1, Source: columns[1]}
		read := func(column string, into *string) {
			if err := json.Unmarshal([]byte(column), into); err != nil {
				t.Fatalf("corpus.tsv:%d: %v", i+1, err)
			}
		}
		read(columns[2], &row.Value)
		reason, refused := strings.CutPrefix(columns[3], "!")
		if row.Reason = reason; !refused {
			row.Reason = ""
			read(columns[3], &row.Right)
		}
		rows = append(rows, row)
	}
	if len(rows) < 100 {
		t.Fatalf("the corpus has %d rows of the kind %s", len(rows), kind)
	}
	return rows
}
