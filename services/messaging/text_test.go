package messaging

import (
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

// textVector is one line of testdata/text.json, which other languages read too.
type textVector struct {
	Name           string
	Prefix         string
	Text           string
	Repeat         int
	Suffix         string
	Least          int
	Chars          int
	Normalised     string
	Reason, Actual any
	Character      string
}

func (v textVector) input() string {
	return v.Prefix + strings.Repeat(v.Text, max(v.Repeat, 1)) + v.Suffix
}

func (v textVector) least() int {
	if v.Least > 0 {
		return v.Least
	}
	return MinMemberChars
}

func textVectors(t *testing.T) []textVector {
	t.Helper()
	raw, err := os.ReadFile("testdata/text.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []textVector
	if err := json.Unmarshal(raw, &vectors); err != nil {
		t.Fatal(err)
	}
	return vectors
}

func TestNormalise(t *testing.T) {
	t.Parallel()
	for _, v := range textVectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			got, err := normalise(v.input(), v.least(), MaxMemberChars)
			var refusal *rpc.Error
			if errors.As(err, &refusal) != (v.Reason != nil) {
				t.Fatalf("got %v, want reason %v", err, v.Reason)
			}
			if v.Reason != nil {
				if refusal.Reason.String() != v.Reason || refusal.Violations[0].Field != "text" {
					t.Errorf("got %s on %s, want %v on text", refusal.Reason, refusal.Violations[0].Field, v.Reason)
				}
				if actual, ok := v.Actual.(float64); ok && refusal.Metadata["actual"] != strconv.Itoa(int(actual)) {
					t.Errorf("actual %q, want %v", refusal.Metadata["actual"], actual)
				}
				if refusal.Metadata["character"] != v.Character {
					t.Errorf("character %q, want %q", refusal.Metadata["character"], v.Character)
				}
				return
			}
			if got.chars != v.Chars {
				t.Errorf("%d characters, want %d", got.chars, v.Chars)
			}
			if v.Normalised != "" && got.body != v.Normalised {
				t.Errorf("normalised to %q, want %q", got.body, v.Normalised)
			}
		})
	}
}

// PostgreSQL must count what Go stores as Go counts it: the column body_chars
// and its check rest on that.
func TestNormalise_SQLCountsAlike(t *testing.T) {
	t.Parallel()
	pool, err := postgres.Open(t.Context(), testenv.Postgres(t, Migrations))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for _, v := range textVectors(t) {
		got, err := normalise(v.input(), v.least(), MaxMemberChars)
		if err != nil {
			continue
		}
		var chars int
		var nfc bool
		if err := pool.QueryRow(t.Context(), `SELECT char_length($1::text), $1::text IS NFC NORMALIZED`, got.body).Scan(&chars, &nfc); err != nil {
			t.Fatal(err)
		}
		if chars != got.chars || !nfc {
			t.Errorf("%s: PostgreSQL counts %d (NFC %v), Go %d", v.Name, chars, nfc, got.chars)
		}
	}
}

func TestNormalise_NotUTF8(t *testing.T) {
	t.Parallel()
	_, err := normalise("dix caract\xff", MinMemberChars, MaxMemberChars)
	if !errors.Is(err, rpc.Invalid("text", errorpb.ErrorReason_BODY_NOT_UTF8, "")) {
		t.Errorf("got %v", err)
	}
}

func TestNormalise_AnyText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.String().Draw(t, "text")
		first, err := normalise(raw, 1, MaxAgentChars)
		if err != nil {
			return
		}
		again, err := normalise(first.body, 1, MaxAgentChars)
		if err != nil || again != first {
			t.Fatalf("normalising %q twice gives %q, %v", raw, again.body, err)
		}
		if first.chars != utf8.RuneCountInString(first.body) || !norm.NFC.IsNormalString(first.body) || strings.ContainsAny(first.body, "\r\x00\u202e") {
			t.Fatalf("%q became %q with %d characters", raw, first.body, first.chars)
		}
	})
}

func FuzzNormalise(f *testing.F) {
	f.Add("Bonjour,\r\nje n'ai pas reçu mon paiement.")
	f.Add("e\u0301\u202e\x00")
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := normalise(raw, MinMemberChars, MaxMemberChars)
		if err == nil && (got.chars < MinMemberChars || got.chars > MaxMemberChars) {
			t.Errorf("%q was accepted with %d characters", raw, got.chars)
		}
	})
}
