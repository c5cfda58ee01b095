package messaging

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

func TestQueues(t *testing.T) {
	t.Parallel()
	s := running(t)
	list := func(name string, claims map[string]any, family, health, firms int32, mine ...bool) {
		t.Helper()
		agent := s.clerk(t, "claire", claims)
		resp, err := s.agent.ListQueues(agent.call(t), &messagingpb.ListQueuesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		want := []*messagingpb.AgentQueue{
			{Code: "famille", Label: "Service famille v1", Mine: mine[0], Waiting: family},
			{Code: "sante", Label: "Service santé v1", Mine: mine[1], Waiting: health},
			{Code: "entreprises", Label: "Service entreprises v1", Mine: mine[2], Waiting: firms},
		}
		if diff := cmp.Diff(want, resp.GetQueues(), protocmp.Transform()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	list("nothing there", nil, 0, 0, 0, true, true, true)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	closed, answered, inHand, reopened := jeanne.submit(t).GetId(), jeanne.submit(t).GetId(), jeanne.submit(t).GetId(), jeanne.submit(t).GetId()
	jeanne.submit(t)
	jeanne.submit(t, health)
	s.member(t, "nina", map[string]any{"caisse": "msa-44"}).submit(t)
	claire.end(t, closed)
	claire.reply(t, answered, true)
	claire.claim(t, inHand)
	claire.end(t, reopened)
	if _, err := claire.reopen(t, reopened); err != nil {
		t.Fatal(err)
	}
	list("all queues", nil, 3, 1, 0, true, true, true)
	list("one queue", map[string]any{"queues": []string{"sante", "gone"}}, 0, 1, 0, false, true, false)
	list("no queue", map[string]any{"queues": nil}, 0, 0, 0, false, false, false)
	list("another caisse", map[string]any{"caisse": "msa-44"}, 1, 0, 0, true, true, true)
}

// What is asked for twice stands on the page once, and the page is full.
func TestQueue_AskedTwice(t *testing.T) {
	t.Parallel()
	s := &store{messagingtest.Pool(t)}
	for i := range 6 {
		sub := newSubmission("jeanne", uuid.New())
		if _, err := s.insertSubmissions(t.Context(), []*submission{sub}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.pool.Exec(t.Context(), `UPDATE conversation SET status = $2 WHERE id = $1`, sub.conversation.ID, 1+6*(i%2)); err != nil {
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
		list, err := s.waiting(t.Context(), row.scope, queueFilter{statuses: row.statuses, limit: 4})
		if err != nil {
			t.Fatal(err)
		}
		ids := make(map[uuid.UUID]bool)
		for _, found := range list {
			ids[found.ID] = true
		}
		if len(list) != row.want || len(ids) != row.want {
			t.Errorf("%v %v: %d conversations, %d of them different, want %d", row.scope, row.statuses, len(list), len(ids), row.want)
		}
	}
}

// However a list is narrowed, its pages have what is wanted, in its order, and nothing else.
func TestWaiting_Narrowed(t *testing.T) {
	t.Parallel()
	s := &store{messagingtest.Pool(t)}
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
		sub := newSubmission("jeanne", uuid.New())
		if _, err := s.insertSubmissions(t.Context(), []*submission{sub}); err != nil {
			t.Fatal(err)
		}
		// A topic is of two themes, and a theme in two queues.
		k := kind{fmt.Sprint("queue-", i%3), fmt.Sprint("theme-", i/3%4), fmt.Sprint("topic-", i/2%5), int16(i*7%8 + 1)}
		if k.status == 8 {
			k.status = 1
		}
		if _, err := s.pool.Exec(t.Context(), `UPDATE conversation SET queue = $2, theme = $3, topic = $4, status = $5, created_at = timestamptz '2026-01-01' + interval '1 minute' * $6 WHERE id = $1`,
			sub.conversation.ID, k.queue, k.theme, k.topic, k.status, i/2); err != nil {
			t.Fatal(err)
		}
		all = append(all, kept{k, sub.conversation.ID})
		if i%2 == 1 && bytes.Compare(all[i-1].id[:], all[i].id[:]) > 0 {
			all[i-1], all[i] = all[i], all[i-1] // of one minute
		}
	}
	other := newSubmission("jeanne", uuid.New())
	other.conversation.Caisse = "msa-33"
	if _, err := s.insertSubmissions(t.Context(), []*submission{other}); err != nil {
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
							page, err := s.waiting(t.Context(), sc, f)
							if err != nil {
								t.Fatal(err)
							}
							if len(page) == 0 {
								break
							}
							for _, row := range page {
								got = append(got, row.ID)
							}
							last := page[len(page)-1]
							f.after = &pageKey{at: last.CreatedAt, id: last.ID}
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

// The pages of one list are of one version, though the taxonomy changes meanwhile.
func TestQueues_Pages(t *testing.T) {
	t.Parallel()
	s := running(t)
	claire := s.clerk(t, "claire")
	page := func(size int32, token string) (labels []string, next string) {
		t.Helper()
		resp, err := claire.agent.ListQueues(claire.call(t), &messagingpb.ListQueuesRequest{PageSize: size, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, queue := range resp.GetQueues() {
			labels = append(labels, queue.GetLabel())
		}
		return labels, resp.GetNextPageToken()
	}
	first, token := page(2, "")
	s.taxonomy.Current.Store(2)
	s.member(t, "jeanne").submit(t, func(req *messagingpb.SubmitMessageRequest) { req.TaxonomyVersion = 2 })
	second, end := page(2, token)
	want := []string{"Service famille v1", "Service santé v1", "Service entreprises v1"}
	if got := slices.Concat(first, second); !slices.Equal(got, want) || end != "" {
		t.Errorf("%q, then %q", got, end)
	}
	if all, next := page(0, ""); len(all) != 3 || all[0] != "Service famille v2" || next != "" {
		t.Errorf("anew: %q, %q", all, next)
	}
	made := auth.NewContext(t.Context(), &auth.Identity{Subject: "agent:claire"})
	for _, key := range [][]byte{queueKey(1, 3), queueKey(3, 0), queueKey(-1, -1), []byte("x")} {
		token := rpc.PageToken(made, &messagingpb.ListQueuesRequest{}, key)
		_, err := claire.agent.ListQueues(claire.call(t), &messagingpb.ListQueuesRequest{PageToken: token})
		refused(t, err, codes.InvalidArgument, "PAGE_TOKEN_INVALID", "pageToken")
	}
}
