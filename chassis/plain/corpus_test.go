package plain_test

import (
	"testing"

	"github.com/ma-messagerie/messagerie/chassis/plain"
	"github.com/ma-messagerie/messagerie/chassis/testenv/corpus"
)

// Of a text that is refused, its length or that it shows nothing is what is wrong.
func TestCorpus(t *testing.T) {
	t.Parallel()
	for _, row := range corpus.Rows(t, corpus.Text) {
		got, _ := plain.Text(row.Value)
		if row.Reason == "" && got != row.Right {
			t.Errorf("corpus.tsv:%d: %+q is %+q, want %+q", row.Line, row.Value, got, row.Right)
		}
		if plain.Blank(got) != (row.Reason == "BODY_BLANK" || got == "") {
			t.Errorf("corpus.tsv:%d: %+q shows nothing: %t", row.Line, got, plain.Blank(got))
		}
	}
}
