package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/report"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/page"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/reports"
)

// ListConversations returns what waits for the fund, the longest waiting first, or what the
// filters and the order say.
func (s *Server) ListConversations(ctx context.Context, req *messagingpb.AgentServiceListConversationsRequest) (*messagingpb.AgentServiceListConversationsResponse, error) {
	id := auth.FromContext(ctx)
	s.see(ctx, id)
	if err := contradiction(req); err != nil {
		return nil, err
	}
	after, err := page.Of(ctx, req)
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	wanted := viewOf(req, id)
	wanted.after, wanted.limit = after, size+1
	rows, err := s.read(ctx, wanted)
	if err != nil {
		return nil, err
	}
	resp := &messagingpb.AgentServiceListConversationsResponse{}
	if len(rows) > size {
		rows = rows[:size]
		resp.NextPageToken = page.Next(ctx, req, wanted.order.at(&rows[size-1].Row), rows[size-1].ID)
	}
	resp.Conversations = s.listed(rows, id)
	return resp, nil
}

// contradiction refuses filters that exclude each other.
func contradiction(req *messagingpb.AgentServiceListConversationsRequest) error {
	if req.GetMine() && req.GetUnassigned() {
		return rpc.Invalid("unassigned", errorpb.ErrorReason_FILTERS_CONTRADICTORY, "what the caller holds is held by somebody")
	}
	return nil
}

// read reads what costs little more than it has like any other row, and the rest among the
// lists. It is shared with nobody: an agent who has just taken a conversation in charge must
// find it so.
func (s *Server) read(ctx context.Context, v view) ([]conversation.Listed, error) {
	if v.light() {
		return list(ctx, s.DB, v)
	}
	return report.Read(ctx, s.Reports.Lists, reports.Alone(ctx), func(ctx context.Context) ([]conversation.Listed, error) {
		return list(ctx, s.Reports.DB, v)
	})
}

// order is that of a list. Of equal times, ids decide.
type order struct {
	// changed: by the last change; otherwise by when a conversation began to wait.
	changed bool
	// newest: the last first.
	newest bool
}

// at is the place of a row in the order.
func (o order) at(row *conversation.Row) time.Time {
	if o.changed {
		return row.UpdatedAt
	}
	return row.WaitsSince
}

// view is what a list has: conversations within a scope that all filters leave, in an order.
// The zero value of a filter leaves all.
type view struct {
	scope                       conversation.Scope
	queue, theme, topic, reason string
	audience                    int16
	statuses                    []int16
	// heldBy is an agent whose claims are wanted; unassigned: what nobody holds.
	heldBy     string
	unassigned bool
	// changedSince: what has changed since, which needs the order of changes.
	changedSince *time.Time
	order        order
	after        *page.Key
	limit        int
}

// viewOf is what a request asks for.
func viewOf(req *messagingpb.AgentServiceListConversationsRequest, id *auth.Identity) view {
	v := view{
		scope: conversation.ScopeOf(id), queue: req.GetQueue(), theme: req.GetTheme(), topic: req.GetTopic(), reason: req.GetReason(),
		audience: int16(req.GetAudience()), unassigned: req.GetUnassigned(), //nolint:gosec // an enum of four
		// The changes since a time are many or few: only their own index gives them in an
		// order without all of them being read.
		order: order{changed: req.GetOrderBy() == "changed" || req.GetChangedSince() != nil, newest: req.GetOrderBy() == "changed" || req.GetOrderBy() == "newest"},
	}
	if req.GetMine() {
		v.heldBy = id.Subject
	}
	if since := req.GetChangedSince(); since != nil {
		at := since.AsTime()
		v.changedSince = &at
	}
	statuses := req.GetStatus()
	switch {
	case len(statuses) > 0:
	case v.order.changed, req.GetMine():
		statuses = lifecycle.Statuses
	default:
		statuses = lifecycle.WaitingStatuses
	}
	for _, status := range statuses {
		v.statuses = append(v.statuses, int16(status)) //nolint:gosec // an enum of eight
	}
	return v
}

// light reports whether a page costs little more than what it has. By theme, topic or reason
// there may be hundreds of kinds of conversation to look into, and of all queues in all statuses
// nearly as many places: an agent who asks for that in a loop must not do so at members'
// expense.
func (v view) light() bool {
	return v.heldBy != "" || v.theme == "" && v.topic == "" && v.reason == "" && (len(v.queues()) == 1 || len(v.statuses) <= len(lifecycle.WaitingStatuses))
}

// queues are those that the list is about, each once; nil: all of the caisse.
func (v view) queues() []string {
	switch {
	case v.queue == "" && v.scope.AllQueues:
		return nil
	case v.queue == "" && len(v.scope.Queues) > 0:
		return slices.Compact(slices.Sorted(slices.Values(v.scope.Queues)))
	case v.queue != "" && (v.scope.AllQueues || slices.Contains(v.scope.Queues, v.queue)):
		return []string{v.queue}
	}
	return []string{} // none of the agent's
}

// narrow returns the conditions of the filters but those on statuses and claims, for a relation
// that has the columns of a kind, and their arguments.
func (v view) narrow() (where []string, args pgx.NamedArgs) {
	args = pgx.NamedArgs{"caisse": v.scope.Caisse, "limit": v.limit, "statuses": slices.Compact(slices.Sorted(slices.Values(v.statuses)))}
	where = []string{`caisse = @caisse`}
	if queues := v.queues(); queues != nil {
		where, args["queues"] = append(where, `queue = ANY (@queues::text[])`), queues
	}
	for column, code := range map[string]string{"theme": v.theme, "topic": v.topic, "reason": v.reason} {
		if code != "" {
			where, args[column] = append(where, column+` = @`+column), code
		}
	}
	slices.Sort(where) // one statement for one combination of filters
	if v.audience != 0 {
		where, args["audience"] = append(where, `audience = @audience::smallint`), v.audience
	}
	return where, args
}

const (
	// waitsSince is when a conversation began to wait, literally as indexes have it.
	waitsSince = `coalesce(waits_since, created_at)`
	// touched is the condition for a conversation to be in the indexes by changes. What is
	// not has changed when it began to wait, and is found by that.
	touched = `(status <> 1 OR updated_at <> ` + waitsSince + `)`
	// The planner takes what is in COALESCE for likely, which it is.
	untouched = `coalesce(updated_at = ` + waitsSince + `, false)`
	// kindNumber is that of a kind, as indexes have it.
	kindNumber = `kind_number(caisse, queue, theme, topic, reason, audience)`
	// unheld is the condition for nobody to hold a claim.
	unheld = `coalesce(claim_expires <= now(), true)`
)

// list returns a page of a view.
//
// The caller's own claims are found by the claim, and sorted: they are as many as one agent
// holds. Everything else is merged from runs, each of which an index gives in the order of
// the list: one for each status of each queue and profile; of these with the theme, where the
// list is narrowed by it; or of each kind of conversation, where it is by topic or reason. Which
// there are, the table conversation_kind says. First those runs are found that begin first, as
// many as the page has rows: others have nothing on it. Then as many rows of each, up to where
// the last of them begins.
func list(ctx context.Context, db postgres.Querier, v view) ([]conversation.Listed, error) {
	if queues := v.queues(); queues != nil && len(queues) == 0 {
		return nil, nil
	}
	sql, args := v.statement()
	return postgres.Many[conversation.Listed](ctx, db, "listing conversations", sql, args)
}

func (v view) statement() (sql string, args pgx.NamedArgs) {
	if v.heldBy != "" {
		return v.claims()
	}
	return v.runs()
}

// sql is the time of the order.
func (o order) sql() string {
	if o.changed {
		return `updated_at`
	}
	return waitsSince
}

// by is the order, by a time.
func (o order) by(at string) string {
	if o.newest {
		return ` ORDER BY ` + at + ` DESC, id DESC`
	}
	return ` ORDER BY ` + at + `, id`
}

// upToHeads bounds the time of rows where there are as many heads as a page has rows: no row behind
// all of them is on it.
func (o order) upToHeads() string {
	if o.newest {
		return ` >= (SELECT CASE WHEN count(*) = @limit THEN min(at) ELSE '-infinity' END FROM head)`
	}
	return ` <= (SELECT CASE WHEN count(*) = @limit THEN max(at) ELSE 'infinity' END FROM head)`
}

// place returns the conditions of a page on rows, by a time that they are in the order of, and
// adds their arguments.
func (v view) place(at string, args pgx.NamedArgs) (where []string) {
	begun := v.after != nil
	switch {
	case begun && v.order.newest:
		where = append(where, `(`+at+`, id) < (@at, @id)`)
	case begun:
		where = append(where, `(`+at+`, id) > (@at, @id)`)
	}
	if begun {
		args["at"], args["id"] = v.after.At, v.after.ID
	}
	// A page that goes on in the order of time is behind it anyway, and PostgreSQL begins at
	// only one of two bounds: with each page it would read more.
	if v.changedSince != nil && (!begun || v.order.newest) {
		where = append(where, at+` >= @since`)
		args["since"] = *v.changedSince
	}
	if v.unassigned {
		where = append(where, unheld)
	}
	return where
}

// claims is the statement that lists what an agent holds.
func (v view) claims() (sql string, args pgx.NamedArgs) {
	where, args := v.narrow()
	where = append(append(where, `status = ANY (@statuses::smallint[])`), v.place(v.order.sql(), args)...)
	args["agent"] = v.heldBy
	return `SELECT ` + conversation.ListedColumns + `
		FROM (SELECT * FROM conversation WHERE claimed_by = @agent AND claim_expires > now() OFFSET 0) AS conversation
		WHERE ` + strings.Join(where, ` AND `) + v.order.by(v.order.sql()) + ` LIMIT @limit`, args
}

// runs is the statement that merges a list.
func (v view) runs() (sql string, args pgx.NamedArgs) {
	filters, args := v.narrow()
	kinds := ` FROM conversation_kind WHERE ` + strings.Join(filters, ` AND `)
	var keys string
	var of []string
	switch {
	case v.topic != "" || v.reason != "":
		keys = `SELECT ` + kindNumber + ` AS number` + kinds
		of = []string{kindNumber + ` = run.number`, `status = run.status`}
	case v.theme != "":
		keys = `SELECT DISTINCT queue, theme, audience` + kinds
		of = []string{`caisse = @caisse`, `queue = run.queue`, `theme = run.theme`, `audience = run.audience`, `status = run.status`}
	default:
		// From each queue and profile to the next: most kinds differ in their reasons only.
		next := func(where string) string {
			return `(SELECT queue, audience` + kinds + where + ` ORDER BY queue, audience LIMIT 1)`
		}
		keys = next(``) + ` UNION ALL SELECT following.* FROM keys, LATERAL ` + next(` AND (queue, audience) > (keys.queue, keys.audience)`) + ` AS following`
		of = []string{`caisse = @caisse`, `queue = run.queue`, `audience = run.audience`, `status = run.status`}
	}
	// rows selects those of a run by a time, in the order of the list.
	rows := func(at string, where ...string) func(bound ...string) string {
		where = slices.Concat(of, where, v.place(at, args))
		return func(bound ...string) string {
			where := slices.Clone(where)
			for _, bound := range bound {
				where = append(where, at+bound)
			}
			return `SELECT ` + at + ` AS at, id FROM conversation WHERE ` + strings.Join(where, ` AND `) + v.order.by(at)
		}
	}
	sources := []func(...string) string{rows(waitsSince)}
	if v.order.changed {
		sources = []func(...string) string{rows(`updated_at`, touched), rows(waitsSince, `run.status = 1`, untouched)}
	}
	var heads, pages []string
	for i, source := range sources {
		heads = append(heads, fmt.Sprintf(`SELECT run.*, %d AS source, found.* FROM run, LATERAL (%s LIMIT 1) AS found`, i, source()))
		pages = append(pages, fmt.Sprintf(`SELECT found.* FROM head AS run, LATERAL (%s LIMIT @limit) AS found WHERE run.source = %d`, source(v.order.upToHeads()), i))
	}
	return `
		WITH RECURSIVE keys AS (
			` + keys + `
		), run AS MATERIALIZED (
			SELECT keys.*, status FROM keys, unnest(@statuses::smallint[]) AS status
		), head AS MATERIALIZED (
			` + strings.Join(heads, ` UNION ALL `) + v.order.by(`at`) + ` LIMIT @limit
		), page AS MATERIALIZED (
			` + strings.Join(pages, ` UNION ALL `) + v.order.by(`at`) + ` LIMIT @limit
		)
		SELECT ` + conversation.ListedColumns + ` FROM conversation WHERE id IN (SELECT id FROM page) AND ` + strings.Join(filters, ` AND `) + v.order.by(v.order.sql()), args
}
