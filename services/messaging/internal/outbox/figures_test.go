package outbox

import (
	"testing"
	"time"

	"github.com/google/uuid"

	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/uuidv7"
)

// The age of the oldest event, by which operators are alerted, is that of the older of the
// two tables in which events wait. What is set aside has a count of its own, and no age.
func TestFigures_Oldest(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		outbox, refused, aside time.Duration // ages; 0: none
		want                   Figures
	}{
		"none":                    {0, 0, 0, Figures{}},
		"in the outbox":           {time.Hour, 0, 0, Figures{Waiting: 1, Oldest: 3600}},
		"refused":                 {0, time.Hour, 0, Figures{Waiting: 1, Oldest: 3600}},
		"older in the outbox":     {2 * time.Hour, time.Hour, 0, Figures{Waiting: 2, Oldest: 7200}},
		"older among the refused": {time.Hour, 2 * time.Hour, 0, Figures{Waiting: 2, Oldest: 7200}},
		"set aside":               {time.Hour, 0, 2 * time.Hour, Figures{Waiting: 1, Oldest: 3600, SetAside: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := New(messagingtest.Pool(t))
			insert := func(age time.Duration, sql string) {
				t.Helper()
				if age == 0 {
					return
				}
				if _, err := s.pool.Exec(t.Context(), sql, uuidv7.First(time.Now().Add(-age)), eventspb.TypeMessageSubmitted, age); err != nil {
					t.Fatal(err)
				}
			}
			insert(row.outbox, `INSERT INTO outbox (id, type, caisse, conversation_id, payload, created_at) VALUES ($1, $2, 'msa-75', $1, '', now() - $3::interval)`)
			const refusedSQL = `INSERT INTO outbox_refused (id, type, caisse, conversation_id, payload, trace, created_at, reason, set_aside_at)
				VALUES ($1, $2, 'msa-33', $1, '', '', now() - $3::interval, 'denied', `
			insert(row.refused, refusedSQL+`NULL)`)
			insert(row.aside, refusedSQL+`now())`)
			got, err := s.Figures(t.Context(), uuid.Nil)
			if err != nil {
				t.Fatal(err)
			}
			if late := got.Oldest - row.want.Oldest; late < 0 || late > 60 {
				t.Errorf("the oldest is %f s old, want %f", got.Oldest, row.want.Oldest)
			}
			if got.Oldest = row.want.Oldest; got != row.want {
				t.Errorf("%+v, want %+v", got, row.want)
			}
		})
	}
}
