package messagingtest

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// Vector is one line of testdata/text.json, which other languages read too.
type Vector struct {
	Name string
	// The text is Prefix, Text as often as Repeat says, and Suffix.
	Prefix, Text, Suffix string
	Repeat               int
	// Least is the fewest characters it is held against, if not a member's.
	Least int
	// Chars and Normalised are what comes of it, or Reason and what goes with it.
	Chars          int
	Normalised     string
	Reason, Actual any
	// Removed is how many characters are taken out.
	Removed int
}

// Input is the text as it is written.
func (v Vector) Input() string {
	return v.Prefix + strings.Repeat(v.Text, max(v.Repeat, 1)) + v.Suffix
}

// Vectors are those of a file.
func Vectors(t *testing.T, path string) []Vector {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var vectors []Vector
	if err := json.Unmarshal(raw, &vectors); err != nil {
		t.Fatal(err)
	}
	return vectors
}
