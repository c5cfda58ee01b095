package walk

import (
	"errors"
	"strings"
	"testing"

	"github.com/ma-messagerie/messagerie/dev/browser"
)

// Clients that three makers' generators write from the OpenAPI document do the main job, a
// follow-up, an agent's answer and the export. That they compile, in strict mode and without
// a type written by hand, is part of it.
func TestClients(t *testing.T) {
	t.Parallel()
	browser.Need(t, "../contract") // of which it needs node alone
	s := start(t)
	member, err1 := s.Token("jeanne")
	agent, err2 := s.Token("claire")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	blocks := []block{{commands: "make clients\n"}}
	for _, client := range []string{"node dev/contract/build/js/run.js fetch", "node dev/contract/build/js/run.js hey", ".build/client/client"} {
		blocks = append(blocks, block{commands: client + "\n"})
	}
	runBlocks(t, s, blocks, "GATEWAY="+s.Places().Gateway, "MEMBER_TOKEN="+member, "AGENT_TOKEN="+agent)
	for i, b := range blocks[1:] {
		for _, text := range []string{"Bonjour, je n'ai pas reçu mon paiement.", "Voici un complément.", "Il part demain."} {
			if n := strings.Count(b.output, text+"\n"); n != i+1 { // of those before, too
				t.Errorf("%s has %q %d times in its export, want %d:\n%s", strings.TrimSpace(b.commands), text, n, i+1, b.output)
			}
		}
	}
}
