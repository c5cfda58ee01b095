package walk

import (
	"net/http"
	"os"
	"strings"
	"testing"
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
	after, err := os.ReadFile(client)
	if err != nil || string(after) != string(before) {
		t.Errorf("%s was not what a gateway describes; make client-go has written it anew (%v)", client, err)
	}
}
