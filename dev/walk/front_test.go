package walk

import (
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ma-messagerie/messagerie/dev/browser"
)

// docs/front-ends.md, and then what it has started, in a real browser and from another
// origin.
func TestFrontEnds(t *testing.T) {
	t.Parallel()
	browser.Need(t, "../../web/e2e")
	s := start(t)
	for range 2 { // there is a second page
		send(t, s, "jeanne", "Bonjour, où en est mon dossier ?")
	}
	const client = "../../examples/web/src/api.d.ts"
	before, err := os.ReadFile(client)
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	places := s.Places()
	blocks := append(shellBlocks(t, "docs/front-ends.md", ""), block{commands: "node --test --test-reporter=spec dev/walk/front.test.mjs\n"})
	runBlocks(t, s, blocks, "PORT="+port, "API="+places.Gateway, "ISSUER="+places.OIDC+"/usagers", "OPENAPI="+places.Gateway+"/openapi.json",
		// Of the browser's tests, and those of our own pages, from which they borrow.
		"FRONT_URL=http://localhost:"+port+"/", "API_URL="+places.Gateway, "OIDC_URL="+places.OIDC,
		"WEB_URL="+places.Web, "INBOX_URL="+places.Inbox, "WEB_AWAY_URL="+places.Web, "WEB_LIMITED_URL="+places.Web)
	wantStatuses(t, blocks)
	for told, in := range map[string]string{
		"Access-Control-Allow-Origin: http://localhost:5173": "-X OPTIONS", "Idempotent-Replayed: true": "KEY=", "il en faut au moins 10": "# 400", "\ndata:": ":watch",
	} {
		i := slices.IndexFunc(blocks, func(b block) bool { return strings.Contains(b.commands, in) })
		if i < 0 || !strings.Contains(blocks[i].output, told) {
			t.Errorf("no answer says %s:\n%v", told, blocks[max(i, 0)])
		}
	}
	t.Logf("%s", blocks[len(blocks)-1].output)
	after, err := os.ReadFile(client)
	if err != nil || string(after) != string(before) {
		t.Errorf("%s was not what a gateway describes; npm run client has written it anew (%v)", client, err)
	}
}

// freePort is one that nobody listens on now.
func freePort(t *testing.T) string {
	t.Helper()
	lis, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	return strconv.Itoa(lis.Addr().(*net.TCPAddr).Port)
}
