package messaging

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
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
	for _, key := range [][]byte{queueKey(1, 3), queueKey(3, 0), queueKey(math.MaxUint32, math.MaxUint32), []byte("x")} {
		token := rpc.PageToken(made, &messagingpb.ListQueuesRequest{}, key)
		_, err := claire.agent.ListQueues(claire.call(t), &messagingpb.ListQueuesRequest{PageToken: token})
		refused(t, err, codes.InvalidArgument, "PAGE_TOKEN_INVALID", "pageToken")
	}
}

// queueKey is a place among the queues of a version.
func queueKey(version, from uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, version), from)
}
