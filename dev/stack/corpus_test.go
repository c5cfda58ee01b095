package stack_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/testenv/corpus"
	"github.com/ma-messagerie/messagerie/dev/journey"
)

// The corpus over REST. A caller has a number of calls a second: there are many.
func TestCorpus(t *testing.T) {
	t.Parallel()
	s := start(t, stateDir(t))
	var members []journey.Client
	for n := range 50 {
		members = append(members, as(t, s, fmt.Sprintf("particulier-%d", 6100+n)))
	}
	calls := 0
	next := func() journey.Client { calls++; return members[calls%len(members)] }
	check := func(row corpus.Row, answer journey.Answer, field, got string) {
		t.Helper()
		if row.Reason == "" {
			if answer.Status != http.StatusOK || got != row.Right {
				t.Errorf("corpus.tsv:%d: %+q: %d %+q, want %+q: %s", row.Line, row.Value, answer.Status, got, row.Right, answer.Problem().Violation())
			}
			return
		}
		want := field + " " + row.Reason
		if tooLong := field + " TOO_LONG"; utf8.RuneCountInString(row.Value) > 250 && answer.Problem().Violation() == tooLong {
			want = tooLong
		}
		if answer.Status != http.StatusBadRequest || answer.Problem().Violation() != want {
			t.Errorf("corpus.tsv:%d: %+q: %d %q, want %q", row.Line, row.Value, answer.Status, answer.Problem().Violation(), want)
		}
	}
	for kind, field := range map[string]string{corpus.Email: "email", corpus.Phone: "phone"} {
		for _, row := range corpus.Rows(t, kind) {
			if row.Source == "empty" {
				continue
			}
			answer := do(t, next(), http.MethodPut, "/v1/me/preferences", map[string]any{"preferences": map[string]any{field: row.Value}})
			var body struct{ Preferences map[string]any }
			_ = json.Unmarshal(answer.Body, &body)
			got, _ := body.Preferences[field].(string)
			check(row, answer, "preferences."+field, got)
		}
	}
	for _, row := range corpus.Rows(t, corpus.Text) {
		answer := do(t, next(), http.MethodPost, "/v1/conversations", submission(row.Value), "Idempotency-Key", uuid.NewString())
		var body struct {
			Conversation struct{ Messages []struct{ Text string } }
		}
		_ = json.Unmarshal(answer.Body, &body)
		got := ""
		if len(body.Conversation.Messages) > 0 {
			got = body.Conversation.Messages[0].Text
		}
		check(row, answer, "text", got)
	}
	if calls < 400 {
		t.Errorf("%d calls", calls)
	}
}
