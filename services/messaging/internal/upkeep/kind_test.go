package upkeep

import (
	"slices"
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

// themes are those of the kinds that there are; a mark is shown.
func themes(t *testing.T, u *Upkeep) []string {
	t.Helper()
	list, err := postgres.Many[string](t.Context(), u.DB, "listing kinds",
		`SELECT theme || CASE WHEN unused_since IS NULL THEN '' ELSE ' unused' END FROM conversation_kind ORDER BY theme`)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func (u *Upkeep) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := u.DB.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// Kinds from before the triggers are found, once.
func TestFillKinds(t *testing.T) {
	t.Parallel()
	u := &Upkeep{DB: messagingtest.Pool(t)}
	for i, theme := range []string{"sante", "famille", "retraite", "sante", "famille", "emploi"} {
		id := messagingtest.Converse(t, u.DB, "jeanne")
		u.exec(t, `UPDATE conversation SET theme = $2, audience = $3 WHERE id = $1`, id, theme, 1+i%2)
	}
	u.exec(t, `TRUNCATE conversation_kind`)
	if err := u.FillKinds(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{"emploi", "famille", "famille", "retraite", "sante", "sante"}
	if got := themes(t, u); !slices.Equal(got, want[:len(got)]) || len(got) != 5 && len(got) != 6 {
		t.Errorf("%q", got)
	}
	n, err := postgres.One[int](t.Context(), u.DB, "counting", `SELECT count(*)::integer FROM (SELECT DISTINCT caisse, queue, theme, topic, reason, audience FROM conversation EXCEPT SELECT caisse, queue, theme, topic, reason, audience FROM conversation_kind) AS lacking`)
	if err != nil || n != 0 {
		t.Errorf("%d are lacking, %v", n, err)
	}
	u.exec(t, `TRUNCATE conversation_kind`)
	if err := u.FillKinds(t.Context()); err != nil || len(themes(t, u)) != 0 {
		t.Errorf("again: %q, %v", themes(t, u), err)
	}
}

// A kind that no conversation has is marked, and deleted a term later; a conversation that has
// it takes the mark away.
func TestForgetKinds(t *testing.T) {
	t.Parallel()
	u := &Upkeep{DB: messagingtest.Pool(t)}
	forget := func(want int64) {
		t.Helper()
		if n, err := u.forgetKinds(t.Context(), time.Hour); err != nil || n != want {
			t.Errorf("%d forgotten, %v, want %d", n, err, want)
		}
	}
	u.exec(t, `INSERT INTO conversation_kind (caisse, queue, theme, topic, reason, audience) VALUES ('msa-75', 'sante', 'gone', '', '', 1), ('msa-75', 'sante', 'sante', '', '', 1)`)
	forget(0)
	if got := themes(t, u); !slices.Equal(got, []string{"gone unused", "sante unused"}) {
		t.Errorf("marked: %q", got)
	}
	id := messagingtest.Converse(t, u.DB, "jeanne") // about health
	forget(0)
	if got := themes(t, u); !slices.Equal(got, []string{"gone unused", "sante"}) {
		t.Errorf("with a conversation: %q", got)
	}
	u.exec(t, `UPDATE conversation_kind SET unused_since = now() - interval '2 hours'`)
	forget(1)
	if got := themes(t, u); !slices.Equal(got, []string{"sante unused"}) {
		t.Errorf("a term later: %q", got) // what a conversation has stays, marked or not
	}
	u.exec(t, `UPDATE conversation SET theme = 'retraite' WHERE id = $1`, id)
	u.exec(t, `UPDATE conversation SET theme = 'sante' WHERE id = $1`, id)
	if got := themes(t, u); !slices.Equal(got, []string{"retraite", "sante"}) {
		t.Errorf("given back: %q", got)
	}
}
