package stack_test

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/dev/journey"
	"github.com/ma-messagerie/messagerie/dev/stack"
)

// watching opens a watch without a token and returns what waits for a word in what it says.
func watching(t *testing.T, s *stack.Stack, path, ticket string) (hears func(word string)) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Places().Gateway+path+"?ticket="+ticket, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Timeout: time.Minute}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("answered %s", resp.Status)
	}
	lines := bufio.NewScanner(resp.Body)
	return func(word string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), word) {
				return
			}
		}
		t.Fatalf("the watch ended without %s: %v", word, lines.Err())
	}
}

// A browser's EventSource watches with a ticket, and hears of what has no event.
func TestWatchTicket(t *testing.T) {
	t.Parallel()
	s := start(t, stateDir(t))
	jeanne, claire := as(t, s, "jeanne"), as(t, s, "claire")
	ticket := func(c journey.Client) string {
		t.Helper()
		return read[struct{ Ticket string }](t, do(t, c, http.MethodPost, "/v1/watchTickets", []byte("{}"))).Ticket
	}
	id := send(t, jeanne, "Bonjour, une question.").ID
	mine, theirs := ticket(jeanne), ticket(claire)
	member := watching(t, s, "/v1/conversations:watch", mine)
	agent := watching(t, s, "/v1/agent/conversations:watch", theirs)
	if answer := do(t, jeanne, http.MethodPost, "/v1/conversations/"+id+":hide", []byte("{}")); answer.Status != http.StatusOK {
		t.Fatalf("%d %s", answer.Status, answer.Body)
	}
	told := fmt.Sprintf(`"conversationId":"%s"`, id)
	member(told)
	agent(told)
	again := do(t, as(t, s, ""), http.MethodGet, "/v1/conversations:watch?ticket="+mine, nil)
	if again.Status != http.StatusUnauthorized || !strings.Contains(string(again.Body), "WATCH_TICKET_INVALID") {
		t.Errorf("used twice: %d %s", again.Status, again.Body)
	}
	for _, text := range []string{logged.String(), fmt.Sprintf("%+v", spans.GetSpans())} {
		if strings.Contains(text, mine) || strings.Contains(text, theirs) {
			t.Error("a log line or a span holds a ticket")
		}
	}
}
