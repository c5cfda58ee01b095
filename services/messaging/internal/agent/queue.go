package agent

import (
	"context"
	"encoding/binary"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/report"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
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

// ListConversations returns what waits for the fund, oldest first.
func (s *Server) ListConversations(ctx context.Context, req *messagingpb.AgentServiceListConversationsRequest) (*messagingpb.AgentServiceListConversationsResponse, error) {
	id := auth.FromContext(ctx)
	after, err := page.Of(ctx, req)
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	filter := queueFilter{queue: req.GetQueue(), theme: req.GetTheme(), topic: req.GetTopic(), after: after, limit: size + 1}
	for _, status := range req.GetStatuses() {
		filter.statuses = append(filter.statuses, int16(status)) //nolint:gosec // an enum of eight
	}
	rows, err := s.read(ctx, conversation.ScopeOf(id), filter)
	if err != nil {
		return nil, err
	}
	resp := &messagingpb.AgentServiceListConversationsResponse{}
	if len(rows) > size {
		rows = rows[:size]
		resp.NextPageToken = page.Next(ctx, req, rows[size-1].CreatedAt, rows[size-1].ID)
	}
	for i := range rows {
		resp.Conversations = append(resp.Conversations, s.forAgent(&rows[i], id))
	}
	return resp, nil
}

// read reads what an index gives like any other row, and the rest among the lists.
// It is shared with nobody: an agent who has just taken a conversation in charge must
// find it so.
func (s *Server) read(ctx context.Context, sc conversation.Scope, filter queueFilter) ([]conversation.Row, error) {
	if filter.queue == "" && len(sc.Queues) == 1 && !sc.AllQueues {
		filter.queue = sc.Queues[0]
	}
	if filter.light() {
		return list(ctx, s.DB, sc, filter)
	}
	return report.Read(ctx, s.Reports.Lists, reports.Alone(ctx), func(ctx context.Context) ([]conversation.Row, error) {
		return list(ctx, s.Reports.DB, sc, filter)
	})
}

// queueFilter narrows what waits.
type queueFilter struct {
	queue, theme, topic string
	statuses            []int16
	after               *page.Key
	limit               int
}

// light reports whether a page costs little more than what it has. Of a theme or topic, the
// kinds of conversation that a caisse has are looked up first: an agent who asks for it in a
// loop must not do so at members' expense.
func (f queueFilter) light() bool { return f.theme == "" && f.topic == "" && len(f.statuses) <= 4 }

// kindsOfCaisse are the queues, themes and topics of which a caisse has conversations, found
// by going from each to the next in the index conversation_topic.
const kindsOfCaisse = `RECURSIVE kind AS (
	(SELECT queue, theme, topic FROM conversation WHERE caisse = @caisse ORDER BY queue, theme, topic LIMIT 1)
	UNION ALL
	SELECT next.* FROM kind, LATERAL (
		SELECT queue, theme, topic FROM conversation WHERE caisse = @caisse AND (queue, theme, topic) > (kind.queue, kind.theme, kind.topic)
		ORDER BY queue, theme, topic LIMIT 1) AS next
)`

// list returns conversations within an agent's scope, oldest first: what waits for an
// agent unless the filter says otherwise.
//
// An index gives those of each status, and of each queue or topic where the list is narrowed
// by one, in the order of the list; as many of each as the page has are merged.
func list(ctx context.Context, db postgres.Querier, sc conversation.Scope, f queueFilter) ([]conversation.Row, error) {
	// Each once, or their rows would be on the page twice.
	statuses := slices.Compact(slices.Sorted(slices.Values(f.statuses)))
	if len(statuses) == 0 {
		for _, status := range lifecycle.WaitingStatuses {
			statuses = append(statuses, int16(status)) //nolint:gosec // an enum of eight
		}
	}
	args := pgx.NamedArgs{"caisse": sc.Caisse, "statuses": statuses, "limit": f.limit}
	with, from, where := ``, `unnest(@statuses::smallint[]) AS of_status`, `caisse = @caisse AND status = of_status`
	queues := slices.Compact(slices.Sorted(slices.Values(sc.Queues)))
	if f.queue != "" {
		if !sc.AllQueues && !slices.Contains(queues, f.queue) {
			return nil, nil
		}
		queues = []string{f.queue}
	}
	someQueues := !sc.AllQueues || f.queue != ""
	switch {
	case f.theme != "" || f.topic != "":
		with = kindsOfCaisse + `, `
		from += `, (SELECT * FROM kind WHERE (@someQueues IS FALSE OR queue = ANY (@queues)) AND theme = COALESCE(NULLIF(@theme, ''), theme) AND topic = COALESCE(NULLIF(@topic, ''), topic)) AS of`
		where += ` AND queue = of.queue AND theme = of.theme AND topic = of.topic`
		args["someQueues"], args["queues"], args["theme"], args["topic"] = someQueues, queues, f.theme, f.topic
	case someQueues:
		from += `, unnest(@queues::text[]) AS of_queue`
		where += ` AND queue = of_queue`
		args["queues"] = queues
	}
	if f.after != nil {
		where += ` AND (created_at, id) > (@at, @id)`
		args["at"], args["id"] = f.after.At, f.after.ID
	}
	return postgres.Many[conversation.Row](ctx, db, "listing the queue", `
		WITH `+with+`page AS MATERIALIZED (
			SELECT page.* FROM `+from+`, LATERAL (
				SELECT created_at, id FROM conversation WHERE `+where+` ORDER BY created_at, id LIMIT @limit) AS page
			ORDER BY created_at, id LIMIT @limit)
		SELECT `+conversation.Columns+` FROM conversation WHERE id IN (SELECT id FROM page) ORDER BY created_at, id`, args)
}
