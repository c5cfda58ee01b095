package stack_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/dev/inbox"
	"github.com/ma-messagerie/messagerie/dev/journey"
)

type deliveries struct {
	Deliveries []struct{ Channel, Purpose, State, Reason string }
}

// states are where a conversation's deliveries stand, as its member sees them.
func states(t *testing.T, c journey.Client, id string) (list []string) {
	t.Helper()
	for _, d := range read[deliveries](t, do(t, c, http.MethodGet, "/v1/conversations/"+id+"/deliveries", nil)).Deliveries {
		list = append(list, d.Channel+" "+d.State)
	}
	return list
}

func eventually(t *testing.T, what string, true func() bool) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(60 * time.Second)
	for !true() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// What the providers report arrives at who wrote, through the gateway and whatever
// else comes that way: late, repeated, forged and stale reports.
func TestReports(t *testing.T) {
	t.Parallel()
	s := start(t, stateDir(t))
	jeanne, paul, claire := as(t, s, "jeanne"), as(t, s, "paul"), as(t, s, "claire")
	box := journey.Client{Base: s.Places().Inbox}
	for _, mode := range []string{"on", "late", "repeat", "forge"} {
		read[inbox.Reports](t, do(t, box, http.MethodPost, "/api/reports", map[string]any{"mode": mode, "delayMs": 300}))
		sent := send(t, jeanne, "Bonjour, une question.")
		eventually(t, mode+": both are delivered", func() bool {
			return strings.Join(states(t, jeanne, sent.ID), ",") == "EMAIL DELIVERED,SMS DELIVERED"
		})
		if other := do(t, paul, http.MethodGet, "/v1/conversations/"+sent.ID+"/deliveries", nil); other.Status != http.StatusNotFound {
			t.Errorf("another member: %d %s", other.Status, other.Body)
		}
		seen := read[deliveries](t, do(t, claire, http.MethodGet, "/v1/agent/conversations/"+sent.ID+"/deliveries", nil))
		if len(seen.Deliveries) != 2 || seen.Deliveries[0].Purpose != "ACKNOWLEDGEMENT" {
			t.Errorf("an agent sees %+v", seen)
		}
		awaitMail(t, s.Mailbox, sent.Reference, 1, 1)
	}
	var counts struct{ Counts inbox.ReportCounts }
	eventually(t, "every report is answered", func() bool {
		counts = read[struct{ Counts inbox.ReportCounts }](t, do(t, box, http.MethodGet, "/api/reports", nil))
		return counts.Counts.Pending == 0
	})
	if c := counts.Counts; c.Refused != 3 || c.ForgedTaken != 0 || c.Failed != 0 {
		t.Errorf("reports: %+v, want 3 refused, none of the forged taken", c)
	}
}

// A mail that the provider refuses is a dead letter; an operator has it sent again
// once the cause is gone, and what was accepted stays as it is.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	s := start(t, stateDir(t))
	jeanne, sofiane := as(t, s, "jeanne"), as(t, s, "sofiane")
	box := journey.Client{Base: s.Places().Inbox}
	do(t, box, http.MethodPost, "/api/faults", map[string]any{"channel": inbox.Email, "mode": "refuse"})
	sent := send(t, jeanne, "Bonjour, une question.")
	type letters struct {
		DeadLetters []struct{ ID, Kind, Channel, Reason, Provider, ConversationID string }
	}
	var list letters
	eventually(t, "the mail is a dead letter", func() bool {
		list = read[letters](t, do(t, sofiane, http.MethodGet, "/v1/operator/deadletters?channel=EMAIL", nil))
		return len(list.DeadLetters) == 1
	})
	if letter := list.DeadLetters[0]; letter.ConversationID != sent.ID || letter.Reason != "HTTP_400" || letter.Provider != "sendgrid" {
		t.Errorf("got %+v", letter)
	}
	if refused := do(t, jeanne, http.MethodGet, "/v1/operator/deadletters", nil); refused.Status != http.StatusForbidden {
		t.Errorf("a member: %d", refused.Status)
	}
	do(t, box, http.MethodPost, "/api/faults", map[string]any{"channel": inbox.Email, "mode": "off"})
	replayed := read[struct{ Replayed int }](t, do(t, sofiane, http.MethodPost, "/v1/operator/deadletters:replay", map[string]any{"filter": map[string]any{}}))
	if replayed.Replayed != 1 {
		t.Errorf("%d replayed", replayed.Replayed)
	}
	awaitMail(t, s.Mailbox, sent.Reference, 1, 1)
	if gone := do(t, sofiane, http.MethodPost, "/v1/operator/deadletters/"+list.DeadLetters[0].ID+":drop", map[string]any{"note": "tried again"}); gone.Status != http.StatusNotFound {
		t.Errorf("dropping what was replayed: %d %s", gone.Status, gone.Body)
	}
}
