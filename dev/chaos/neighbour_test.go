package chaos

import (
	"bytes"
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/attack"
	"github.com/ma-messagerie/messagerie/dev/chaos/internal/load"
)

// tried is a try in which the others' p99 was so many times the control's.
func tried(ratio float64, failed int, gateway int64) try {
	return try{
		attacked: load.Summary{Calls: 600, Failed: failed, P99: time.Duration(ratio * float64(100*time.Millisecond))},
		control:  load.Summary{Calls: 600, P99: 100 * time.Millisecond},
		peaks:    map[string]int64{"gateway-1": gateway << 20},
	}
}

func TestNeighbourVerdict(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name  string
		tries []try
		timed bool
		want  int
	}{
		{"no harm", []try{tried(1, 0, 60)}, true, 0},
		{"at the edge", []try{tried(3, 0, 200)}, true, 0},
		{"slow", []try{tried(3.1, 0, 60)}, true, 1},
		{"slow once of three", []try{tried(9, 0, 60), tried(2, 0, 60), tried(1, 0, 60)}, true, 0},
		{"slow twice of three", []try{tried(9, 0, 60), tried(2, 0, 60), tried(4, 0, 60)}, true, 1},
		{"slow, where time is not judged", []try{tried(9, 0, 60)}, false, 0},
		{"one call failed", []try{tried(1, 1, 60)}, true, 1},
		{"one call failed in the last try", []try{tried(4, 0, 60), tried(1, 1, 60)}, true, 2},
		{"the gateway is too large", []try{tried(1, 0, 201)}, true, 1},
	}
	for _, row := range rows {
		n := &neighbourhood{timed: row.timed}
		if broken := n.violations(itsRow(row.tries)); len(broken) != row.want {
			t.Errorf("%s: %v", row.name, broken)
		}
	}
}

func itsRow(tries []try) row { return row{tries: tries} }

// TestNeighbour is the short form of the scenario: the attacks that are quickest to do
// harm. Nobody else's call may fail and the gateway must keep its size; how long calls
// take is for `make chaos SCENARIO=neighbour`.
func TestNeighbour(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	binaries, dir := built(t)
	var list []attack.Attack
	for _, name := range []string{"silent-streams", "metadata", "flood-refused"} {
		a, ok := attack.Named(name)
		if !ok {
			t.Fatalf("no attack is named %s", name)
		}
		list = append(list, a)
	}
	var out bytes.Buffer
	r := &run{cfg: Config{Seed: 1, Rate: 30, Dir: dir}, out: &out, binaries: binaries}
	err := r.beside(t.Context(), list, 3*time.Second, false)
	t.Log("\n" + out.String())
	if err != nil {
		t.Error(err)
	}
}
