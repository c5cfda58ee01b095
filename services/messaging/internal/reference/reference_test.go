package reference

import (
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

// Of drawn references, every character wrong in every way, and every two neighbours swapped.
func TestParse_FindsMistakes(t *testing.T) {
	t.Parallel()
	if base != 31 || scatter%31 == 0 {
		t.Fatalf("base %d and scatter %d mod 31 = %d do not give one reference a number", base, scatter, scatter%31)
	}
	rapid.Check(t, func(t *rapid.T) {
		reference := textOf(rapid.Uint64Range(0, space-1).Draw(t, "number"))
		if got, ok := Parse(reference); !ok || got != reference {
			t.Fatalf("%s is read as %s, %t", reference, got, ok)
		}
		refused := func(wrong string) {
			if got, ok := Parse(wrong); ok {
				t.Errorf("%s for %s is read as %s", wrong, reference, got)
			}
		}
		for at := range len(reference) {
			if reference[at] == '-' {
				continue // which does not count
			}
			for other := rune('!'); other <= 'ſ'; other++ {
				if upper := strings.ToUpper(string(other)); upper != reference[at:at+1] || other > '~' {
					refused(reference[:at] + string(other) + reference[at+1:])
				}
			}
			if next := at + 1; next < len(reference) && reference[next] != '-' && reference[next] != reference[at] {
				refused(reference[:at] + string(reference[next]) + string(reference[at]) + reference[next+1:])
			}
		}
	})
}

func TestParse_Forms(t *testing.T) {
	t.Parallel()
	const want = "MSA-7K3D92QD"
	for _, typed := range []string{
		want, "7K3D92QD", "msa-7k3d92qd", "MSA7K3D92QD", "MSA 7K3D 92QD", " m s a - 7 k 3 d 9 2 q d ", "MSA\u20117K3D\u00ad92QD", "MSA\u00a07K3D\u202f92QD", "msa–7K3D–92QD", "-7K3D-92QD-",
	} {
		if got, ok := Parse(typed); !ok || got != want {
			t.Errorf("%q is read as %q, %t", typed, got, ok)
		}
	}
	for _, typed := range []string{
		"", "MSA", "MSA-", "-", "MSA-7K3D92Q", "MSA-7K3D92QDU", "7K3D92QDU", "7K3D92Q", "MSA-MSA-7K3D92QD", "RSI-7K3D92QD", "MS-7K3D92QD", "MSA_7K3D92QD", "MSA.7K3D92QD",
		"MSA-7K3D92Q0", "MSA-0K3D92QD", "MSA-OK3D92QD", "MSA-1K3D92QD", "MSA-IK3D92QD", "MSA-LK3D92QD", "MſA-7K3D92QD", "MSA-７K3D92QD", "MSA-7\u212a3D92QD", "MSA-7K3D92Q\x00D", "MSA-7K3D92Q\xff", "MSA-é3D92QD",
	} {
		if got, ok := Parse(typed); ok {
			t.Errorf("%q is read as %q", typed, got)
		}
	}
	// A code may begin like the prefix.
	code := "MSA2222"
	for _, check := range alphabet {
		if got, ok := Parse(code + string(check)); ok {
			if again, ok := Parse(got); !ok || again != prefix+code+string(check) {
				t.Errorf("%s is read as %s", got, again)
			}
			return
		}
	}
	t.Error("no check character fits")
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
