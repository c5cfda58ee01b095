package reference

import (
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

// valid reports whether the check character fits, as whoever takes a
// reference down would.
func valid(reference string) bool {
	code, ok := strings.CutPrefix(reference, prefix)
	if !ok || len(code) != digitCount+1 {
		return false
	}
	digits := make([]uint64, len(code))
	for i, c := range code {
		at := strings.IndexRune(alphabet, c)
		if at < 0 {
			return false
		}
		digits[i] = uint64(at)
	}
	return checkDigit(digits[:digitCount]) == digits[digitCount]
}

func TestReference_FindsMistakes(t *testing.T) {
	t.Parallel()
	if base != 31 || scatter%31 == 0 {
		t.Fatalf("base %d and scatter %d mod 31 = %d do not give one reference a number", base, scatter, scatter%31)
	}
	rapid.Check(t, func(t *rapid.T) {
		reference := textOf(rapid.Uint64Range(0, space-1).Draw(t, "number"))
		if !valid(reference) {
			t.Fatalf("%s does not check", reference)
		}
		at := rapid.IntRange(len(prefix), len(reference)-1).Draw(t, "place")
		other := alphabet[rapid.IntRange(0, len(alphabet)-1).Draw(t, "character")]
		wrong := reference[:at] + string(other) + reference[at+1:]
		if wrong != reference && valid(wrong) {
			t.Errorf("%s for %s is not noticed", wrong, reference)
		}
		if at+1 < len(reference) {
			swapped := reference[:at] + string(reference[at+1]) + string(reference[at]) + reference[at+2:]
			if swapped != reference && valid(swapped) {
				t.Errorf("%s for %s is not noticed", swapped, reference)
			}
		}
	})
}

func TestReference_EachNumberAnother(t *testing.T) {
	t.Parallel()
	seen := make(map[string]uint64)
	for _, start := range []uint64{0, 1 << 20, space - 50_000} {
		for n := start; n < start+50_000; n++ {
			reference := textOf(n)
			if other, ok := seen[reference]; ok {
				t.Fatalf("%d and %d are both %s", other, n, reference)
			}
			seen[reference] = n
		}
	}
}

func TestReferences_TwoProcesses(t *testing.T) {
	t.Parallel()
	pool := messagingtest.Pool(t)
	processes := []*Source{New(pool), New(pool)}
	const each = 4
	const perTaker = BlockSize/2 + 7 // crosses the end of a block
	var mu sync.Mutex
	seen := make(map[string]bool)
	var wg sync.WaitGroup
	for i := range each * len(processes) {
		wg.Go(func() {
			for range perTaker {
				taken, err := processes[i%len(processes)].Take(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				reference := taken.Text
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
