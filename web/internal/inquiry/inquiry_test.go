package inquiry

import (
	"testing"
	"time"

	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/session"
)

var jeanne = session.Session{Subject: "members:jeanne", Audience: taxonomypb.Audience_PARTICULIER}

func TestMeant(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		sent bool
		ago  time.Duration
		want bool
	}{{true, 0, true}, {false, 0, false}, {false, 4 * time.Second, false}, {false, 6 * time.Second, true}} {
		i := New(&jeanne, "rib", row.sent)
		i.At = i.At.Add(-row.ago)
		if i.Meant() != row.want {
			t.Errorf("%v: %t", row, i.Meant())
		}
	}
}

func TestGoes(t *testing.T) {
	t.Parallel()
	farmer := jeanne
	farmer.Audience = taxonomypb.Audience_EXPLOITANT
	before := New(&jeanne, "Rib", true)
	for words, want := range map[string]bool{"rib": true, "rib nouveau": true, "RI": true, "mon rib": false, "virement": false} {
		if got := before.Goes(New(&jeanne, words, false)); got != want {
			t.Errorf("%q: %t", words, got)
		}
	}
	if before.Goes(New(&farmer, "rib", false)) {
		t.Error("under another profile it is the same search")
	}
}
