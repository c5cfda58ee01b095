package taxonomy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/taxonomy/taxonomyfile"
)

// goals are what must hold of the questions of each file, which four hands have written: tune.tsv
// and own.tsv were there while the keywords of the default taxonomy were chosen, nothing else was.
var goals = map[string]struct{ right, empty float64 }{
	"tune.tsv":      {right: 0.90, empty: 0.01},
	"own.tsv":       {right: 0.90, empty: 0.01},
	"tune-more.tsv": {right: 0.85, empty: 0.01},
	"held.tsv":      {right: 0.85, empty: 0.01},
	"held-more.tsv": {right: 0.85, empty: 0.01},
}

// question is one that a member might ask, with the choices that answer it.
type question struct {
	audience taxonomypb.Audience
	q        string
	right    []string
}

func readQuestions(t *testing.T, name string) (list []question) {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		columns := strings.Split(line, "\t")
		if len(columns) != 3 {
			t.Fatalf("%s: %q has %d columns", name, line, len(columns))
		}
		audience := taxonomyfile.AudienceOf[strings.ToUpper(columns[0])]
		if audience == 0 {
			t.Fatalf("%s: audience %q", name, columns[0])
		}
		list = append(list, question{audience, columns[1], strings.FieldsFunc(columns[2], func(r rune) bool { return strings.ContainsRune(" ,;|", r) })})
	}
	return list
}

// isRight reports whether what was found is one of the right choices.
func (q question) isRight(found *taxonomypb.FoundReason) bool {
	for _, choice := range q.right {
		codes := strings.Split(choice, "/")
		if codes[0] != found.GetTheme().GetCode() {
			continue
		}
		if len(codes) > 1 && codes[1] != "*" && codes[1] != found.GetTopic().GetCode() {
			continue
		}
		if len(codes) > 2 && codes[2] != "*" && found.GetReason() != nil && codes[2] != found.GetReason().GetCode() {
			continue
		}
		return true
	}
	return false
}

func builtIn(t testing.TB) *catalogue {
	t.Helper()
	f, err := taxonomyfile.Parse("catalogue.yaml", Default)
	if err != nil {
		t.Fatal(err)
	}
	return newCatalogue(f, testTime)
}

// Of everyday questions, most have a right answer among the first three, and hardly one has none
// at all. -v prints those that have not.
func TestQuestions(t *testing.T) {
	t.Parallel()
	c := builtIn(t)
	for name, goal := range goals {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := readQuestions(t, filepath.Join("testdata", "questions", name))
			if len(list) < 100 {
				t.Fatalf("%d questions", len(list))
			}
			first, right, empty := 0, 0, 0
			for _, q := range list {
				resp := c.finder.search(q.audience, q.q)
				if len(resp.GetReasons()) == 0 {
					empty++
				}
				at := -1
				for i, found := range resp.GetReasons() {
					if q.isRight(found) {
						at = i
						break
					}
				}
				if at == 0 {
					first++
				}
				if at >= 0 && at < 3 {
					right++
					continue
				}
				t.Logf("%d %s %q wants %v, finds %s", at+1, q.audience, q.q, q.right, explain(resp, 3))
			}
			share := func(n int) float64 { return float64(n) / float64(len(list)) }
			t.Logf("of %d questions: right first %.1f %%, within three %.1f %%, empty %.1f %%", len(list), 100*share(first), 100*share(right), 100*share(empty))
			if share(right) < goal.right || share(empty) > goal.empty {
				t.Errorf("within three %.3f, wanted %.2f; empty %.3f, at most %.2f", share(right), goal.right, share(empty), goal.empty)
			}
		})
	}
}

// explain writes down the first of what was found, with why.
func explain(resp *taxonomypb.SearchReasonsResponse, most int) string {
	var parts []string
	for _, found := range resp.GetReasons()[:min(most, len(resp.GetReasons()))] {
		part := path(found)
		for _, m := range found.GetMatches() {
			part += " (" + m.GetTyped() + " → " + m.GetFound() + ")"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "; ")
}
