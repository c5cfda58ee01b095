package chaos

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/ma-messagerie/messagerie/chassis/localpg"
)

// TestChaos is the short run: two minutes of faults with reports, half a minute
// without. CHAOS_MINUTES makes it longer, CHAOS_SEED repeats one.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("takes four minutes")
	}
	if _, err := localpg.Find(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no Go to build the programs with")
	}
	cfg := Config{Scenario: "random", Minutes: 2, Rate: 100}
	if minutes, err := strconv.ParseFloat(os.Getenv("CHAOS_MINUTES"), 64); err == nil {
		cfg.Minutes = minutes
	}
	if seed, err := strconv.ParseUint(os.Getenv("CHAOS_SEED"), 10, 64); err == nil {
		cfg.Seed = seed
	}
	var out bytes.Buffer
	err := Run(t.Context(), cfg, &out)
	t.Log("\n" + out.String())
	if err != nil {
		t.Error(err)
	}
}
