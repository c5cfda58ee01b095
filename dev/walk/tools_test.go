package walk

import (
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/dev/stack"
)

// docs/tools.md, typed by somebody who has an older conversation waiting.
func TestTools(t *testing.T) {
	t.Parallel()
	s := start(t)
	waits := send(t, s, "marc", "Bonjour, ceci attend depuis plus longtemps.")
	const client = "../../examples/tool/api/api.gen.go"
	before, err := os.ReadFile(client)
	if err != nil {
		t.Fatal(err)
	}
	blocks := shellBlocks(t, "docs/tools.md", "")
	runBlocks(t, s, blocks, "TOOL_API="+s.Places().Gateway, "TOOL_TOKEN_URL="+s.Places().OIDC+"/machines/token", "OPENAPI="+s.Places().Gateway+"/openapi.json")
	wantStatuses(t, blocks)

	// The oldest is answered, once.
	answered := call[recap](t, s, "marc", http.MethodGet, "/v1/conversations/"+waits.ID, nil).Conversation
	if answered.Status != "ANSWERED" || len(answered.Messages) != 2 || answered.Messages[1].Author != "AGENT" {
		t.Errorf("the oldest conversation is %+v", answered)
	}
	if list := call[page](t, s, "jeanne", http.MethodGet, "/v1/conversations", nil).Conversations; len(list) != 1 || list[0].Status != "SENT" {
		t.Errorf("Jeanne has %+v", list)
	}
	for _, b := range blocks {
		if strings.Contains(b.commands, "go run . claim") && !strings.Contains(b.output, "ceci attend depuis plus longtemps") {
			t.Errorf("what waits longest is not shown:\n%s", b.output)
		}
	}
	wantAnotherAnswer(t, s, waits.ID)
	after, err := os.ReadFile(client)
	if err != nil || string(after) != string(before) {
		t.Errorf("%s was not what a gateway describes; make client-go has written it anew (%v)", client, err)
	}
}

// A text that was sent before is sent again when the member has written since, and is told
// from one that was there already.
func wantAnotherAnswer(t *testing.T, s *stack.Stack, id string) {
	t.Helper()
	call[recap](t, s, "marc", http.MethodPost, "/v1/conversations/"+id+":followUp", map[string]any{"text": "Je n’ai toujours rien reçu."}, "Idempotency-Key", uuid.NewString())
	var told [2]string
	for i := range told {
		answer := exec.CommandContext(t.Context(), "go", "run", ".", "answer", id)
		answer.Dir = "../../examples/tool"
		answer.Env = append(os.Environ(), "TOOL_CLIENT_ID=crm", "TOOL_CLIENT_SECRET=crm-development-only",
			"TOOL_API="+s.Places().Gateway, "TOOL_TOKEN_URL="+s.Places().OIDC+"/machines/token")
		answer.Stdin = strings.NewReader("Bonjour, votre paiement est parti ce matin.\n")
		out, err := answer.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		told[i] = string(out)
	}
	const repeat = "nothing was sent"
	if !strings.Contains(told[0], "ANSWERED") || strings.Contains(told[0], repeat) || !strings.Contains(told[1], repeat) {
		t.Errorf("told %q", told)
	}
	var authors []string
	for _, m := range call[recap](t, s, "marc", http.MethodGet, "/v1/conversations/"+id, nil).Conversation.Messages {
		authors = append(authors, m.Author)
	}
	if want := []string{"MEMBER", "AGENT", "MEMBER", "AGENT"}; !slices.Equal(authors, want) {
		t.Errorf("the messages are %v, want %v", authors, want)
	}
}
