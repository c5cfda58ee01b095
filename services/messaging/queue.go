package messaging

import (
	"context"
	"slices"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/report"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// ListQueues returns the queues of the current taxonomy. What waits in a queue
// that the taxonomy no longer has is counted nowhere here; ListConversations shows it to
// the agents of all queues.
func (s *agentServer) ListQueues(ctx context.Context, _ *messagingpb.ListQueuesRequest) (*messagingpb.ListQueuesResponse, error) {
	version, err := s.catalogue.now(ctx)
	if err != nil {
		return nil, err
	}
	sc := scopeOf(auth.FromContext(ctx))
	waiting, err := report.Read(ctx, s.reports.lists, ask(ctx, "waiting "+sc.key(), s.reports.maxAge/10), func(ctx context.Context) (map[string]int32, error) {
		return s.reports.store.waitingByQueue(ctx, sc)
	})
	if err != nil {
		return nil, statusOf(err)
	}
	resp := &messagingpb.ListQueuesResponse{}
	for _, queue := range version.GetQueues() {
		resp.Queues = append(resp.Queues, &messagingpb.AgentQueue{
			Code: queue.GetCode(), Label: queue.GetLabel(), Waiting: waiting[queue.GetCode()],
			Mine: sc.allQueues || slices.Contains(sc.queues, queue.GetCode()),
		})
	}
	return resp, nil
}
