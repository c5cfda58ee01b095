package messaging

import (
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
)

// validReference tells whether the check character fits, as whoever takes a
// reference down would.
func validReference(reference string) bool {
	code, ok := strings.CutPrefix(reference, referencePrefix)
	if !ok || len(code) != referenceDigits+1 {
		return false
	}
	digits := make([]uint64, len(code))
	for i, c := range code {
		at := strings.IndexRune(referenceAlphabet, c)
		if at < 0 {
			return false
		}
		digits[i] = uint64(at)
	}
	return checkDigit(digits[:referenceDigits]) == digits[referenceDigits]
}

func TestReference_FindsMistakes(t *testing.T) {
	t.Parallel()
	if referenceBase != 31 || scatter%31 == 0 {
		t.Fatalf("base %d and scatter %d mod 31 = %d do not give one reference a number", referenceBase, scatter, scatter%31)
	}
	rapid.Check(t, func(t *rapid.T) {
		reference := referenceOf(rapid.Uint64Range(0, referenceSpace-1).Draw(t, "number"))
		if !validReference(reference) {
			t.Fatalf("%s does not check", reference)
		}
		at := rapid.IntRange(len(referencePrefix), len(reference)-1).Draw(t, "place")
		other := referenceAlphabet[rapid.IntRange(0, len(referenceAlphabet)-1).Draw(t, "character")]
		wrong := reference[:at] + string(other) + reference[at+1:]
		if wrong != reference && validReference(wrong) {
			t.Errorf("%s for %s is not noticed", wrong, reference)
		}
		if at+1 < len(reference) {
			swapped := reference[:at] + string(reference[at+1]) + string(reference[at]) + reference[at+2:]
			if swapped != reference && validReference(swapped) {
				t.Errorf("%s for %s is not noticed", swapped, reference)
			}
		}
	})
}

func TestReference_EachNumberAnother(t *testing.T) {
	t.Parallel()
	seen := make(map[string]uint64)
	for _, start := range []uint64{0, 1 << 20, referenceSpace - 50_000} {
		for n := start; n < start+50_000; n++ {
			reference := referenceOf(n)
			if other, ok := seen[reference]; ok {
				t.Fatalf("%d and %d are both %s", other, n, reference)
			}
			seen[reference] = n
		}
	}
}

func TestReferences_TwoProcesses(t *testing.T) {
	t.Parallel()
	pool, err := postgres.Open(t.Context(), testenv.Postgres(t, Migrations))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	processes := []*references{{store: &store{pool}}, {store: &store{pool}}}
	const each = 4
	const perTaker = referenceBlock/2 + 7 // crosses the end of a block
	var mu sync.Mutex
	seen := make(map[string]bool)
	var wg sync.WaitGroup
	for i := range each * len(processes) {
		wg.Go(func() {
			for range perTaker {
				taken, err := processes[i%len(processes)].take(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				reference := taken.text
				mu.Lock()
				if seen[reference] {
					t.Errorf("%s was given twice", reference)
				}
				seen[reference] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// The sequence has gone back: by one block, as on a standby that lacked the last of the
// log, or to its beginning, as after logical replication. Every submission is stored all
// the same, and blocks that are in use are passed over at one go.
func TestSubmit_SequenceGoneBack(t *testing.T) {
	t.Parallel()
	for back, setval := range map[string]string{
		"a block":    `SELECT setval('reference_block', last_value - 1) FROM reference_block`,
		"altogether": `SELECT setval('reference_block', 0)`,
	} {
		t.Run(back, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			first := s.start(t)
			jeanne := s.member(t, "jeanne")
			seen := map[string]bool{jeanne.submit(t).GetReference(): true}
			// References of thirty blocks more are in use.
			old := &references{store: &store{s.pool}}
			for range 30 {
				taken, err := old.take(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				old.next = old.end
				seen[taken.text] = true
				id := jeanne.submit(t).GetId()
				if n := s.count(t, `WITH renamed AS (UPDATE conversation SET reference = $2 WHERE id = $1 RETURNING 1) SELECT count(*) FROM renamed`, id, taken.text); n != 1 {
					t.Fatal("no conversation to give a reference to")
				}
			}
			first.stop()
			if _, err := s.pool.Exec(t.Context(), setval); err != nil {
				t.Fatal(err)
			}
			s.start(t)
			for range 3 {
				if got := jeanne.submit(t).GetReference(); seen[got] {
					t.Errorf("%s was given twice", got)
				} else {
					seen[got] = true
				}
			}
		})
	}
}
