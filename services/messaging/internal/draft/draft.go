// Package draft keeps what members and agents have begun to write, for seven days after the last
// change. Nothing of it is audited, or known to anybody else.
//
// Members have at most 20 drafts. The text is encrypted as messages are (see vault), with the
// member and the id bound to it: it cannot be opened as another draft. One of a further message in
// a conversation has its id, and goes with it.
//
// Agents have one for each conversation that they may see, at most 100: a reply and a note, which
// are encrypted as notes are, by the conversation's key, with the agent and what it is bound to
// them. They go with the conversation, and when it is erased.
//
// Whoever saves one of a conversation holds a lock on that, so that none is stored while it is
// deleted or erased.
package draft

import (
	"context"
	"errors"
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

const (
	// Life is how long a draft is kept after its last change.
	Life = 7 * 24 * time.Hour
	// Most is how many drafts one member has; the oldest makes room, and before it those in which
	// something was chosen and nothing written.
	Most = 20
)

var (
	errUnknown = rpc.Refuse(codes.NotFound, errorpb.ErrorReason_DRAFT_NOT_FOUND, "no such draft; it may have been sent, or be older than seven days")
	errExists  = rpc.Refuse(codes.FailedPrecondition, errorpb.ErrorReason_DRAFT_EXISTS, "there is a draft that If-None-Match rules out; read it")
	errChanged = rpc.Refuse(codes.FailedPrecondition, errorpb.ErrorReason_DRAFT_CHANGED, "the draft is not what If-Match says; read it again")
)

// Drafts are the calls of MessagingService that are about drafts.
type Drafts struct {
	db    *pgxpool.Pool
	vault *vault.Vault
}

// New returns the drafts in a database.
func New(db *pgxpool.Pool, keys *vault.Vault) *Drafts { return &Drafts{db, keys} }

// SaveDraft implements MessagingService. See the .proto.
func (d *Drafts) SaveDraft(ctx context.Context, req *messagingpb.SaveDraftRequest) (*messagingpb.SaveDraftResponse, error) {
	member := auth.FromContext(ctx).Subject
	if err := checkPlace(req); err != nil {
		return nil, err
	}
	id := uuid.MustParse(req.GetId())
	written := draft{
		MemberID: member, ID: id, Audience: int16(req.GetAudience()), //nolint:gosec // an enum of four
		Theme: req.GetTheme(), Topic: req.GetTopic(), Reason: req.GetReason(), TaxonomyVersion: req.GetTaxonomyVersion(),
	}
	if req.GetConversationId() != "" {
		written.ConversationID = &id
	}
	row, err := d.saveSealed(ctx, written, req.GetText())
	if errors.Is(err, vault.ErrErased) { // since it was sealed, by another process
		row, err = d.saveSealed(ctx, written, req.GetText())
	}
	if err != nil {
		return nil, err
	}
	etag.Set(ctx, row.tag())
	return &messagingpb.SaveDraftResponse{Draft: protoOf(&row, req.GetText())}, nil
}

// CheckWhole registers the checks that the calls make themselves, to run also for a request that
// breaks rules of its .proto: the caller gets all faults at once.
func (d *Drafts) CheckWhole(to *rpc.Server) {
	rpc.AlsoCheck(to, func(_ context.Context, req *messagingpb.SaveDraftRequest) []rpc.Violation {
		return rpc.FaultsOf(checkPlace(req))
	})
}

// checkPlace refuses a draft of a further message that has not the id of its conversation: there
// is one for each.
func checkPlace(req *messagingpb.SaveDraftRequest) error {
	within, err := uuid.Parse(req.GetConversationId())
	if err != nil { // none, or none that can be one
		return nil //nolint:nilerr // the field's own rule
	}
	if id, err := uuid.Parse(req.GetId()); err == nil && id != within {
		return rpc.Invalid("conversationId", errorpb.ErrorReason_DRAFT_PLACE_INVALID, "the draft of a further message has the id of its conversation")
	}
	return nil
}

// saveSealed seals a text and stores it with the rest of its draft.
func (d *Drafts) saveSealed(ctx context.Context, written draft, text string) (row draftRow, err error) {
	key, err := d.vault.Of(ctx, written.MemberID)
	if err != nil {
		return row, err
	}
	written.KeyID = key.ID
	if written.Body, err = key.SealDraft(written.ID, text); err != nil {
		return row, err
	}
	return d.save(ctx, etag.IfMatch(ctx), etag.IfNoneMatch(ctx), written, len(written.Body)-len(text))
}

// GetDraft implements MessagingService.
func (d *Drafts) GetDraft(ctx context.Context, req *messagingpb.GetDraftRequest) (*messagingpb.GetDraftResponse, error) {
	row, err := d.one(ctx, auth.FromContext(ctx).Subject, uuid.MustParse(req.GetId()))
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, errUnknown
	}
	if err != nil {
		return nil, err
	}
	draft, err := d.open(ctx, &row)
	if errors.Is(err, vault.ErrErased) {
		return nil, errUnknown
	}
	if err != nil {
		return nil, err
	}
	etag.Set(ctx, row.tag())
	return &messagingpb.GetDraftResponse{Draft: draft}, nil
}

// ListDrafts implements MessagingService.
func (d *Drafts) ListDrafts(ctx context.Context, req *messagingpb.ListDraftsRequest) (*messagingpb.ListDraftsResponse, error) {
	after, err := page.Of(ctx, req)
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	rows, err := list(ctx, d.db, auth.FromContext(ctx).Subject, after, size+1)
	if err != nil {
		return nil, err
	}
	resp := &messagingpb.ListDraftsResponse{}
	if len(rows) > size {
		rows = rows[:size]
		resp.NextPageToken = page.Next(ctx, req, rows[size-1].UpdatedAt, rows[size-1].ID)
	}
	if resp.Drafts, err = d.openAll(ctx, rows); err != nil {
		return nil, err
	}
	for _, draft := range resp.Drafts {
		draft.Excerpt = text.Excerpt(draft.GetText())
	}
	return resp, nil
}

// DeleteDraft implements MessagingService.
func (d *Drafts) DeleteDraft(ctx context.Context, req *messagingpb.DeleteDraftRequest) (*messagingpb.DeleteDraftResponse, error) {
	if err := d.remove(ctx, etag.IfMatch(ctx), auth.FromContext(ctx).Subject, uuid.MustParse(req.GetId())); err != nil {
		return nil, err
	}
	return &messagingpb.DeleteDraftResponse{}, nil
}

// OfMember returns all drafts of a member, read through db.
func (d *Drafts) OfMember(ctx context.Context, db postgres.Querier, member string) ([]*messagingpb.Draft, error) {
	rows, err := list(ctx, db, member, nil, Most)
	if err != nil {
		return nil, err
	}
	return d.openAll(ctx, rows)
}

// openAll opens drafts, except those that were erased since they were read.
func (d *Drafts) openAll(ctx context.Context, rows []draftRow) (drafts []*messagingpb.Draft, err error) {
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

func (d *Drafts) open(ctx context.Context, row *draftRow) (*messagingpb.Draft, error) {
	key, err := d.vault.Key(ctx, row.MemberID, row.KeyID)
	if err != nil {
		return nil, err
	}
	body, err := key.OpenDraft(row.ID, row.Body)
	if err != nil {
		return nil, err
	}
	return protoOf(row, body), nil
}

func protoOf(row *draftRow, body string) *messagingpb.Draft {
	made := &messagingpb.Draft{
		Id: row.ID.String(), Audience: conversation.Audience(row.Audience), Theme: row.Theme, Topic: row.Topic, Reason: row.Reason,
		TaxonomyVersion: row.TaxonomyVersion, Text: body, UpdateTime: timestamppb.New(row.UpdatedAt),
		ExpireTime: timestamppb.New(row.UpdatedAt.Add(Life)), ConversationReference: row.ConversationReference,
	}
	if row.ConversationID != nil {
		made.ConversationId = row.ConversationID.String()
	}
	return made
}

// draft is what a member gives of a row of the table draft.
type draft struct {
	MemberID        string    `db:"member_id"`
	ID              uuid.UUID `db:"id"`
	Audience        int16     `db:"audience"`
	Theme           string    `db:"theme"`
	Topic           string    `db:"topic"`
	Reason          string    `db:"reason"`
	TaxonomyVersion int32     `db:"taxonomy_version"`
	KeyID           uuid.UUID `db:"key_id"`
	Body            []byte    `db:"body"`
	// ConversationID is the one that it is a further message in, and ID; nil for a new one.
	ConversationID *uuid.UUID `db:"conversation_id"`
}

// draftRow is a row of the table draft.
type draftRow struct {
	draft
	UpdatedAt time.Time `db:"updated_at"`
	// ConversationReference is that of the conversation; empty if there is none.
	ConversationReference string `db:"conversation_reference" sql:"coalesce((SELECT reference FROM conversation WHERE conversation.id = draft.conversation_id), '')"`
}

var (
	given   = postgres.RowsOf[draft]()
	columns = postgres.Columns[draftRow]()
)

// tag changes with each change of a draft, and is another of another's.
func (r *draftRow) tag() string { return etag.Hash(r.ID.String(), r.UpdatedAt.UTC().String()) }

var saveSQL = `
	INSERT INTO draft (` + given.Columns() + `) SELECT * FROM ` + given.From("given", 3) + `
	ON CONFLICT (member_id, id) DO UPDATE SET ` + given.Excluded("member_id", "id") + `, updated_at = clock_timestamp()
	WHERE NOT $1 OR draft.updated_at <= now() - $2::interval
	RETURNING ` + columns

// save stores a draft in place of the one with its id, if the conditions If-Match (seen) and
// If-None-Match (unwanted) hold, and deletes the member's oldest drafts beyond Most, those without
// a text first, which are as long as bare. A draft
// past its life counts as absent. [pgx.ErrNoRows]: it is of a conversation that the member does
// not have.
func (d *Drafts) save(ctx context.Context, seen, unwanted *etag.Condition, written draft, bare int) (saved draftRow, err error) {
	alone := unwanted != nil && unwanted.Any
	err = pgx.BeginFunc(ctx, d.db, func(tx pgx.Tx) error {
		if written.ConversationID != nil {
			if err := holdOfMember(ctx, tx, written.MemberID, *written.ConversationID); err != nil {
				return err
			}
		}
		if err := check(seen, unwanted, lock(ctx, tx, written.MemberID, written.ID)); err != nil {
			return err
		}
		saved, err = postgres.One[draftRow](ctx, tx, "storing a draft", saveSQL, given.Args([]draft{written}, alone, Life)...)
		if alone && errors.Is(err, pgx.ErrNoRows) {
			return errExists
		}
		if err != nil {
			return err
		}
		if err := d.vault.CheckErased(ctx, tx, written.KeyID); err != nil {
			return err
		}
		// This one stays; of the others, those with a text, by their length.
		_, err = postgres.Exec(ctx, tx, "deleting the oldest drafts", `DELETE FROM draft WHERE member_id = $1 AND id IN (
			SELECT id FROM draft WHERE member_id = $1 ORDER BY id = $3 DESC, octet_length(body) > $4 DESC, updated_at DESC, id OFFSET $2)`, written.MemberID, Most, written.ID, bare)
		return err
	})
	return saved, err
}

// holdOfMember keeps a conversation of a member's from being deleted or erased until the
// transaction ends; nothing else waits for it. Whoever deletes locks the conversation first too,
// and its drafts then.
func holdOfMember(ctx context.Context, tx pgx.Tx, member string, id uuid.UUID) error {
	_, err := postgres.One[int32](ctx, tx, "holding a conversation", `SELECT 1 FROM conversation WHERE id = $1 AND member_id = $2 FOR KEY SHARE`, id, member)
	return err
}

// check refuses a change of a draft that is not what the caller has seen (If-Match), or is gone,
// and one whose tag If-None-Match names. "*" of that is checked by the statement that inserts:
// there may be no row yet to lock. current returns the tag, which stays until the transaction ends.
func check(seen, unwanted *etag.Condition, current func() (tag string, err error)) error {
	if unwanted != nil && unwanted.Any {
		unwanted = nil
	}
	if seen == nil && unwanted == nil {
		return nil
	}
	tag, err := current()
	there := err == nil
	switch {
	case err != nil && !errors.Is(err, pgx.ErrNoRows):
		return err
	case seen != nil && (!there || !seen.Names(tag)):
		return errChanged
	case unwanted != nil && there && unwanted.Names(tag):
		return errExists
	}
	return nil
}

// lock returns the tag of a draft, which stays as it is until the transaction ends.
func lock(ctx context.Context, tx pgx.Tx, member string, id uuid.UUID) func() (string, error) {
	return func() (string, error) {
		row, err := postgres.One[draftRow](ctx, tx, "locking a draft",
			`SELECT `+columns+` FROM draft WHERE member_id = $1 AND id = $2 AND updated_at > now() - $3::interval FOR UPDATE`, member, id, Life)
		return row.tag(), err
	}
}

func (d *Drafts) one(ctx context.Context, member string, id uuid.UUID) (draftRow, error) {
	return postgres.One[draftRow](ctx, d.db, "reading a draft",
		`SELECT `+columns+` FROM draft WHERE member_id = $1 AND id = $2 AND updated_at > now() - $3::interval`, member, id, Life)
}

// list returns a member's drafts, last changed first.
func list(ctx context.Context, db postgres.Querier, member string, after *page.Key, limit int) ([]draftRow, error) {
	args := pgx.NamedArgs{"member": member, "life": Life, "limit": limit}
	from := ``
	if after != nil {
		from = ` AND (updated_at, id) < (@at, @id)`
		args["at"], args["id"] = after.At, after.ID
	}
	return postgres.Many[draftRow](ctx, db, "listing drafts", `
		SELECT `+columns+` FROM draft WHERE member_id = @member AND updated_at > now() - @life::interval`+from+`
		ORDER BY updated_at DESC, id DESC LIMIT @limit`, args)
}

// remove deletes a draft, if the condition If-Match (seen) holds. It may have been the last that
// its key sealed: of a member with a row, package upkeep finds that out when the row goes; the
// key of one without is noted here, and retires if nothing else of theirs is stored.
func (d *Drafts) remove(ctx context.Context, seen *etag.Condition, member string, id uuid.UUID) error {
	return pgx.BeginFunc(ctx, d.db, func(tx pgx.Tx) error {
		if err := check(seen, nil, lock(ctx, tx, member, id)); err != nil {
			return err
		}
		_, err := postgres.Exec(ctx, tx, "deleting a draft", `
			WITH gone AS (
				DELETE FROM draft WHERE member_id = $1 AND id = $2 RETURNING member_id, key_id
			)
			INSERT INTO unused_key (id, member_id) SELECT key_id, member_id FROM gone
			WHERE key_id <> '00000000-0000-0000-0000-000000000000' AND NOT EXISTS (SELECT FROM member WHERE id = $1)
			ON CONFLICT DO NOTHING`, member, id)
		return err
	})
}

// Forget deletes some of the drafts that nobody has touched for longer, and notes their keys.
func Forget(ctx context.Context, db postgres.Querier, life time.Duration) (int64, error) {
	return postgres.One[int64](ctx, db, "deleting old drafts", `
		WITH gone AS (
			DELETE FROM draft AS d USING (
				SELECT member_id, id FROM draft WHERE updated_at <= now() - $1::interval ORDER BY updated_at LIMIT $2 FOR UPDATE SKIP LOCKED) AS old
			WHERE d.member_id = old.member_id AND d.id = old.id
			RETURNING d.member_id, d.key_id
		), unused AS (
			INSERT INTO unused_key (id, member_id) SELECT key_id, member_id FROM gone WHERE key_id <> '00000000-0000-0000-0000-000000000000' ON CONFLICT DO NOTHING
		)
		SELECT count(*) FROM gone`, life, postgres.ForgetBatch)
}
