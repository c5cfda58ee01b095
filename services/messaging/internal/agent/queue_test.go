package agent

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/page"
)

// A status or queue that is given twice yields each row once, and the page is full.
func TestQueue_GivenTwice(t *testing.T) {
	t.Parallel()
	db := messagingtest.Pool(t)
	for i := range 6 {
		id := messagingtest.Converse(t, db, "jeanne")
		if _, err := db.Exec(t.Context(), `UPDATE conversation SET status = $2 WHERE id = $1`, id, 1+6*(i%2)); err != nil {
			t.Fatal(err)
		}
	}
	twice := []string{"sante", "sante"}
	for _, row := range []struct {
		scope    conversation.Scope
		statuses []int16
		want     int
	}{
		{conversation.Scope{Caisse: "msa-75", AllQueues: true}, []int16{7, 7}, 3},
		{conversation.Scope{Caisse: "msa-75", AllQueues: true}, []int16{1, 1, 7, 1}, 4},
		{conversation.Scope{Caisse: "msa-75", Queues: twice}, nil, 3},
		{conversation.Scope{Caisse: "msa-75", Queues: twice}, []int16{7, 1, 7}, 4},
	} {
		found, err := list(t.Context(), db, row.scope, queueFilter{statuses: row.statuses, limit: 4})
		if err != nil {
			t.Fatal(err)
		}
		ids := make(map[uuid.UUID]bool)
		for _, row := range found {
			ids[row.ID] = true
		}
		if len(found) != row.want || len(ids) != row.want {
			t.Errorf("%v %v: %d conversations, %d of them different, want %d", row.scope, row.statuses, len(found), len(ids), row.want)
		}
	}
}

// However a list is narrowed, its pages have what is wanted, in its order, and nothing else.
func TestWaiting_Narrowed(t *testing.T) {
	t.Parallel()
	db := messagingtest.Pool(t)
	type kind struct {
		queue, theme, topic string
		status              int16
	}
	type kept struct {
		kind
		id uuid.UUID
	}
	var all []kept // oldest first
	for i := range 80 {
		id := messagingtest.Converse(t, db, "jeanne")
		// A topic is of two themes, and a theme in two queues.
		k := kind{fmt.Sprint("queue-", i%3), fmt.Sprint("theme-", i/3%4), fmt.Sprint("topic-", i/2%5), int16(i*7%8 + 1)}
		if k.status == 8 {
			k.status = 1
		}
		if _, err := db.Exec(t.Context(), `UPDATE conversation SET queue = $2, theme = $3, topic = $4, status = $5, created_at = timestamptz '2026-01-01' + interval '1 minute' * $6 WHERE id = $1`,
			id, k.queue, k.theme, k.topic, k.status, i/2); err != nil {
			t.Fatal(err)
		}
		all = append(all, kept{k, id})
		if i%2 == 1 && bytes.Compare(all[i-1].id[:], all[i].id[:]) > 0 {
			all[i-1], all[i] = all[i], all[i-1] // of one minute
		}
	}
	if _, err := db.Exec(t.Context(), `UPDATE conversation SET caisse = 'msa-33' WHERE id = $1`, messagingtest.Converse(t, db, "jeanne")); err != nil {
		t.Fatal(err)
	}
	either := func(wanted, value string) bool { return wanted == "" || wanted == value }
	lists := 0
	for _, sc := range []conversation.Scope{{Caisse: "msa-75", AllQueues: true}, {Caisse: "msa-75", Queues: []string{"queue-0"}}, {Caisse: "msa-75", Queues: []string{"queue-2", "queue-1", "none"}}} {
		for _, queue := range []string{"", "queue-1", "none"} {
			for _, theme := range []string{"", "theme-0", "theme-3", "none"} {
				for _, topic := range []string{"", "topic-2", "none"} {
					for _, statuses := range [][]int16{nil, {6}, {4, 5}, {1, 7}, {1, 2, 3, 4, 5, 6, 7}} {
						f := queueFilter{queue: queue, theme: theme, topic: topic, statuses: statuses, limit: 3}
						wanted := statuses
						if wanted == nil {
							wanted = []int16{1, 2, 3, 6}
						}
						var want, got []uuid.UUID
						for _, c := range all {
							if (sc.AllQueues || slices.Contains(sc.Queues, c.queue)) && either(queue, c.queue) && either(theme, c.theme) && either(topic, c.topic) && slices.Contains(wanted, c.status) {
								want = append(want, c.id)
							}
						}
						for {
							shown, err := list(t.Context(), db, sc, f)
							if err != nil {
								t.Fatal(err)
							}
							if len(shown) == 0 {
								break
							}
							for _, row := range shown {
								got = append(got, row.ID)
							}
							last := shown[len(shown)-1]
							f.after = &page.Key{At: last.CreatedAt, ID: last.ID}
						}
						if lists++; !slices.Equal(got, want) {
							t.Errorf("%+v, %+v: %d conversations, want %d", sc, f, len(got), len(want))
						}
					}
				}
			}
		}
	}
	t.Logf("%d lists", lists)
}

// Only what the index gives in its order is read beside what members write.
func TestQueueFilter_Light(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		filter queueFilter
		light  bool
	}{
		"all queues":      {queueFilter{}, true},
		"one queue":       {queueFilter{queue: "famille"}, true},
		"its second page": {queueFilter{queue: "famille", after: &page.Key{}}, true},
		"a theme of it":   {queueFilter{queue: "famille", theme: "logement"}, false},
		"a topic of it":   {queueFilter{queue: "famille", topic: "aide"}, false},
		"what has ended":  {queueFilter{queue: "famille", statuses: []int16{5}}, true},
		"some that wait":  {queueFilter{queue: "famille", statuses: []int16{5, 6}}, true},
	} {
		if row.filter.light() != row.light {
			t.Errorf("%s: %t", name, !row.light)
		}
	}
}
