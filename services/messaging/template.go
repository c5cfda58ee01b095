package messaging

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/text/collate"
	"golang.org/x/text/language"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/taxonomy"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/text"
)

const (
	// maxTemplates bounds a caisse's templates, which are read whole for each page.
	maxTemplates = 200
	// maxTitleChars bounds a title.
	maxTitleChars = 80
)

var errTemplateLimit = rpc.Refuse(codes.FailedPrecondition, errorpb.ErrorReason_TEMPLATES_TOO_MANY,
	fmt.Sprintf("the caisse has %d templates, which is the most; delete one first", maxTemplates), "limit", strconv.Itoa(maxTemplates))

// templateRow is a row of the table template.
type templateRow struct {
	ID        uuid.UUID `db:"id"`
	Title     string    `db:"title"`
	Text      string    `db:"text"`
	Queue     string    `db:"queue"`
	UpdatedAt time.Time `db:"updated_at"`
}

var templateColumns = postgres.Columns[templateRow]()

// ListTemplates returns the caisse's templates, by title as a French reader
// expects it.
func (s *agentServer) ListTemplates(ctx context.Context, req *messagingpb.ListTemplatesRequest) (*messagingpb.ListTemplatesResponse, error) {
	after, err := templateBefore(ctx, req)
	if err != nil {
		return nil, err
	}
	rows, err := s.store.templates(ctx, auth.FromContext(ctx).Caisse, req.GetQueue())
	if err != nil {
		return nil, statusOf(err)
	}
	french := collate.New(language.French)
	compare := func(a, b *templateRow) int {
		return cmp.Or(french.CompareString(a.Title, b.Title), slices.Compare(a.ID[:], b.ID[:]))
	}
	slices.SortFunc(rows, func(a, b templateRow) int { return compare(&a, &b) })
	page, more := cut(rows, req.GetPageSize(), maxTemplates, func(row templateRow) bool { return after == nil || compare(&row, after) > 0 })
	resp := &messagingpb.ListTemplatesResponse{}
	for i := range page {
		resp.Templates = append(resp.Templates, templateOf(&page[i]))
	}
	if more {
		last := page[len(page)-1]
		resp.NextPageToken = rpc.PageToken(ctx, req, append(last.ID[:], last.Title...))
	}
	return resp, nil
}

// templateBefore is the template that a page begins behind, as far as its place tells; nil
// for the first page.
func templateBefore(ctx context.Context, req rpc.ListRequest) (*templateRow, error) {
	key, err := rpc.PageKey(ctx, req)
	if err != nil || key == nil {
		return nil, err
	}
	if len(key) < len(uuid.UUID{}) {
		return nil, rpc.ErrPageToken
	}
	return &templateRow{ID: uuid.UUID(key[:len(uuid.UUID{})]), Title: string(key[len(uuid.UUID{}):])}, nil
}

// SaveTemplate stores a template, in the form in which a reply's text is counted
// and stored.
func (s *agentServer) SaveTemplate(ctx context.Context, req *messagingpb.SaveTemplateRequest) (*messagingpb.SaveTemplateResponse, error) {
	id := auth.FromContext(ctx)
	if !validCaisse(id.Caisse) {
		return nil, errNoCaisse
	}
	title, badTitle := titleOf(req.GetTitle())
	written, badText := text.OfAgent.Normalise(req.GetText())
	if err := rpc.JoinFaults(badTitle, badText, s.checkQueue(ctx, req.GetQueue())); err != nil {
		return nil, err
	}
	row, err := s.store.saveTemplate(ctx, id.Caisse, id.Subject,
		templateRow{ID: uuid.MustParse(req.GetId()), Title: title, Text: written.Body, Queue: req.GetQueue()})
	if err != nil {
		return nil, statusOf(err)
	}
	return &messagingpb.SaveTemplateResponse{Template: templateOf(&row)}, nil
}

// checkQueue refuses a queue that the taxonomy does not have; a template needs none.
func (s *agentServer) checkQueue(ctx context.Context, queue string) error {
	if queue == "" {
		return nil
	}
	version, err := s.catalogue.Current(ctx)
	if err == nil && taxonomy.Queue(version, queue) == nil {
		err = taxonomy.UnknownQueue(version, queue)
	}
	return err
}

// DeleteTemplate deletes a template of the caisse, if it is there.
func (s *agentServer) DeleteTemplate(ctx context.Context, req *messagingpb.DeleteTemplateRequest) (*messagingpb.DeleteTemplateResponse, error) {
	if err := s.store.deleteTemplate(ctx, auth.FromContext(ctx).Caisse, uuid.MustParse(req.GetId())); err != nil {
		return nil, statusOf(err)
	}
	return &messagingpb.DeleteTemplateResponse{}, nil
}

// titleOf puts a title on one line and refuses what may not be in a text either.
func titleOf(raw string) (string, error) {
	written, err := text.Limits{Min: 1, Max: maxTitleChars}.Normalise(strings.Join(strings.Fields(raw), " "))
	var refusal *rpc.Error
	if errors.As(err, &refusal) {
		return "", rpc.Invalid("title", errorpb.ErrorReason_TITLE_INVALID,
			fmt.Sprintf("a title has 1 to %d visible characters", maxTitleChars), "limit", strconv.Itoa(maxTitleChars))
	}
	return written.Body, err
}

func templateOf(row *templateRow) *messagingpb.Template {
	return &messagingpb.Template{
		Id: row.ID.String(), Title: row.Title, Text: row.Text, Queue: row.Queue, UpdateTime: timestamppb.New(row.UpdatedAt),
	}
}

// templates returns a caisse's templates: those for a queue and those for all, or
// every one when no queue is given.
func (s *store) templates(ctx context.Context, caisse, queue string) ([]templateRow, error) {
	return postgres.Many[templateRow](ctx, s.pool, "listing templates",
		`SELECT `+templateColumns+` FROM template WHERE caisse = $1 AND ($2 = '' OR queue IN ('', $2))`, caisse, queue)
}

// saveTemplate stores or replaces a template.
func (s *store) saveTemplate(ctx context.Context, caisse, agent string, row templateRow) (stored templateRow, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		stored, err = putTemplate(ctx, tx, caisse, agent, row)
		return err
	})
	return stored, err
}

// putTemplate takes its turn among those who save for the same caisse, or two
// could both be the last that is allowed.
func putTemplate(ctx context.Context, tx pgx.Tx, caisse, agent string, row templateRow) (templateRow, error) {
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('template ' || $1, 0))`, caisse); err != nil {
		return templateRow{}, fmt.Errorf("waiting for the templates of %s: %w", caisse, err)
	}
	stored, err := postgres.One[templateRow](ctx, tx, "storing a template", `
		INSERT INTO template (caisse, id, title, text, queue, updated_by)
		SELECT $1, $2, $3, $4, $5, $6
		WHERE EXISTS (SELECT FROM template WHERE caisse = $1 AND id = $2)
		   OR (SELECT count(*) FROM template WHERE caisse = $1) < $7
		ON CONFLICT (caisse, id) DO UPDATE SET title = excluded.title, text = excluded.text, queue = excluded.queue,
			updated_by = excluded.updated_by, updated_at = now()
		RETURNING `+templateColumns, caisse, row.ID, row.Title, row.Text, row.Queue, agent, maxTemplates)
	if errors.Is(err, errNotFound) {
		return stored, errTemplateLimit
	}
	if err != nil {
		return stored, fmt.Errorf("storing template %s: %w", row.ID, err)
	}
	return stored, nil
}

func (s *store) deleteTemplate(ctx context.Context, caisse string, id uuid.UUID) error {
	if _, err := s.pool.Exec(ctx, `DELETE FROM template WHERE caisse = $1 AND id = $2`, caisse, id); err != nil {
		return fmt.Errorf("deleting template %s: %w", id, err)
	}
	return nil
}
