package writing

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// The vectors are those of the service: what is counted here, in the script and in
// the database is the same.
func TestCount(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../../../services/messaging/testdata/text.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Name   string `json:"name"`
		Prefix string `json:"prefix"`
		Text   string `json:"text"`
		Suffix string `json:"suffix"`
		Repeat int    `json:"repeat"`
		// Chars is what an accepted text counts, Actual what a refused one does.
		Chars  *int `json:"chars"`
		Actual *int `json:"actual"`
	}
	if err := json.Unmarshal(content, &vectors); err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, vector := range vectors {
		want := vector.Chars
		if want == nil {
			want = vector.Actual
		}
		if want == nil {
			continue
		}
		compared++
		text := vector.Prefix + strings.Repeat(vector.Text, max(vector.Repeat, 1)) + vector.Suffix
		if got := Count(text); got != *want {
			t.Errorf("%s: %d, want %d", vector.Name, got, *want)
		}
	}
	if compared < 10 {
		t.Errorf("%d vectors were compared", compared)
	}
}
