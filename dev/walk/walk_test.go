package walk

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"testing"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/dev/journey"
	"github.com/ma-messagerie/messagerie/dev/stack"
)

// What the services log is not looked at here.
func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}

// start runs a system of the test's own on free ports, and stops it.
func start(t *testing.T) *stack.Stack {
	t.Helper()
	// User postgres must get through it, unlike t.TempDir.
	dir, err := os.MkdirTemp("/var/tmp", "messagerie-walk-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	const free = "127.0.0.1:0"
	s, err := stack.Start(t.Context(), stack.Config{StateDir: dir, WebAddr: free, HTTPAddr: free, GRPCAddr: free, OIDCAddr: free, InboxAddr: free, NATSAddr: free})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// call asks the gateway as a persona; the answer must be a good one.
func call[T any](t *testing.T, s *stack.Stack, persona, method, path string, body any, header ...string) T {
	t.Helper()
	token, err := s.Token(persona)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := journey.Client{Base: s.Places().Gateway, Token: token}.Do(t.Context(), method, path, body, header...)
	if err != nil {
		t.Fatal(err)
	}
	var into T
	if err := json.Unmarshal(answer.Body, &into); err != nil || answer.Status != http.StatusOK {
		t.Fatalf("%s %s answered %d: %s", method, path, answer.Status, answer.Body)
	}
	return into
}

type (
	recap struct{ Conversation journey.Conversation }
	page  struct{ Conversations []journey.Conversation }
)

// send submits a message of a particulier.
func send(t *testing.T, s *stack.Stack, persona, text string) journey.Conversation {
	t.Helper()
	return call[recap](t, s, persona, http.MethodPost, "/v1/conversations", journey.Submission{
		Selection:       journey.Selection{Audience: "PARTICULIER", Theme: "famille-logement", Topic: "allocations-familiales", Reason: "paiement-absent"},
		TaxonomyVersion: 3, Text: text,
	}, "Idempotency-Key", uuid.NewString()).Conversation
}

// README's walk, on a system where others wait already.
func TestREADME(t *testing.T) {
	t.Parallel()
	s := start(t)
	waits := send(t, s, "marc", "Bonjour, ceci attend depuis plus longtemps.")

	blocks := shellBlocks(t, "README.md", "The main job by hand")
	runBlocks(t, s, blocks)
	wantStatuses(t, blocks)

	list := call[page](t, s, "jeanne", http.MethodGet, "/v1/conversations", nil)
	if len(list.Conversations) != 1 || list.Conversations[0].Status != "ANSWERED" || list.Conversations[0].Unread {
		t.Errorf("Jeanne has %+v", list.Conversations)
	}
	if still := call[recap](t, s, "marc", http.MethodGet, "/v1/conversations/"+waits.ID, nil).Conversation; still.Status != "SENT" {
		t.Errorf("the older conversation is %s", still.Status)
	}
}
