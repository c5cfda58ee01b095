package chaos

import (
	"bytes"
	"os"
	"os/exec"
	"testing"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/localpg"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
)

// TestChaos is the short run: two minutes of faults with reports, half a minute
// without. CHAOS_MINUTES makes it longer, CHAOS_SEED repeats one.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("takes four minutes")
	}
	if _, err := localpg.Find(); err != nil {
		testenv.Unavailable(t, err)
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no Go to build the programs with")
	}
	cfg, err := chassis.Load[Config]("CHAOS_", append([]string{"CHAOS_MINUTES=2", "CHAOS_RATE=50"}, os.Environ()...))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = Run(t.Context(), cfg, &out)
	t.Log("\n" + out.String())
	if err != nil {
		t.Error(err)
	}
}
