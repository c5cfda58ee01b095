package agent

import (
	"context"
	"encoding/binary"
	"slices"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/report"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/page"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/reports"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/waiting"
)

// ListQueues returns the queues of the current taxonomy. What waits in a queue
// that the taxonomy no longer has is counted nowhere here; ListConversations shows it to
// the agents of all queues.
func (s *Server) ListQueues(ctx context.Context, req *messagingpb.ListQueuesRequest) (*messagingpb.ListQueuesResponse, error) {
	version, from, err := s.queuesFrom(ctx, req)
	if err != nil {
		return nil, err
	}
	sc := conversation.ScopeOf(auth.FromContext(ctx))
	counts, err := report.Read(ctx, s.Reports.Lists, reports.Ask(ctx, "waiting "+sc.Key(), s.Reports.MaxAge/10), func(ctx context.Context) (map[string]int32, error) {
		return waiting.ByQueue(ctx, s.Reports.DB, sc)
	})
	if err != nil {
		return nil, err
	}
	resp := &messagingpb.ListQueuesResponse{}
	shown, more := page.Cut(version.GetQueues()[from:], req.GetPageSize(), maxQueues, func(*taxonomypb.Queue) bool { return true })
	if more {
		resp.NextPageToken = rpc.PageToken(ctx, req, queueKey(version.GetVersion(), from+len(shown)))
	}
	for _, queue := range shown {
		resp.Queues = append(resp.Queues, &messagingpb.AgentQueue{
			Code: queue.GetCode(), Label: queue.GetLabel(), Waiting: counts[queue.GetCode()],
			Mine: sc.AllQueues || slices.Contains(sc.Queues, queue.GetCode()),
		})
	}
	return resp, nil
}

// maxQueues bounds a page.
const maxQueues = 500

// queueKey is a place among the queues of a version, which never changes.
func queueKey(version int32, from int) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(version)), uint32(from)) //nolint:gosec // both are counted from 0
}

// queuesFrom is the version whose queues are listed, and where a page begins.
func (s *Server) queuesFrom(ctx context.Context, req *messagingpb.ListQueuesRequest) (version *taxonomypb.Catalogue, from int, err error) {
	key, err := rpc.PageKey(ctx, req)
	if err != nil {
		return nil, 0, err
	}
	if key == nil {
		version, err = s.Taxonomy.Current(ctx)
		return version, 0, err
	}
	if len(key) != len(queueKey(0, 0)) {
		return nil, 0, rpc.ErrPageToken
	}
	number := int32(binary.BigEndian.Uint32(key)) //nolint:gosec // a version that there is not is refused
	if version = s.Taxonomy.Held(number); version == nil {
		version, err = s.Taxonomy.Kept(ctx, number)
	}
	if err != nil {
		return nil, 0, err
	}
	from = int(binary.BigEndian.Uint32(key[4:]))
	if version == nil || from >= len(version.GetQueues()) {
		return nil, 0, rpc.ErrPageToken
	}
	return version, from, nil
}
