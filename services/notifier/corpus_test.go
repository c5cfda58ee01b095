package notifier

import (
	"testing"

	"github.com/ma-messagerie/messagerie/chassis/testenv/corpus"
)

// What messaging keeps is sent to; what it refuses is not, should it come.
func TestCorpus(t *testing.T) {
	t.Parallel()
	for kind, form := range map[string]func(string) string{corpus.Email: addressOf, corpus.Phone: numberOf} {
		for _, row := range corpus.Rows(t, kind) {
			abroad := row.Reason == "PHONE_COUNTRY_UNSUPPORTED" // which messaging alone knows
			if row.Reason == "" && (form(row.Right) != row.Right || form(row.Value) != row.Right) || row.Reason != "" && !abroad && form(row.Value) != "" {
				t.Errorf("corpus.tsv:%d: %+q, %q", row.Line, row.Value, row.Right)
			}
		}
	}
}
