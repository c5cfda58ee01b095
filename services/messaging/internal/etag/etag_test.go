package etag

import (
	"testing"

	"google.golang.org/grpc/metadata"
)

func TestCondition(t *testing.T) {
	t.Parallel()
	for given, row := range map[string]struct{ match, noneMatch string }{
		`"a"`:           {"a", "a"},
		`"a", "b"`:      {"a b", "a b"},
		`W/"a"`:         {"", "a"},
		`*`:             {"a b c", "a b c"},
		`"a", *`:        {"a b c", "a b c"},
		`a`:             {"", ""},
		`"`:             {"", ""},
		`  "a"  ,W/"b"`: {"a", "a b"},
	} {
		ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs(ifMatch, given, ifNoneMatch, given))
		for name, c := range map[string]struct {
			condition *Condition
			want      string
		}{ifMatch: {IfMatch(ctx), row.match}, ifNoneMatch: {IfNoneMatch(ctx), row.noneMatch}} {
			got := ""
			for _, tag := range []string{"a", "b", "c"} {
				if c.condition.Names(tag) {
					if got != "" {
						got += " "
					}
					got += tag
				}
			}
			if got != c.want {
				t.Errorf("%s: %s names %q, want %q", name, given, got, c.want)
			}
		}
	}
	if IfMatch(t.Context()) != nil || IfNoneMatch(t.Context()) != nil {
		t.Error("there is a condition without a header")
	}
}

func TestHash(t *testing.T) {
	t.Parallel()
	if Hash("ab", "c") == Hash("a", "bc") || len(Hash()) != 2*tagBytes {
		t.Error(Hash("ab", "c"), Hash("a", "bc"))
	}
}
