package draft

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/etag"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/page"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/text"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
)

// MostOfAgent is how many drafts one agent has; the oldest makes room.
const MostOfAgent = 100

// noteScope is that of AddNote, which a machine needs to begin a note, too.
const noteScope = "notes.write"

var errNoNotes = rpc.Refuse(codes.PermissionDenied, errorpb.ErrorReason_SCOPE_MISSING, "the token does not allow notes: it needs a scope that it does not have", "scope", noteScope)

// AgentDrafts are the calls of AgentService that are about drafts.
type AgentDrafts struct {
	db    *pgxpool.Pool
	vault *vault.Vault
}

// NewOfAgents returns agents' drafts in a database.
func NewOfAgents(db *pgxpool.Pool, keys *vault.Vault) *AgentDrafts { return &AgentDrafts{db, keys} }

// CheckWhole registers the checks that the calls make themselves, to run also for a request that
// breaks rules of its .proto: the caller gets all faults at once.
func (d *AgentDrafts) CheckWhole(to *rpc.Server) {
	rpc.AlsoCheck(to, func(_ context.Context, req *messagingpb.AgentServiceSaveDraftRequest) []rpc.Violation {
		return rpc.FaultsOf(checkTexts(req))
	})
}

// checkTexts refuses what is longer than a reply and a note may be.
func checkTexts(req *messagingpb.AgentServiceSaveDraftRequest) error {
	badNote := text.OfNote.CheckBegun(req.GetNote())
	var refusal *rpc.Error
	if errors.As(badNote, &refusal) {
		badNote = refusal.On("note")
	}
	return rpc.JoinFaults(text.OfAgent.CheckBegun(req.GetText()), badNote)
}

// SaveDraft implements AgentService. See the .proto.
func (d *AgentDrafts) SaveDraft(ctx context.Context, req *messagingpb.AgentServiceSaveDraftRequest) (*messagingpb.AgentServiceSaveDraftResponse, error) {
	id := auth.FromContext(ctx)
	if err := checkTexts(req); err != nil {
		return nil, err
	}
	if req.GetNote() != "" && id.Realm == auth.RealmMachine && !slices.Contains(id.Scopes, noteScope) {
		return nil, errNoNotes
	}
	row, err := d.save(ctx, id, req)
	var needed *vault.NeededError
	if errors.As(err, &needed) { // and not under the conversation's lock
		if _, err = d.vault.Key(ctx, needed.Member, needed.ID); err == nil {
			row, err = d.save(ctx, id, req)
		}
	}
	if err != nil {
		return nil, err
	}
	etag.Set(ctx, row.tag())
	return &messagingpb.AgentServiceSaveDraftResponse{Draft: row.proto(req.GetText(), req.GetNote())}, nil
}

// GetDraft implements AgentService.
func (d *AgentDrafts) GetDraft(ctx context.Context, req *messagingpb.AgentServiceGetDraftRequest) (*messagingpb.AgentServiceGetDraftResponse, error) {
	id, within := auth.FromContext(ctx), uuid.MustParse(req.GetConversationId())
	if _, err := d.visible(ctx, d.db, id, within, ``); err != nil {
		return nil, err
	}
	rows, err := d.list(ctx, id, &within, nil, 1)
	if err != nil {
		return nil, err
	}
	drafts, err := d.openAll(ctx, rows)
	if err != nil {
		return nil, err
	}
	if len(drafts) == 0 {
		return nil, errUnknown
	}
	etag.Set(ctx, rows[0].tag())
	return &messagingpb.AgentServiceGetDraftResponse{Draft: drafts[0]}, nil
}

// ListDrafts implements AgentService.
func (d *AgentDrafts) ListDrafts(ctx context.Context, req *messagingpb.AgentServiceListDraftsRequest) (*messagingpb.AgentServiceListDraftsResponse, error) {
	after, err := page.Of(ctx, req)
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	rows, err := d.list(ctx, auth.FromContext(ctx), nil, after, size+1)
	if err != nil {
		return nil, err
	}
	resp := &messagingpb.AgentServiceListDraftsResponse{}
	if len(rows) > size {
		rows = rows[:size]
		resp.NextPageToken = page.Next(ctx, req, rows[size-1].UpdatedAt, rows[size-1].ConversationID)
	}
	if resp.Drafts, err = d.openAll(ctx, rows); err != nil {
		return nil, err
	}
	return resp, nil
}

// DeleteDraft implements AgentService.
func (d *AgentDrafts) DeleteDraft(ctx context.Context, req *messagingpb.AgentServiceDeleteDraftRequest) (*messagingpb.AgentServiceDeleteDraftResponse, error) {
	if err := d.remove(ctx, etag.IfMatch(ctx), auth.FromContext(ctx).Subject, uuid.MustParse(req.GetConversationId())); err != nil {
		return nil, err
	}
	return &messagingpb.AgentServiceDeleteDraftResponse{}, nil
}

// openAll opens drafts, except those of conversations that were erased since they were read.
func (d *AgentDrafts) openAll(ctx context.Context, rows []placedRow) (drafts []*messagingpb.AgentDraft, err error) {
	members := make([]string, len(rows))
	for i := range rows {
		members[i] = rows[i].MemberID
	}
	if err := d.vault.Load(ctx, members); err != nil {
		return nil, err
	}
	for i := range rows {
		draft, err := d.open(ctx, &rows[i])
		if errors.Is(err, vault.ErrErased) {
			continue
		}
		if err != nil {
			return nil, err
		}
		drafts = append(drafts, draft)
	}
	return drafts, nil
}

func (d *AgentDrafts) open(ctx context.Context, row *placedRow) (*messagingpb.AgentDraft, error) {
	within := conversation.Row{Opened: conversation.Opened{ID: row.ConversationID, MemberID: row.MemberID, KeyID: row.KeyID}, ErasedAt: row.ErasedAt}
	texts, err := conversation.TextsOf(ctx, d.vault, &within)
	if err != nil {
		return nil, err
	}
	reply, err := texts.OpenBegun(vault.BegunReply, row.AgentID, row.Body)
	if err != nil {
		return nil, err
	}
	note, err := texts.OpenBegun(vault.BegunNote, row.AgentID, row.Note)
	if err != nil {
		return nil, err
	}
	return row.proto(reply, note), nil
}

// agentDraft is what an agent gives of a row of the table agent_draft.
type agentDraft struct {
	AgentID        string    `db:"agent_id"`
	ConversationID uuid.UUID `db:"conversation_id"`
	Body           []byte    `db:"body"`
	Note           []byte    `db:"note"`
}

// agentRow is a row of the table agent_draft.
type agentRow struct {
	agentDraft
	UpdatedAt time.Time `db:"updated_at"`
}

// placedRow is a row with what opens it.
type placedRow struct {
	agentRow
	MemberID string     `db:"member_id"`
	KeyID    uuid.UUID  `db:"key_id"`
	ErasedAt *time.Time `db:"erased_at"`
}

var (
	begun         = postgres.RowsOf[agentDraft]()
	agentColumns  = postgres.Columns[agentRow]()
	placedColumns = postgres.Columns[placedRow]()
)

// tag changes with each change of a draft, and is another of another's.
func (r *agentRow) tag() string {
	return etag.Hash(r.AgentID, r.ConversationID.String(), r.UpdatedAt.UTC().String())
}

func (r *agentRow) proto(reply, note string) *messagingpb.AgentDraft {
	return &messagingpb.AgentDraft{ConversationId: r.ConversationID.String(), Text: reply, Note: note, UpdateTime: timestamppb.New(r.UpdatedAt)}
}

var saveAgentSQL = `
	INSERT INTO agent_draft (` + begun.Columns() + `) SELECT * FROM ` + begun.From("given", 3) + `
	ON CONFLICT (agent_id, conversation_id) DO UPDATE SET ` + begun.Excluded("agent_id", "conversation_id") + `, updated_at = clock_timestamp()
	WHERE NOT $1 OR agent_draft.updated_at <= now() - $2::interval
	RETURNING ` + agentColumns

// save seals and stores a draft in place of the one that there is, if the conditions If-Match and
// If-None-Match hold, and deletes the agent's oldest beyond MostOfAgent. Until the transaction
// ends nobody can erase or delete the conversation, and of one agent it is alone: two could
// each store the last that there is room for. A draft past its life counts as absent.
func (d *AgentDrafts) save(ctx context.Context, id *auth.Identity, req *messagingpb.AgentServiceSaveDraftRequest) (saved agentRow, err error) {
	within, seen, unwanted := uuid.MustParse(req.GetConversationId()), etag.IfMatch(ctx), etag.IfNoneMatch(ctx)
	alone := unwanted != nil && unwanted.Any
	err = pgx.BeginFunc(ctx, d.db, func(tx pgx.Tx) error {
		found, err := d.visible(ctx, tx, id, within, ` FOR KEY SHARE`)
		if err != nil {
			return err
		}
		written, err := d.sealed(&found, id.Subject, req)
		if err != nil {
			return err
		}
		if _, err := postgres.Exec(ctx, tx, "waiting for an agent's drafts", `SELECT pg_advisory_xact_lock(hashtextextended('agent_draft ' || $1, 0))`, id.Subject); err != nil {
			return err
		}
		if err := check(seen, unwanted, lockOfAgent(ctx, tx, id.Subject, within)); err != nil {
			return err
		}
		saved, err = postgres.One[agentRow](ctx, tx, "storing an agent's draft", saveAgentSQL, begun.Args([]agentDraft{written}, alone, Life)...)
		if alone && errors.Is(err, pgx.ErrNoRows) {
			return errExists
		}
		if err != nil {
			return err
		}
		_, err = postgres.Exec(ctx, tx, "deleting an agent's oldest drafts", `DELETE FROM agent_draft WHERE agent_id = $1 AND conversation_id IN (
			SELECT conversation_id FROM agent_draft WHERE agent_id = $1 ORDER BY updated_at DESC, conversation_id OFFSET $2)`, id.Subject, MostOfAgent)
		return err
	})
	return saved, err
}

// sealed is a draft as it is stored.
func (d *AgentDrafts) sealed(within *conversation.Row, agent string, req *messagingpb.AgentServiceSaveDraftRequest) (written agentDraft, err error) {
	texts, err := conversation.HeldTextsOf(d.vault, within)
	if err != nil {
		return written, err
	}
	written.AgentID, written.ConversationID = agent, within.ID
	if written.Body, err = texts.SealBegun(vault.BegunReply, agent, req.GetText()); err != nil {
		return written, err
	}
	written.Note, err = texts.SealBegun(vault.BegunNote, agent, req.GetNote())
	return written, err
}

// visible returns a conversation that an agent may see.
func (d *AgentDrafts) visible(ctx context.Context, db postgres.Querier, id *auth.Identity, within uuid.UUID, locking string) (conversation.Row, error) {
	args := conversation.ScopeOf(id).Args()
	args["id"] = within
	return postgres.One[conversation.Row](ctx, db, "reading a conversation",
		`SELECT `+conversation.Columns+` FROM conversation WHERE id = @id AND `+conversation.WithinScope+locking, args)
}

// lockOfAgent returns the tag of a draft, which stays as it is until the transaction ends.
func lockOfAgent(ctx context.Context, tx pgx.Tx, agent string, within uuid.UUID) func() (string, error) {
	return func() (string, error) {
		row, err := postgres.One[agentRow](ctx, tx, "locking an agent's draft",
			`SELECT `+agentColumns+` FROM agent_draft WHERE agent_id = $1 AND conversation_id = $2 AND updated_at > now() - $3::interval FOR UPDATE`, agent, within, Life)
		return row.tag(), err
	}
}

// list returns an agent's drafts in conversations that they may see, last changed first; one: in
// that conversation.
func (d *AgentDrafts) list(ctx context.Context, id *auth.Identity, one *uuid.UUID, after *page.Key, limit int) ([]placedRow, error) {
	args := conversation.ScopeOf(id).Args()
	args["agent"], args["life"], args["limit"] = id.Subject, Life, limit
	which := ``
	if one != nil {
		which = ` AND conversation_id = @one`
		args["one"] = *one
	}
	if after != nil {
		which = ` AND (updated_at, conversation_id) < (@at, @id)`
		args["at"], args["id"] = after.At, after.ID
	}
	return postgres.Many[placedRow](ctx, d.db, "listing an agent's drafts", `
		SELECT `+placedColumns+` FROM (
			SELECT `+agentColumns+` FROM agent_draft WHERE agent_id = @agent AND updated_at > now() - @life::interval`+which+` OFFSET 0 -- the agent's, not all by age
		) AS draft, LATERAL (
			SELECT member_id, key_id, erased_at FROM conversation WHERE id = draft.conversation_id AND `+conversation.WithinScope+` OFFSET 0 -- one by one
		) AS within
		ORDER BY updated_at DESC, conversation_id DESC LIMIT @limit`, args)
}

// remove deletes a draft, if the condition If-Match (seen) holds.
func (d *AgentDrafts) remove(ctx context.Context, seen *etag.Condition, agent string, within uuid.UUID) error {
	return pgx.BeginFunc(ctx, d.db, func(tx pgx.Tx) error {
		if err := check(seen, nil, lockOfAgent(ctx, tx, agent, within)); err != nil {
			return err
		}
		_, err := postgres.Exec(ctx, tx, "deleting an agent's draft", `DELETE FROM agent_draft WHERE agent_id = $1 AND conversation_id = $2`, agent, within)
		return err
	})
}

// ForgetOfAgents deletes some of agents' drafts that nobody has touched for longer. The keys are
// the conversations'.
func ForgetOfAgents(ctx context.Context, db postgres.Querier, life time.Duration) (int64, error) {
	return postgres.Exec(ctx, db, "deleting agents' old drafts", `
		DELETE FROM agent_draft AS d USING (
			SELECT agent_id, conversation_id FROM agent_draft WHERE updated_at <= now() - $1::interval ORDER BY updated_at LIMIT $2 FOR UPDATE SKIP LOCKED) AS old
		WHERE d.agent_id = old.agent_id AND d.conversation_id = old.conversation_id`, life, postgres.ForgetBatch)
}
