package agent

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/page"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/reading"
)

// ListAuditEntries returns who of the caller's caisse did what, the last first, in all its
// queues. Entries of binaries from before the audit knew the caisse are found by their
// conversation alone, through its own caisse.
func (s *Server) ListAuditEntries(ctx context.Context, req *messagingpb.ListAuditEntriesRequest) (*messagingpb.ListAuditEntriesResponse, error) {
	if err := checkPeriod(req); err != nil {
		return nil, err
	}
	before, err := page.Of(ctx, req)
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	filter := auditFilter{caisse: auth.FromContext(ctx).Caisse, agent: req.GetAgentId(), before: before, limit: size + 1}
	if req.GetConversationId() != "" {
		id := uuid.MustParse(req.GetConversationId())
		filter.conversation = &id
	}
	if req.GetSince() != nil {
		since := req.GetSince().AsTime()
		filter.since = &since
	}
	if req.GetUntil() != nil {
		until := req.GetUntil().AsTime()
		filter.until = &until
	}
	entries, err := auditEntries(ctx, s.DB, filter)
	if err != nil {
		return nil, err
	}
	resp := &messagingpb.ListAuditEntriesResponse{}
	if len(entries) > size {
		entries = entries[:size]
		resp.NextPageToken = page.Next(ctx, req, entries[size-1].At, placeOf(entries[size-1].Seq))
	}
	for i := range entries {
		resp.Entries = append(resp.Entries, entries[i].proto())
	}
	readers, err := reading.Unusual(ctx, s.DB, filter.caisse)
	if err != nil {
		return nil, err
	}
	for _, reader := range readers {
		resp.UnusualReaders = append(resp.UnusualReaders, &messagingpb.UnusualReader{
			AgentId: reader.AgentID, Agent: reader.AgentName, Readings: reader.Readings, Usual: reader.Usual,
		})
	}
	return resp, nil
}

// checkPeriod checks that a period has a time in it.
func checkPeriod(req *messagingpb.ListAuditEntriesRequest) error {
	if req.GetSince() == nil || req.GetUntil() == nil || req.GetSince().AsTime().Before(req.GetUntil().AsTime()) {
		return nil
	}
	return rpc.Invalid("until", errorpb.ErrorReason_FILTERS_CONTRADICTORY, "must be after since")
}

// auditEntry is a row of the audit.
type auditEntry struct {
	conversation.Audited
	At  time.Time `db:"at"`
	Seq int64     `db:"seq"`
}

var auditEntryColumns = postgres.Columns[auditEntry]()

func (e *auditEntry) proto() *messagingpb.AuditEntry {
	entry := &messagingpb.AuditEntry{
		Time: timestamppb.New(e.At), Action: lifecycle.Told(e.Action), AgentId: e.AgentID, Agent: e.AgentName, Client: e.Client,
		Service: e.Service, Target: e.Target,
	}
	if e.ConversationID != uuid.Nil {
		entry.ConversationId = e.ConversationID.String()
	}
	return entry
}

// placeOf is the number of an entry as page tokens have it, and numberOf the way back.
func placeOf(seq int64) (place uuid.UUID) {
	binary.BigEndian.PutUint64(place[8:], uint64(seq)) //nolint:gosec // counted from 1
	return place
}

func numberOf(place uuid.UUID) int64 {
	return int64(binary.BigEndian.Uint64(place[8:])) //nolint:gosec // of a token that somebody made up it is any number
}

// auditFilter narrows the audit of a caisse.
type auditFilter struct {
	caisse string
	// conversation and agent are nil and empty for all.
	conversation *uuid.UUID
	agent        string
	// since is the first time, and until the first that is too late.
	since, until *time.Time
	before       *page.Key
	limit        int
}

// auditEntries returns entries of a caisse, the last first.
//
// An index has them in this order: audit_of_caisse, audit_of_agent for one agent's, and
// audit_of_conversation for one conversation's, of which those of others than the agent are
// read and left out. Whose a conversation is, it says itself, or, once it was deleted, its
// last entry; of another caisse's, no entry is read.
func auditEntries(ctx context.Context, db postgres.Querier, f auditFilter) ([]auditEntry, error) {
	args := pgx.NamedArgs{"caisse": f.caisse, "limit": f.limit}
	where := `caisse = @caisse`
	if f.conversation != nil {
		if *f.conversation == uuid.Nil { // searches that found nothing
			return nil, nil
		}
		where = `conversation_id = @conversation AND caisse IN (@caisse, '') AND (SELECT coalesce(
			(SELECT caisse FROM conversation WHERE id = @conversation),
			(SELECT caisse FROM audit WHERE conversation_id = @conversation ORDER BY at DESC LIMIT 1)) = @caisse)`
		args["conversation"] = *f.conversation
	}
	if f.agent != "" {
		where += ` AND agent_id = @agent`
		args["agent"] = f.agent
	}
	if f.since != nil {
		where += ` AND at >= @since`
		args["since"] = *f.since
	}
	if f.until != nil {
		where += ` AND at < @until`
		args["until"] = *f.until
	}
	if f.before != nil {
		where += ` AND (at, seq) < (@at, @seq)`
		args["at"], args["seq"] = f.before.At, numberOf(f.before.ID)
	}
	return postgres.Many[auditEntry](ctx, db, "listing the audit",
		`SELECT `+auditEntryColumns+` FROM audit WHERE `+where+` ORDER BY at DESC, seq DESC LIMIT @limit`, args)
}
