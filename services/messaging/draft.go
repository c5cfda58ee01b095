package messaging

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
)

const (
	// draftLife is how long a draft is kept after its last change.
	draftLife = 7 * 24 * time.Hour
	// draftsMost is how many drafts one member has; the oldest makes room.
	draftsMost = 20
)

// SaveDraft implements MessagingService. See the .proto.
func (s *server) SaveDraft(ctx context.Context, req *messagingpb.SaveDraftRequest) (*messagingpb.SaveDraftResponse, error) {
	member := auth.FromContext(ctx).Subject
	id := uuid.MustParse(req.GetId())
	sealed, err := s.vault.SealDraft(member, id, req.GetText())
	if err != nil {
		return nil, err
	}
	row, err := s.store.saveDraft(ctx, preconditionOf(ctx, ifMatch), preconditionOf(ctx, ifNoneMatch), draftRow{
		MemberID: member, ID: id, Audience: int16(req.GetAudience()), //nolint:gosec // an enum of four
		Theme: req.GetTheme(), Topic: req.GetTopic(), Reason: req.GetReason(), TaxonomyVersion: req.GetTaxonomyVersion(), Body: sealed,
	})
	if err != nil {
		return nil, statusOf(err)
	}
	setTag(ctx, draftTag(&row))
	return &messagingpb.SaveDraftResponse{Draft: draftOf(&row, req.GetText())}, nil
}

// GetDraft implements MessagingService.
func (s *server) GetDraft(ctx context.Context, req *messagingpb.GetDraftRequest) (*messagingpb.GetDraftResponse, error) {
	row, err := s.store.draft(ctx, auth.FromContext(ctx).Subject, uuid.MustParse(req.GetId()))
	if errors.Is(err, errNotFound) {
		return nil, errDraftUnknown
	}
	if err != nil {
		return nil, statusOf(err)
	}
	draft, err := s.openDraft(&row)
	if err != nil {
		return nil, err
	}
	setTag(ctx, draftTag(&row))
	return &messagingpb.GetDraftResponse{Draft: draft}, nil
}

// ListDrafts implements MessagingService.
func (s *server) ListDrafts(ctx context.Context, req *messagingpb.ListDraftsRequest) (*messagingpb.ListDraftsResponse, error) {
	after, err := pageOf(ctx, req)
	if err != nil {
		return nil, err
	}
	size := pageSize(req.GetPageSize())
	rows, err := s.store.drafts(ctx, auth.FromContext(ctx).Subject, after, size+1)
	if err != nil {
		return nil, statusOf(err)
	}
	resp := &messagingpb.ListDraftsResponse{}
	if len(rows) > size {
		rows = rows[:size]
		resp.NextPageToken = nextPage(ctx, req, rows[size-1].UpdatedAt, rows[size-1].ID)
	}
	if resp.Drafts, err = s.openDrafts(rows); err != nil {
		return nil, err
	}
	return resp, nil
}

// DeleteDraft implements MessagingService.
func (s *server) DeleteDraft(ctx context.Context, req *messagingpb.DeleteDraftRequest) (*messagingpb.DeleteDraftResponse, error) {
	if err := s.store.deleteDraft(ctx, preconditionOf(ctx, ifMatch), auth.FromContext(ctx).Subject, uuid.MustParse(req.GetId())); err != nil {
		return nil, statusOf(err)
	}
	return &messagingpb.DeleteDraftResponse{}, nil
}

// draftsOf returns all drafts of a member.
func (s *server) draftsOf(ctx context.Context, member string) ([]*messagingpb.Draft, error) {
	rows, err := s.store.drafts(ctx, member, nil, draftsMost)
	if err != nil {
		return nil, err
	}
	return s.openDrafts(rows)
}

func (s *server) openDrafts(rows []draftRow) (drafts []*messagingpb.Draft, err error) {
	for i := range rows {
		draft, err := s.openDraft(&rows[i])
		if err != nil {
			return nil, err
		}
		drafts = append(drafts, draft)
	}
	return drafts, nil
}

func (s *server) openDraft(row *draftRow) (*messagingpb.Draft, error) {
	body, err := s.vault.OpenDraft(row.MemberID, row.ID, row.Body)
	if err != nil {
		return nil, err
	}
	return draftOf(row, body), nil
}

func draftOf(row *draftRow, body string) *messagingpb.Draft {
	return &messagingpb.Draft{
		Id: row.ID.String(), Audience: conversation.Audience(row.Audience), Theme: row.Theme, Topic: row.Topic, Reason: row.Reason,
		TaxonomyVersion: row.TaxonomyVersion, Text: body, UpdateTime: timestamppb.New(row.UpdatedAt),
	}
}

// draftRow is a row of the table draft.
type draftRow struct {
	MemberID        string    `db:"member_id"`
	ID              uuid.UUID `db:"id"`
	Audience        int16     `db:"audience"`
	Theme           string    `db:"theme"`
	Topic           string    `db:"topic"`
	Reason          string    `db:"reason"`
	TaxonomyVersion int32     `db:"taxonomy_version"`
	Body            []byte    `db:"body"`
	UpdatedAt       time.Time `db:"updated_at"`
}

var draftColumns = postgres.Columns[draftRow]()

// saveDraft stores a draft in place of what is under its id, if that is what the caller has
// seen and none that they rule out, and lets the oldest of the member's go that are beyond
// draftsMost. One that has lapsed is none.
func (s *store) saveDraft(ctx context.Context, seen, unwanted *precondition, d draftRow) (saved draftRow, err error) {
	alone := unwanted != nil && unwanted.any
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if err := seen.hold(ctx, tx, d.MemberID, d.ID); err != nil {
			return err
		}
		if err := unwanted.avoid(ctx, tx, d.MemberID, d.ID); err != nil {
			return err
		}
		saved, err = postgres.One[draftRow](ctx, tx, "reading a draft", `
			INSERT INTO draft (member_id, id, audience, theme, topic, reason, taxonomy_version, body)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
			ON CONFLICT (member_id, id) DO UPDATE SET audience = excluded.audience, theme = excluded.theme, topic = excluded.topic,
				reason = excluded.reason, taxonomy_version = excluded.taxonomy_version, body = excluded.body, updated_at = clock_timestamp()
			WHERE NOT $9 OR draft.updated_at <= now() - $10::interval
			RETURNING `+draftColumns, d.MemberID, d.ID, d.Audience, d.Theme, d.Topic, d.Reason, d.TaxonomyVersion, d.Body, alone, draftLife)
		if alone && errors.Is(err, errNotFound) {
			return errDraftExists
		}
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM draft WHERE member_id = $1 AND id IN (
			SELECT id FROM draft WHERE member_id = $1 ORDER BY updated_at DESC, id OFFSET $2)`, d.MemberID, draftsMost)
		return err
	})
	if err != nil {
		return saved, fmt.Errorf("storing a draft: %w", err)
	}
	return saved, nil
}

func (s *store) draft(ctx context.Context, member string, id uuid.UUID) (draftRow, error) {
	return postgres.One[draftRow](ctx, s.pool, "reading a draft", `SELECT `+draftColumns+` FROM draft WHERE member_id = $1 AND id = $2 AND updated_at > now() - $3::interval`,
		member, id, draftLife)
}

// drafts returns a member's drafts, last changed first.
func (s *store) drafts(ctx context.Context, member string, after *pageKey, limit int) ([]draftRow, error) {
	args := pgx.NamedArgs{"member": member, "life": draftLife, "limit": limit}
	from := ``
	if after != nil {
		from = ` AND (updated_at, id) < (@at, @id)`
		args["at"], args["id"] = after.at, after.id
	}
	return postgres.Many[draftRow](ctx, s.pool, "listing drafts", `
		SELECT `+draftColumns+` FROM draft WHERE member_id = @member AND updated_at > now() - @life::interval`+from+`
		ORDER BY updated_at DESC, id DESC LIMIT @limit`, args)
}

func (s *store) deleteDraft(ctx context.Context, seen *precondition, member string, id uuid.UUID) error {
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if err := seen.hold(ctx, tx, member, id); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `DELETE FROM draft WHERE member_id = $1 AND id = $2`, member, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("deleting a draft: %w", err)
	}
	return nil
}

// forgetDrafts deletes some of the drafts that nobody has touched for longer.
func (s *store) forgetDrafts(ctx context.Context, life time.Duration) (int64, error) {
	tag, err := s.pool.Exec(ctx, `DELETE FROM draft AS d USING (
		SELECT member_id, id FROM draft WHERE updated_at <= now() - $1::interval ORDER BY updated_at LIMIT $2 FOR UPDATE SKIP LOCKED) AS old
		WHERE d.member_id = old.member_id AND d.id = old.id`, life, postgres.ForgetBatch)
	if err != nil {
		return 0, fmt.Errorf("deleting old drafts: %w", err)
	}
	return tag.RowsAffected(), nil
}
