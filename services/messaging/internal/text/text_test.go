package text

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"

	"github.com/ma-messagerie/messagerie/chassis/plain"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/chassis/testenv/corpus"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

// least is the bound that a vector is counted against: a member's unless it says so.
func least(v messagingtest.Vector) int {
	if v.Least > 0 {
		return v.Least
	}
	return OfMember.Min
}

func TestNormalise(t *testing.T) {
	t.Parallel()
	for _, v := range messagingtest.Vectors(t, "../../testdata/text.json") {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			if _, removed := plain.Text(v.Input()); removed != v.Removed {
				t.Errorf("%d characters are taken out, want %d", removed, v.Removed)
			}
			got, err := Limits{least(v), OfMember.Max}.Normalise(v.Input())
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
				return
			}
			if got.Chars != v.Chars {
				t.Errorf("%d characters, want %d", got.Chars, v.Chars)
			}
			if v.Normalised != "" && got.Body != v.Normalised {
				t.Errorf("normalised to %q, want %q", got.Body, v.Normalised)
			}
		})
	}
}

// PostgreSQL must count what Go stores as Go counts it: the column body_chars
// and its check rest on that.
func TestNormalise_SQLCountsAlike(t *testing.T) {
	t.Parallel()
	pool := messagingtest.Pool(t)
	vectors := messagingtest.Vectors(t, "../../testdata/text.json")
	for _, row := range corpus.Rows(t, corpus.Text) {
		vectors = append(vectors, messagingtest.Vector{Name: fmt.Sprintf("corpus.tsv:%d", row.Line), Text: row.Value})
	}
	for _, v := range vectors {
		got, err := Limits{least(v), OfMember.Max}.Normalise(v.Input())
		if err != nil {
			continue
		}
		var chars int
		var nfc bool
		if err := pool.QueryRow(t.Context(), `SELECT char_length($1::text), $1::text IS NFC NORMALIZED`, got.Body).Scan(&chars, &nfc); err != nil {
			t.Fatal(err)
		}
		if chars != got.Chars || !nfc {
			t.Errorf("%s: PostgreSQL counts %d (NFC %v), Go %d", v.Name, chars, nfc, got.Chars)
		}
	}
}

// What somebody is at work on may have too little and anything in it, and no more than what is
// sent: line ends and accents count as one character there, and here.
func TestCheckBegun(t *testing.T) {
	t.Parallel()
	limits := Limits{10, 20}
	for name, row := range map[string]struct {
		raw string
		ok  bool
	}{
		"nothing":           {"", true},
		"too little":        {"a", true},
		"controls":          {"a\x00b\u202e", true},
		"many controls":     {strings.Repeat("a\x00", 20), true},
		"too many":          {strings.Repeat("\x00", 41), false},
		"as many":           {strings.Repeat("é", 20), true},
		"one more":          {strings.Repeat("é", 21), false},
		"lines":             {strings.Repeat("a\r\n", 10), true},
		"decomposed":        {strings.Repeat("e\u0301", 20), true},
		"decomposed, more":  {strings.Repeat("e\u0301", 21), false},
		"white space as it": {strings.Repeat(" ", 21), false},
	} {
		if err := limits.CheckBegun(row.raw); (err == nil) != row.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNormalise_NotUTF8(t *testing.T) {
	t.Parallel()
	_, err := OfMember.Normalise("dix caract\xff")
	if !errors.Is(err, rpc.Invalid("text", errorpb.ErrorReason_BODY_NOT_UTF8, "")) {
		t.Errorf("got %v", err)
	}
}

func TestNormalise_AnyText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.String().Draw(t, "text")
		first, err := OfAgent.Normalise(raw)
		if err != nil {
			return
		}
		again, err := OfAgent.Normalise(first.Body)
		if err != nil || again != first {
			t.Fatalf("normalising %q twice gives %q, %v", raw, again.Body, err)
		}
		if first.Chars != utf8.RuneCountInString(first.Body) || !norm.NFC.IsNormalString(first.Body) || strings.ContainsAny(first.Body, "\r\x00\u202e\u2028\f") {
			t.Fatalf("%q became %q with %d characters", raw, first.Body, first.Chars)
		}
	})
}

func FuzzNormalise(f *testing.F) {
	f.Add("Bonjour,\r\nje n'ai pas reçu mon paiement.")
	f.Add("e\u0301\u202e\x00")
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := OfMember.Normalise(raw)
		if err == nil && (got.Chars < OfMember.Min || got.Chars > OfMember.Max) {
			t.Errorf("%q was accepted with %d characters", raw, got.Chars)
		}
	})
}
