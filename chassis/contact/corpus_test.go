package contact

import (
	"errors"
	"testing"

	"github.com/ma-messagerie/messagerie/chassis/testenv/corpus"
)

func TestCorpus(t *testing.T) {
	t.Parallel()
	check := func(row corpus.Row, got string, err error) {
		t.Helper()
		reason := ""
		var fault *Fault
		if errors.As(err, &fault) {
			reason = fault.Reason.String()
		}
		if reason != row.Reason || err == nil && got != row.Right {
			t.Errorf("corpus.tsv:%d: %+q is %q, %s; want %q, %s", row.Line, row.Value, got, reason, row.Right, row.Reason)
		}
	}
	for _, row := range corpus.Rows(t, corpus.Email) {
		got, err := Email(row.Value)
		check(row, got, err)
	}
	for _, row := range corpus.Rows(t, corpus.Phone) {
		got, err := Texted(row.Value, France)
		check(row, got.E164, err)
	}
}
